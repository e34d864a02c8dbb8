import NIOCore

/// Flushes every connection that was written to, once per turn of an event loop, and holds what the connections of one loop share.
///
/// Work queued with `execute` from the loop itself runs after all reads of the same wake-up and before the next poll, so a
/// burst of messages costs one `write` per destination and a single message waits for nothing. Confined to its loop.
package final class WriteCoalescer {
    package let eventLoop: any EventLoop
    /// What all connections of this loop hold.
    package let budget: BufferBudget
    let turns: TurnQueue
    private var dirty: [WebSocketConnection] = []
    private var isScheduled = false
    /// Scratch space in which a read is unmasked; lent to one connection at a time.
    var scratch = ByteBuffer()

    package init(eventLoop: any EventLoop) {
        self.eventLoop = eventLoop
        budget = BufferBudget(eventLoop: eventLoop)
        turns = TurnQueue(eventLoop: eventLoop)
    }

    func add(_ connection: WebSocketConnection) {
        dirty.append(connection)
        guard !isScheduled else { return }
        isScheduled = true
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        eventLoop.execute { bound.value.flushAll() }
    }

    private func flushAll() {
        isScheduled = false
        // A flush may complete writes at once and so dirty a connection anew: that one waits for the next turn.
        var batch: [WebSocketConnection] = []
        swap(&batch, &dirty)
        for connection in batch { connection.flush() }
        if dirty.isEmpty {
            batch.removeAll(keepingCapacity: true)
            dirty = batch
        }
    }
}
