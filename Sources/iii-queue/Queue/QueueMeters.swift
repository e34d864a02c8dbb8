import CoreMetrics

/// What queues are counted in. Instruments are made once and kept.
final class QueueMeters {
    private struct Instruments {
        let enqueued, completed, deadLettered: Counter
        let wait: CoreMetrics.Timer
        let depth: [(MessageState, Gauge)]
        let running, oldest: Gauge

        init(_ queue: String) {
            let labels = [("queue", queue)]
            enqueued = Counter(label: "iii.queue.enqueued", dimensions: labels)
            completed = Counter(label: "iii.queue.completed", dimensions: labels)
            deadLettered = Counter(label: "iii.queue.dead_lettered", dimensions: labels)
            wait = CoreMetrics.Timer(label: "iii.queue.duration", dimensions: labels)
            depth = MessageState.allCases.map { state in
                (state, Gauge(label: "iii.queue.depth", dimensions: labels + [("state", "\(state)")]))
            }
            running = Gauge(label: "iii.queue.running", dimensions: labels)
            oldest = Gauge(label: "iii.queue.oldest_age", dimensions: labels)
        }
    }

    private var instruments: [QueueKey: Instruments] = [:]
    /// Queues with series of their own; topics come from clients. What is beyond counts together.
    private static let maximum = 500
    private lazy var others = Instruments("other")

    private func of(_ key: QueueKey) -> Instruments {
        if let known = instruments[key] { return known }
        guard instruments.count < Self.maximum else { return others }
        let made = Instruments(key.description)
        instruments[key] = made
        return made
    }

    func enqueued(_ key: QueueKey) { of(key).enqueued.increment() }

    /// `waited`: milliseconds from acceptance to the end.
    func settled(_ key: QueueKey, _ settlement: Settlement, waited: Int) {
        let instruments = of(key)
        switch settlement {
        case .done:
            instruments.completed.increment()
            instruments.wait.recordMilliseconds(max(0, waited))
        case .dead: instruments.deadLettered.increment()
        default: break
        }
    }

    func gauge(_ key: QueueKey, _ counts: QueueCounts, running: Int, now: Int) {
        guard let instruments = instruments[key] else { return }
        for (state, gauge) in instruments.depth { gauge.record(counts[state]) }
        instruments.running.record(running)
        instruments.oldest.record(counts.oldest.map { max(0, now - $0) } ?? 0)
    }
}
