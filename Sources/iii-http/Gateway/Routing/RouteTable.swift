/// Why a trigger was refused although its pattern is well formed.
package struct RouteConflict: Error, Equatable, Sendable {
    package let message: String
}

/// All live routes: one trie per method, and the index by trigger id through which routes are removed.
///
/// Identity (http.md §4.4): method and path without leading slashes. A second trigger of the same identity takes over and
/// the earlier one is kept in its shadow, to return when the later is removed; the same shape under another spelling is
/// refused. Removal is by trigger id, so a late clean-up never removes a successor's route. No limit of its own: the core
/// bounds how many triggers a worker may register. A value in name only; confined to the gateway's event loop.
package struct RouteTable {
    private let tries: [RouteTrie]
    private var routesByTrigger: [String: Route] = [:]

    package init() {
        tries = RouteMethod.allCases.map { _ in RouteTrie() }
    }

    package var count: Int { routesByTrigger.count }

    /// The routes that requests can reach: the newest of every stack of shadows.
    var live: [Route] {
        routesByTrigger.values.filter { tries[$0.method.rawValue].routes(shapedLike: $0.pattern).last === $0 }
    }

    /// Makes `route` live. A trigger id that is already known moves to the new route; refused, it keeps the old one.
    package mutating func add(_ route: Route) throws(RouteConflict) {
        let trie = tries[route.method.rawValue]
        let old = routesByTrigger[route.triggerID]
        var routes = trie.routes(shapedLike: route.pattern)
        let others = routes.filter { $0.triggerID != route.triggerID }
        if let holder = others.last, holder.pattern.key != route.pattern.key {
            throw RouteConflict(
                message: "Route '\(route.description)' conflicts with already-registered route '\(holder.description)': "
                    + "routes with identical structure but different path-parameter names are not supported")
        }
        if let index = routes.firstIndex(where: { $0.triggerID == route.triggerID }) {
            // The same trigger again (a replay): it keeps its place in the stack of shadows.
            routes[index] = route
        } else {
            if let old { detach(old) }
            routes.append(route)
        }
        trie.setRoutes(routes, shapedLike: route.pattern)
        routesByTrigger[route.triggerID] = route
    }

    /// Removes the route of a trigger, wherever in its stack it is. Returns it; nil when there is none.
    @discardableResult
    package mutating func remove(triggerID: String) -> Route? {
        guard let route = routesByTrigger.removeValue(forKey: triggerID) else { return nil }
        detach(route)
        return route
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
