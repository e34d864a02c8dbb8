import NIOCore

/// Why a trigger was refused although its pattern is well formed.
package struct RouteConflict: Error, Equatable, Sendable {
    package let message: String
}

/// All live routes: one trie per method, and the index by trigger id through which routes are removed.
///
/// Identity (docs/reference/http.md#routes): method and path without leading slashes. A second trigger of the same identity
/// takes over and the earlier one is kept in its shadow, to return when the later is removed; the same shape under another
/// spelling is refused. Removal is by trigger id, so a late clean-up never removes a successor's route.
///
/// A route whose worker has disconnected is remembered for a while, in its place, so that requests can wait for the worker to
/// come back; whatever is registered with its shape meanwhile displaces it. At most `maximumDeparted` are remembered. Live
/// routes have no limit here: the core bounds how many triggers a worker may register. A value in name only; confined to the
/// gateway's event loop.
package struct RouteTable {
    private let tries: [RouteTrie]
    private var routesByTrigger: [String: Route] = [:]
    /// Triggers whose routes are remembered, and until when.
    private var departed: [String: NIODeadline] = [:]
    /// Triggers that have displaced such a route, and until when their functions may be missing.
    private var unsettled: [String: NIODeadline] = [:]
    /// Triggers that keep a route although their newest registration was refused.
    private var refused: Set<String> = []

    static let maximumDeparted = 10_000

    package init() {
        tries = RouteMethod.allCases.map { _ in RouteTrie() }
    }

    package var count: Int { routesByTrigger.count }

    /// The routes that requests can reach: the newest of every stack of shadows.
    var live: [Route] {
        routesByTrigger.values.filter { $0.departure == nil && tries[$0.method.rawValue].routes(shapedLike: $0.pattern).last === $0 }
    }

    /// Makes `route` live. A trigger id that is already known moves to the new route; refused, it keeps the old one.
    ///
    /// Returns the routes without worker whose place it has taken; until `settledBy` its function may still be missing then.
    @discardableResult
    package mutating func add(_ route: Route, settledBy deadline: NIODeadline = .distantPast) throws(RouteConflict) -> [Route] {
        let trie = tries[route.method.rawValue]
        let old = routesByTrigger[route.triggerID]
        var routes = trie.routes(shapedLike: route.pattern)
        let holder = routes.last { $0.triggerID != route.triggerID && $0.departure == nil }
        if let holder, holder.pattern.key != route.pattern.key {
            throw RouteConflict(
                message: "Route '\(route.description)' conflicts with already-registered route '\(holder.description)': "
                    + "routes with identical structure but different path-parameter names are not supported")
        }
        let displaced = routes.filter { $0.departure != nil }
        routes.removeAll { $0.departure != nil && $0.triggerID != route.triggerID }
        if let index = routes.firstIndex(where: { $0.triggerID == route.triggerID }) {
            // The same trigger again (a replay): it keeps its place in the stack of shadows.
            routes[index] = route
        } else {
            if let old { detach(old) }
            routes.append(route)
        }
        trie.setRoutes(routes, shapedLike: route.pattern)
        for other in displaced { forget(other.triggerID) }
        forget(route.triggerID)
        routesByTrigger[route.triggerID] = route
        if !displaced.isEmpty { unsettled[route.triggerID] = deadline }
        return displaced
    }

    /// The trigger's newest registration was refused: the route it has, if any, stays.
    package mutating func noteRefusal(triggerID: String) {
        if routesByTrigger[triggerID] != nil { refused.insert(triggerID) }
    }

    /// Removes the route of a trigger, wherever in its stack it is. Returns it; nil when there is none.
    @discardableResult
    package mutating func remove(triggerID: String) -> Route? {
        guard let route = routesByTrigger[triggerID] else { return nil }
        forget(triggerID)
        detach(route)
        return route
    }

    private mutating func forget(_ triggerID: String) {
        guard let route = routesByTrigger.removeValue(forKey: triggerID) else { return }
        if route.departure != nil { departed.removeValue(forKey: triggerID) }
        if !refused.isEmpty { refused.remove(triggerID) }
        if !unsettled.isEmpty { unsettled.removeValue(forKey: triggerID) }
    }

    // MARK: Routes without worker

    /// Remembers the route of a trigger whose worker is gone, unless another worker serves its place. Returns it; nil when there is none.
    mutating func depart(triggerID: String, until deadline: NIODeadline) -> Route? {
        guard let route = routesByTrigger[triggerID], route.departure == nil else { return nil }
        // A route that its owner had tried to change is not what would come back.
        let wasRefused = refused.contains(triggerID)
        let trie = tries[route.method.rawValue]
        let others = trie.routes(shapedLike: route.pattern).filter { $0.triggerID != triggerID }
        guard others.isEmpty, !wasRefused, departed.count < Self.maximumDeparted else { return remove(triggerID: triggerID) }
        forget(triggerID)
        let remembered = route.departed(until: deadline)
        routesByTrigger[triggerID] = remembered
        departed[triggerID] = deadline
        trie.setRoutes([remembered], shapedLike: route.pattern)
        return route
    }

    /// Removes the remembered routes whose time is over.
    mutating func removeDeparted(until now: NIODeadline) -> [Route] {
        for (triggerID, deadline) in unsettled where deadline <= now { unsettled.removeValue(forKey: triggerID) }
        return departed.filter { $0.value <= now }.keys.compactMap { remove(triggerID: $0) }
    }

    /// When the next of them, or of those that have taken their place, is due.
    var nextDeparture: NIODeadline? { [departed.values.min(), unsettled.values.min()].compactMap(\.self).min() }

    var departedCount: Int { departed.count }

    /// What a missing function of a route means.
    enum Standing {
        /// Somebody else's mistake: the trigger is alive, its function is not registered.
        case settled
        /// Its worker is away, or has just come back and is still registering.
        case awaitsWorker
        /// The route is no longer, or would no longer be had its owner's last update not been refused.
        case gone
    }

    func standing(of route: Route, now: NIODeadline) -> Standing {
        guard let current = routesByTrigger[route.triggerID] else { return .gone }
        if refused.contains(route.triggerID) { return .gone }
        if current.departure != nil { return .awaitsWorker }
        return unsettled[route.triggerID].map { $0 > now } ?? false ? .awaitsWorker : .settled
    }

    /// The live route for a request; HEAD falls back to GET. `path` is raw, without its one leading slash.
    ///
    /// With `ignoringSlash` a path that has no route is looked up again with a slash less, or one more, at its end.
    package func match(_ method: RouteMethod, _ path: UnsafeRawBufferPointer, ignoringSlash: Bool = false) -> RouteMatch? {
        if let match = exactMatch(method, path) { return match }
        return ignoringSlash ? Self.withOtherEnding(path) { exactMatch(method, $0) } ?? nil : nil
    }

    private func exactMatch(_ method: RouteMethod, _ path: UnsafeRawBufferPointer) -> RouteMatch? {
        if let match = tries[method.rawValue].match(path) { return match }
        return method == .head ? tries[RouteMethod.get.rawValue].match(path) : nil
    }

    /// The methods that have a route for `path`: empty means 404, otherwise 405 with `allow`.
    package func methods(for path: UnsafeRawBufferPointer, ignoringSlash: Bool = false) -> RouteMethodSet {
        var methods = RouteMethodSet()
        for method in RouteMethod.allCases where tries[method.rawValue].match(path) != nil { methods.insert(method) }
        guard methods.isEmpty, ignoringSlash else { return methods }
        return Self.withOtherEnding(path) { self.methods(for: $0) } ?? methods
    }

    /// Calls `body` with `path` without its slash at the end, or with one; captures stay inside the original either way,
    /// because no parameter spans a slash and a catch-all would have matched the original. The root has no other ending.
    private static func withOtherEnding<Value>(_ path: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer) -> Value) -> Value? {
        guard let last = path.last else { return nil }
        if last == UInt8(ascii: "/") { return body(UnsafeRawBufferPointer(rebasing: path.dropLast())) }
        return (Array(path) + [UInt8(ascii: "/")]).withUnsafeBytes(body)
    }

    private func detach(_ route: Route) {
        let trie = tries[route.method.rawValue]
        let rest = trie.routes(shapedLike: route.pattern).filter { $0.triggerID != route.triggerID }
        trie.setRoutes(rest, shapedLike: route.pattern)
    }
}
