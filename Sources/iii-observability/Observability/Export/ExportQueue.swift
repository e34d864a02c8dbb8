import IIISignals

/// A record that is exported.
protocol ExportItem: Sendable {
    static var signal: Signal { get }
    /// What it costs to keep, in bytes.
    var cost: Int { get }
    static func batch(_ items: [Self]) -> TelemetryBatch
}

extension Span: ExportItem {
    static var signal: Signal { .traces }

    static func batch(_ items: [Span]) -> TelemetryBatch {
        var batch = TelemetryBatch()
        batch.spans = items
        return batch
    }
}

extension LogRecord: ExportItem {
    static var signal: Signal { .logs }

    static func batch(_ items: [LogRecord]) -> TelemetryBatch {
        var batch = TelemetryBatch()
        batch.logs = items
        return batch
    }
}

extension Metric: ExportItem {
    static var signal: Signal { .metrics }

    static func batch(_ items: [Metric]) -> TelemetryBatch {
        var batch = TelemetryBatch()
        batch.metrics = items
        return batch
    }
}

/// How one signal is exported.
struct ExportLimits: Sendable, Equatable {
    /// What may wait, in bytes of memory; beyond it the oldest is dropped. Default 16 MiB.
    var maximumBytes = 16 << 20
    /// Records of one batch. Default 512.
    var maximumBatch = 512
    /// Bytes of one batch, roughly, before it is encoded; a record that is larger goes alone. Default 2 MiB.
    var maximumBatchBytes = 2 << 20
    /// Longest time that a record waits for others. Default 5 s.
    var interval = Duration.seconds(5)
}

/// What waits to be exported, and when it is tried: a value without I/O and clock.
///
/// One batch is under way at a time. After a failure that may pass, the batch stands at the front again and the pause grows; whatever
/// happens, no more than `maximumBytes` are held, and the oldest goes first.
struct ExportQueue<Item: ExportItem>: Sendable {
    enum Step: Equatable {
        /// Take a batch, send it, and say `finished`.
        case send
        /// Ask again then, or when something was added.
        case wait(until: Duration?)
        /// Everything has left and nothing more comes.
        case ended
    }

    /// What one attempt has meant.
    struct Verdict: Equatable {
        /// Records that are lost.
        var dropped = 0
        var exported = 0
        /// For the log.
        var warning: String?
    }

    static var firstPause: Duration { .seconds(1) }
    static var longestPause: Duration { .seconds(30) }
    /// The longest `Retry-After` that is honoured.
    static var longestWait: Duration { .seconds(300) }

    private(set) var limits: ExportLimits
    private var items: [Item] = []
    private var first = 0
    private(set) var bytes = 0
    /// When the oldest one that waits for company came.
    private var since: Duration?
    private var underWay: [Item]?
    private var underWayBytes = 0
    private var failures = 0
    private var pausedUntil: Duration?
    private var isEnding = false

    init(limits: ExportLimits) { self.limits = limits }

    var count: Int { items.count - first }
    /// With what is under way.
    var heldBytes: Int { bytes + underWayBytes }
    var heldCount: Int { count + (underWay?.count ?? 0) }

    /// Returns how many older ones were dropped to make room.
    mutating func append(_ new: some Sequence<Item>, now: Duration) -> Int {
        for item in new {
            items.append(item)
            bytes += item.cost
        }
        if since == nil, count > 0 { since = now }
        return makeRoom()
    }

    private mutating func makeRoom() -> Int {
        var dropped = 0
        while heldBytes > limits.maximumBytes, first < items.count {
            bytes -= items[first].cost
            first += 1
            dropped += 1
        }
        compact()
        return dropped
    }

    private mutating func compact() {
        guard first > 1024, first * 2 > items.count else { return }
        items.removeFirst(first)
        first = 0
    }

    /// Nothing more comes: what waits leaves at once, and failures are tried again without their whole pause.
    mutating func end() {
        isEnding = true
        if let pausedUntil { self.pausedUntil = min(pausedUntil, .zero) }
    }

    func next(now: Duration) -> Step {
        guard underWay == nil else { return .wait(until: nil) }
        if let pausedUntil, pausedUntil > now { return .wait(until: pausedUntil) }
        guard count > 0 else { return isEnding ? .ended : .wait(until: nil) }
        if isEnding || count >= limits.maximumBatch || bytes >= limits.maximumBatchBytes || failures > 0 { return .send }
        let due = (since ?? now) + limits.interval
        return due <= now ? .send : .wait(until: due)
    }

    /// The next batch, at least one record.
    mutating func take(now: Duration) -> [Item] {
        var cost = 0
        var end = first
        while end < items.count, end - first < limits.maximumBatch, end == first || cost + items[end].cost <= limits.maximumBatchBytes {
            cost += items[end].cost
            end += 1
        }
        let batch = Array(items[first..<end])
        first = end
        bytes -= cost
        (underWay, underWayBytes) = (batch, cost)
        since = count > 0 ? now : nil
        if first == items.count { (items, first) = ([], 0) }
        compact()
        return batch
    }

    /// `jitter` is evenly spread between 0 and 1.
    mutating func finished(_ outcome: ExportOutcome, now: Duration, jitter: Double) -> Verdict {
        let batch = underWay ?? []
        let cost = underWayBytes
        (underWay, underWayBytes, pausedUntil) = (nil, 0, nil)
        switch outcome {
        case .delivered(let rejected, let message):
            failures = 0
            let lost = min(max(0, rejected), batch.count)
            return Verdict(dropped: lost, exported: batch.count - lost, warning: message.isEmpty ? nil : message)
        case .refused(let reason):
            failures = 0
            return Verdict(dropped: batch.count, warning: reason)
        case .tooLarge(let reason):
            failures = 0
            guard batch.count > 1 else { return Verdict(dropped: batch.count, warning: "one record is too large by itself: \(reason)") }
            // Never the same body again: the next ones are half as large.
            limits.maximumBatchBytes = max(1, cost / 2)
            return Verdict(dropped: restore(batch, cost, now))
        case .unavailable(let retryAfter, let reason):
            failures += 1
            pausedUntil = now + pause(retryAfter, jitter)
            return Verdict(dropped: restore(batch, cost, now), warning: failures == 1 ? reason : nil)
        }
    }

    private mutating func restore(_ batch: [Item], _ cost: Int, _ now: Duration) -> Int {
        items.replaceSubrange(0..<first, with: batch)
        first = 0
        bytes += cost
        if since == nil { since = now }
        return makeRoom()
    }

    /// Doubling from one second, and a fifth less or more, so that not all come back at once; never less than the other side asks for.
    private func pause(_ retryAfter: Duration?, _ jitter: Double) -> Duration {
        let doubled = Self.firstPause * (1 << min(failures - 1, 10))
        let own = min(doubled, Self.longestPause) * (0.8 + 0.4 * jitter)
        guard let retryAfter, !isEnding else { return isEnding ? min(own, .milliseconds(200)) : own }
        return max(own, min(retryAfter, Self.longestWait))
    }
}
