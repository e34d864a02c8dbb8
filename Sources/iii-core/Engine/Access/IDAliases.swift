/// What a worker calls its registrations, where prefix or hook have given them other ids. Pure.
///
/// The worker goes on speaking of its own ids: to take a registration back, and when its function is called.
package struct IDAliases {
    private var registered: [String: String] = [:]
    private var own: [String: String] = [:]

    package init() {}

    /// The id by which everybody else knows what the worker calls `id`.
    package func registered(_ id: String) -> String { registered[id] ?? id }

    /// What the worker calls what everybody else knows as `id`.
    package func own(_ id: String) -> String { own[id] ?? id }

    package var isEmpty: Bool { registered.isEmpty }

    package mutating func set(_ ownID: String, registered id: String) {
        remove(ownID)
        if let other = own[id] { registered[other] = nil }
        own[id] = nil
        guard ownID != id else { return }
        registered[ownID] = id
        own[id] = ownID
    }

    package mutating func remove(_ ownID: String) {
        guard let id = registered.removeValue(forKey: ownID) else { return }
        own[id] = nil
    }
}
