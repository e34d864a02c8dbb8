import IIIAMQP
import NIOCore

/// Publishing as a queue store needs it: every message gets an outcome within a bounded time, on the event loop.
///
/// Confined to its event loop.
final class ConfirmedPublishing {
    private struct Waiting {
        let ticket: Int
        let since: Int
    }

    private let publisher: AMQPPublisher
    private let eventLoop: any EventLoop
    private let clock: any QueueClock
    private var completions: [Int: (AMQPError?) -> Void] = [:]
    /// In the order in which they came.
    private var waiting: CircularBuffer<Waiting> = []
    private var cancelSweep: (() -> Void)?

    /// While the broker takes nothing, and for a confirm; in milliseconds.
    static let patienceWithoutBroker = 5000
    static let patience = 10_000
    private static let sweepInterval = 250

    init(_ publisher: AMQPPublisher, _ eventLoop: any EventLoop, _ clock: any QueueClock) {
        self.publisher = publisher
        self.eventLoop = eventLoop
        self.clock = clock
    }

    var count: Int { completions.count }

    func publish(_ message: AMQPMessage, to address: AMQPPublisher.Address, completion: @escaping (AMQPError?) -> Void) {
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        let ticket: Int
        // Filled in before the loop can get to it.
        let name = NIOLoopBoundBox(0, eventLoop: eventLoop)
        do throws(AMQPError) {
            let loop = eventLoop
            ticket = try publisher.publish(message, to: address) { error in
                loop.execute { bound.value.finish(name.value, error) }
            }
        } catch { return completion(error) }
        name.value = ticket
        completions[ticket] = completion
        waiting.append(Waiting(ticket: ticket, since: clock.now))
        if cancelSweep == nil { sweepLater() }
    }

    private func finish(_ ticket: Int, _ error: AMQPError?) { completions.removeValue(forKey: ticket)?(error) }

    private func sweepLater() {
        cancelSweep = clock.schedule(at: clock.now + Self.sweepInterval) { [weak self] in
            guard let self else { return }
            cancelSweep = nil
            sweep()
        }
    }

    private func sweep() {
        let (now, state) = (clock.now, publisher.state)
        let takesNothing = !state.isConnected || state.blocked != nil
        while let first = waiting.first {
            guard completions[first.ticket] != nil else {
                waiting.removeFirst()
                continue
            }
            let waited = now - first.since
            guard waited >= (takesNothing ? Self.patienceWithoutBroker : Self.patience) else { break }
            waiting.removeFirst()
            let isUnsent = publisher.giveUp(first.ticket)
            finish(first.ticket, Self.error(state, isUnsent: isUnsent))
        }
        if waiting.isEmpty { return }
        sweepLater()
    }

    private static func error(_ state: AMQPState, isUnsent: Bool) -> AMQPError {
        let outcome = isUnsent ? "nothing was stored" : "whether the message is stored is unknown"
        if let reason = state.blocked {
            return AMQPError(.blocked, "RabbitMQ takes no messages (\(reason)); \(outcome)")
        }
        if !state.isConnected {
            return AMQPError(.unreachable, "\(state.trouble?.message ?? "there is no connection to RabbitMQ"); \(outcome)")
        }
        return AMQPError(.timeout, "RabbitMQ has not confirmed within \(patience / 1000) s; \(outcome)")
    }

    /// Nothing more is waited for.
    func close() {
        cancelSweep?()
        cancelSweep = nil
        publisher.close()
    }
}
