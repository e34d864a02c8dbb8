import NIOCore

/// The connections of one event loop that have used up their turn and still hold whole messages, in the order of their next turns.
///
/// A turn (`WebSocketConnection.turnBudget`) is bounded in messages, bytes and time, and between two rounds of turns the loop
/// reads all its sockets. So one peer's burst, however dear to serve, delays the others by a few turns and never by the whole of
/// it. Confined to its loop.
final class TurnQueue {
    /// Turns taken, and time in which they are begun, before the sockets are read again.
    private static let turnsPerRound = 4
    private static let roundTime = TimeAmount.milliseconds(2)
    /// Long enough that the loop, which runs due tasks before it polls, is sure to poll first.
    static let pause = TimeAmount.microseconds(200)

    private let eventLoop: any EventLoop
    private var waiting = CircularBuffer<WebSocketConnection>()
    private var isScheduled = false

    init(eventLoop: any EventLoop) { self.eventLoop = eventLoop }

    /// The caller sees to it that a connection waits once.
    func add(_ connection: WebSocketConnection) {
        waiting.append(connection)
        schedule()
    }

    private func schedule() {
        guard !isScheduled else { return }
        isScheduled = true
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        // Behind what is queued already, such as the flush of the turn before: only then the pause is not over when it is scheduled.
        eventLoop.execute {
            let queue = bound.value
            queue.eventLoop.scheduleTask(in: Self.pause) { bound.value.round() }
        }
    }

    private func round() {
        isScheduled = false
        let end = NIODeadline.now() + Self.roundTime
        var turns = 0
        // One that is not through waits again behind the others.
        for _ in 0..<min(waiting.count, Self.turnsPerRound) where turns == 0 || .now() < end {
            waiting.popFirst()?.takeTurn()
            turns += 1
        }
        if !waiting.isEmpty { schedule() }
    }
}
