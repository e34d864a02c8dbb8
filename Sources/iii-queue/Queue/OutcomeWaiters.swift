import IIIWorker

/// Calls that wait for the outcome of a message. Pure.
struct OutcomeWaiters {
    /// Calls that may wait at a time; further ones are refused.
    static let maximum = 10_000

    private var waiting: [String: [(ticket: Int, answer: (Settlement) -> Void)]] = [:]
    private var nextTicket = 0
    private(set) var count = 0

    /// nil when too many wait already.
    mutating func add(_ id: String, _ answer: @escaping (Settlement) -> Void) -> Int? {
        guard count < Self.maximum else { return nil }
        nextTicket += 1
        count += 1
        waiting[id, default: []].append((nextTicket, answer))
        return nextTicket
    }

    /// Whether it was still there.
    mutating func remove(_ id: String, _ ticket: Int) -> Bool {
        guard let index = waiting[id]?.firstIndex(where: { $0.ticket == ticket }) else { return false }
        waiting[id]?.remove(at: index)
        if waiting[id]?.isEmpty == true { waiting[id] = nil }
        count -= 1
        return true
    }

    /// Those who waited for this message.
    mutating func take(_ id: String) -> [(Settlement) -> Void] {
        guard !waiting.isEmpty, let answers = waiting.removeValue(forKey: id) else { return [] }
        count -= answers.count
        return answers.map(\.answer)
    }
}
