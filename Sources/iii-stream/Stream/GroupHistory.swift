import NIOCore

/// The last events of one group, for clients that come back and say where they were.
final class GroupHistory {
    fileprivate(set) var frames = CircularBuffer<StreamFrame>()
    /// Events up to this number cannot be told again.
    fileprivate(set) var forgotten: Int

    init(forgotten: Int) { self.forgotten = forgotten }

    /// What has happened behind a place of this epoch; nil where not all of that is known any more, or it has not happened yet.
    func missed(behind sequence: Int, of last: Int) -> [StreamFrame]? {
        guard sequence >= forgotten, sequence <= last else { return nil }
        return Array(frames.drop { $0.position.sequence <= sequence })
    }
}

/// What all groups together may keep of their last events. Pure: the time is an argument.
struct EventHistory {
    struct Limits: Sendable, Equatable {
        /// Age of an event, in milliseconds. 0: nothing is kept.
        var window = 300_000
        /// Of one group.
        var frames = 1000
        /// Of all groups.
        var total = 100_000
        var bytes = 64 << 20
    }

    var limits = Limits()
    /// In the order of their coming. What its group has forgotten before stays until its turn comes; that is not much more than there is.
    private var order = CircularBuffer<(history: GroupHistory, frame: Int, timestamp: Int)>()
    private(set) var bytes = 0
    private(set) var count = 0

    mutating func append(_ frame: StreamFrame, to history: GroupHistory) {
        guard limits.window > 0 else {
            history.forgotten = frame.position.sequence
            return
        }
        history.frames.append(frame)
        order.append((history, frame.position.sequence, frame.position.timestamp))
        count += 1
        bytes += frame.cost
        if history.frames.count > limits.frames { forgetFirst(of: history) }
        while bytes > limits.bytes || order.count > limits.total, forgetOldest() {}
    }

    /// Forgets what is older than the window.
    mutating func prune(now: Int) {
        while let first = order.first, first.timestamp <= now - limits.window, forgetOldest() {}
    }

    /// Forgets all of a group, whose numbers go as far as `sequence`.
    mutating func forget(_ history: GroupHistory, upTo sequence: Int) {
        while !history.frames.isEmpty { forgetFirst(of: history) }
        history.forgotten = max(history.forgotten, sequence)
    }

    private mutating func forgetOldest() -> Bool {
        guard let oldest = order.popFirst() else { return false }
        if let first = oldest.history.frames.first, first.position.sequence <= oldest.frame { forgetFirst(of: oldest.history) }
        return true
    }

    private mutating func forgetFirst(of history: GroupHistory) {
        guard let frame = history.frames.popFirst() else { return }
        history.forgotten = frame.position.sequence
        count -= 1
        bytes -= frame.cost
    }
}
