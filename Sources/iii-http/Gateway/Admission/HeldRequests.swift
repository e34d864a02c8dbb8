/// Requests that wait for the worker of their route to come back, in order of arrival.
///
/// Bounded in number by `worker_restart_hold_limit`, in time by the timer of each, and in bytes by what a head may have: bodies
/// are not read meanwhile. A pure value.
struct HeldRequests<Ticket: AnyObject> {
    private var entries: [(ticket: Ticket, route: Route)] = []
    /// How many have been held so far.
    private(set) var total = 0

    var count: Int { entries.count }

    /// False when there is no room.
    mutating func add(_ ticket: Ticket, for route: Route, limit: Int) -> Bool {
        guard entries.count < limit else { return false }
        entries.append((ticket, route))
        total += 1
        return true
    }

    mutating func remove(_ ticket: Ticket) { entries.removeAll { $0.ticket === ticket } }

    /// Takes out those that wait for one of `routes`.
    mutating func take(for routes: [Route]) -> [Ticket] {
        guard !entries.isEmpty, !routes.isEmpty else { return [] }
        let wanted = Set(routes.map(ObjectIdentifier.init))
        let taken = entries.filter { wanted.contains(ObjectIdentifier($0.route)) }.map(\.ticket)
        entries.removeAll { wanted.contains(ObjectIdentifier($0.route)) }
        return taken
    }
}
