import NIOCore

/// One running timer of one owner. Linked into at most one `DeadlineQueue` at a time.
final class DeadlineEntry<Owner: AnyObject> {
    fileprivate(set) weak var owner: Owner?
    fileprivate(set) var deadline = NIODeadline.distantFuture
    /// Queues live as long as the gateway, which outlives its connections.
    fileprivate unowned(unsafe) var queue: DeadlineQueue<Owner>?
    fileprivate unowned(unsafe) var previous: DeadlineEntry?
    fileprivate var next: DeadlineEntry?

    init() {}

    func bind(to owner: Owner) { self.owner = owner }

    /// Stops the timer; without effect when it does not run.
    func cancel() { queue?.remove(self) }

    func isRunning(in queue: DeadlineQueue<Owner>) -> Bool { self.queue === queue }
}

/// Timers that all have the same length, at the cost of a list operation each.
///
/// Equal lengths expire in the order in which they start, so a doubly linked list is a priority queue and one event-loop
/// timer, set to its head, serves all of them. Starting and cancelling a timer per request would otherwise search NIO's
/// heap. Confined to its event loop.
final class DeadlineQueue<Owner: AnyObject> {
    private let eventLoop: any EventLoop
    private let length: TimeAmount
    private let onExpiry: (Owner) -> Void
    private var first: DeadlineEntry<Owner>?
    private unowned(unsafe) var last: DeadlineEntry<Owner>?
    private var isArmed = false

    init(eventLoop: any EventLoop, length: TimeAmount, onExpiry: @escaping (Owner) -> Void) {
        self.eventLoop = eventLoop
        self.length = length
        self.onExpiry = onExpiry
    }

    /// Starts the timer anew, wherever it ran before.
    func start(_ entry: DeadlineEntry<Owner>) {
        entry.cancel()
        entry.deadline = eventLoop.now + length
        entry.queue = self
        entry.previous = last
        if let last { last.next = entry } else { first = entry }
        last = entry
        arm()
    }

    fileprivate func remove(_ entry: DeadlineEntry<Owner>) {
        let next = entry.next
        let previous = entry.previous
        if let previous { previous.next = next } else { first = next }
        if let next { next.previous = previous } else { last = previous }
        entry.next = nil
        entry.previous = nil
        entry.queue = nil
    }

    private func arm() {
        guard !isArmed, let first else { return }
        isArmed = true
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        eventLoop.scheduleTask(deadline: first.deadline) { bound.value.fire() }
    }

    private func fire() {
        isArmed = false
        let now = eventLoop.now
        while let entry = first, entry.deadline <= now {
            remove(entry)
            if let owner = entry.owner { onExpiry(owner) }
        }
        arm()
    }
}
