import NIOCore

/// One timer of one owner. It runs in at most one `DeadlineQueue` at a time, and keeps that queue for as long as it runs.
final class DeadlineEntry<Owner: AnyObject> {
    fileprivate private(set) weak var owner: Owner?
    fileprivate var queue: DeadlineQueue<Owner>?
    /// Its place in `queue`.
    fileprivate var index = 0

    init(owner: Owner) { self.owner = owner }

    /// Stops the timer; without effect when it does not run.
    func cancel() { queue?.remove(self) }
}

/// Timers that all have the same length, at the cost of a list operation each.
///
/// Equal lengths expire in the order in which they start, so a doubly linked list is a priority queue and one event-loop
/// timer, set to its head, serves all of them. Starting and cancelling a timer per request would otherwise search NIO's
/// heap. The list is linked by indices into one array: an entry that runs is held by its queue and holds it, whatever becomes
/// of the configuration that made it. Confined to its event loop.
final class DeadlineQueue<Owner: AnyObject> {
    private struct Node {
        var entry: DeadlineEntry<Owner>?
        var deadline = NIODeadline.distantFuture
        var previous = none
        /// Also links the free nodes.
        var next = none
    }

    private static var none: Int { -1 }

    private let eventLoop: any EventLoop
    private let length: TimeAmount
    private let onExpiry: (Owner) -> Void
    private var nodes: [Node] = []
    private var first = -1
    private var last = -1
    private var firstFree = -1
    private var isArmed = false

    init(eventLoop: any EventLoop, length: TimeAmount, onExpiry: @escaping (Owner) -> Void) {
        self.eventLoop = eventLoop
        self.length = length
        self.onExpiry = onExpiry
    }

    /// Starts the timer anew, wherever it ran before.
    func start(_ entry: DeadlineEntry<Owner>) {
        if let queue = entry.queue {
            // Mostly the very queue: unlinked and linked again, its references stay.
            queue.unlink(entry.index)
            if queue !== self {
                queue.release(entry.index)
                entry.queue = self
                entry.index = take(entry)
            }
        } else {
            entry.queue = self
            entry.index = take(entry)
        }
        nodes[entry.index].deadline = eventLoop.now + length
        link(entry.index)
        arm()
    }

    fileprivate func remove(_ entry: DeadlineEntry<Owner>) {
        unlink(entry.index)
        release(entry.index)
        entry.queue = nil
    }

    private func take(_ entry: DeadlineEntry<Owner>) -> Int {
        guard firstFree >= 0 else {
            nodes.append(Node(entry: entry))
            return nodes.count - 1
        }
        let index = firstFree
        firstFree = nodes[index].next
        nodes[index].entry = entry
        return index
    }

    private func release(_ index: Int) {
        nodes[index] = Node(next: firstFree)
        firstFree = index
    }

    private func link(_ index: Int) {
        nodes[index].previous = last
        nodes[index].next = Self.none
        if last >= 0 { nodes[last].next = index } else { first = index }
        last = index
    }

    private func unlink(_ index: Int) {
        let (previous, next) = (nodes[index].previous, nodes[index].next)
        if previous >= 0 { nodes[previous].next = next } else { first = next }
        if next >= 0 { nodes[next].previous = previous } else { last = previous }
    }

    private func arm() {
        guard !isArmed, first >= 0 else { return }
        isArmed = true
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        eventLoop.scheduleTask(deadline: nodes[first].deadline) { bound.value.fire() }
    }

    private func fire() {
        isArmed = false
        let now = eventLoop.now
        while first >= 0, nodes[first].deadline <= now, let entry = nodes[first].entry {
            remove(entry)
            if let owner = entry.owner { onExpiry(owner) }
        }
        arm()
    }
}
