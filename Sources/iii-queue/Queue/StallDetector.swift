/// Notices queues in which something waits and nothing moves, and says what is in the way. Pure.
struct StallDetector {
    /// Without anything done for this long, in milliseconds.
    static let patience = 30_000
    private var causes: [QueueKey: String] = [:]

    /// A line for the log when a queue begins to stand still, or for another cause than before.
    mutating func look(at runner: QueueRunner, _ counts: QueueCounts, now: Int) -> String? {
        let since = max(runner.progressedAt, counts.oldest ?? 0)
        guard counts.depth > 0, now - since >= Self.patience,
            let cause = Self.cause(runner.machine, counts, blocking: runner.blocking, now: now)
        else {
            causes[runner.key] = nil
            return nil
        }
        guard causes[runner.key] != cause else { return nil }
        causes[runner.key] = cause
        return cause
    }

    /// For `iii-core ps -v`.
    var summary: String? {
        guard let first = causes.sorted(by: { $0.key.description < $1.key.description }).first else { return nil }
        return causes.count == 1 ? "\(first.key) stands still: \(first.value)" : "\(causes.count) queues stand still"
    }

    private static func first(_ blocking: [String: String]) -> String {
        guard let (id, why) = blocking.min(by: { $0.key < $1.key }) else { return "which is delayed or held" }
        return "such as \(id) (\(why))"
    }

    /// Why nothing moves, in words; nil when nothing is in the way.
    static func cause(_ machine: QueueMachine, _ counts: QueueCounts, blocking: [String: String] = [:], now: Int) -> String? {
        switch machine.obstacle(now: now) {
        case .paused: "paused"
        case .noConsumer: "no consumer"
        case .engineAway: "the engine is away"
        case .storeFails(let reason): "the store fails: \(reason)"
        case .functionMissing(let id): "no worker serves \(id)"
        case .rateLimited: "rate limited"
        case .busy(let since): "every slot is taken, the oldest for \((now - since) / 1000) s"
        case nil:
            counts[.behind] > 0 && counts[.ready] == 0
                ? "its groups wait for their first message, \(first(blocking))"
                : counts[.held] > 0 ? "its functions are missing" : nil
        }
    }
}
