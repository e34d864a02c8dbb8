/// What waits for all sockets together. A frame that waits for many is counted once, as it is kept once. Confined to the event loop.
final class QueueLedger {
    /// `max_total_queued_bytes`.
    var limit: Int
    /// Bytes of frames that wait for some socket.
    private(set) var frames = 0
    /// Bytes that transports hold.
    private(set) var transport = 0

    init(limit: Int) { self.limit = limit }

    var total: Int { frames + transport }
    var isOver: Bool { total > limit }

    func hold(_ frame: StreamFrame) {
        if frame.holders == 0 { frames += frame.bytes.count }
        frame.holders += 1
    }

    func release(_ frame: StreamFrame) {
        frame.holders -= 1
        if frame.holders == 0 { frames -= frame.bytes.count }
    }

    func transportChanged(by count: Int) { transport += count }
}
