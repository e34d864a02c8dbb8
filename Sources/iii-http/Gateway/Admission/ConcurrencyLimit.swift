import NIOCore

/// One process-wide bound on requests in flight, with a bounded first-in first-out queue before it
/// (docs/reference/http.md#time-outs-and-limits).
///
/// At most `limit` tickets are admitted at a time and at most `queueLimit` wait; a further one is turned away at once, which
/// clients see as 503. Waiting counts against the request's deadline, so nobody waits for ever. A pure value: the owner
/// starts the ticket that `release` hands back.
package struct ConcurrencyLimit<Ticket: AnyObject> {
    package enum Admission: Equatable {
        case admitted
        case queued
        case rejected
    }

    package private(set) var limit: Int
    package private(set) var queueLimit: Int
    package private(set) var inFlight = 0
    private var waiting = CircularBuffer<Ticket>()

    package init(limit: Int, queueLimit: Int) {
        self.limit = max(1, limit)
        self.queueLimit = max(0, queueLimit)
    }

    package var waitingCount: Int { waiting.count }

    package mutating func acquire(_ ticket: Ticket) -> Admission {
        if inFlight < limit {
            inFlight += 1
            return .admitted
        }
        guard waiting.count < queueLimit else { return .rejected }
        waiting.append(ticket)
        return .queued
    }

    /// Gives a place back. The longest waiting ticket takes it over and is returned: it is in flight from now on.
    package mutating func release() -> Ticket? {
        precondition(inFlight > 0, "release without acquire")
        // After the limit was lowered, places are taken back before anyone else gets one.
        if inFlight <= limit, let next = waiting.popFirst() { return next }
        inFlight -= 1
        return nil
    }

    /// Changes the limits. Nobody in flight or waiting is turned away; returns who gets a place by a higher limit.
    package mutating func resize(limit: Int, queueLimit: Int) -> [Ticket] {
        self.limit = max(1, limit)
        self.queueLimit = max(0, queueLimit)
        var granted: [Ticket] = []
        while inFlight < self.limit, let next = waiting.popFirst() {
            inFlight += 1
            granted.append(next)
        }
        return granted
    }

    /// Takes a ticket out of the queue: its deadline has passed or its client has gone. False when it did not wait.
    @discardableResult
    package mutating func withdraw(_ ticket: Ticket) -> Bool {
        guard let index = waiting.firstIndex(where: { $0 === ticket }) else { return false }
        waiting.remove(at: index)
        return true
    }
}
