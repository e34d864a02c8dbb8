import IIIProtocol

/// The remote endpoints this process serves, by namespace and function id, and those whose check is still under way.
///
/// A new definition takes the place of the old one when it is accepted, not before. A newer registration of the same id, or
/// its unregistration, ends a check under way: `accept` and `isCurrent` know by the ticket. Pure.
package struct EndpointTable {
    package struct Key: Hashable, Sendable {
        package var namespace: String
        package var functionID: String

        package init(namespace: String, functionID: String) {
            self.namespace = namespace
            self.functionID = functionID
        }
    }

    private var endpoints: [Key: RemoteEndpoint] = [:]
    private var checks: [Key: Int] = [:]
    private var ticket = 0

    package init() {}

    package subscript(key: Key) -> RemoteEndpoint? { endpoints[key] }
    package var count: Int { endpoints.count }

    /// A check begins; whatever check of the same id was under way is stale from now on.
    package mutating func begin(_ key: Key) -> Int {
        ticket += 1
        checks[key] = ticket
        return ticket
    }

    package func isCurrent(_ key: Key, ticket: Int) -> Bool { checks[key] == ticket }

    /// The check has passed; false when it is stale, and then nothing changes.
    package mutating func accept(_ key: Key, _ endpoint: RemoteEndpoint, ticket: Int) -> Bool {
        guard isCurrent(key, ticket: ticket) else { return false }
        checks[key] = nil
        endpoints[key] = endpoint
        return true
    }

    /// The check has failed: what was accepted before stays.
    package mutating func refuse(_ key: Key, ticket: Int) {
        if isCurrent(key, ticket: ticket) { checks[key] = nil }
    }

    package mutating func remove(_ key: Key) {
        checks[key] = nil
        endpoints[key] = nil
    }

    /// The engine starts over: it will offer everything that is still registered.
    package mutating func removeAll() {
        checks = [:]
        endpoints = [:]
    }
}
