import NIOConcurrencyHelpers

/// Consumes queues over a connection of its own, each queue on a channel of its own: what happens to one leaves the others alone.
///
/// What it was told to consume it consumes again after every reconnect. A channel that ended takes the deliveries with it that were not
/// settled: the broker gives them out again, and settling the old ones does nothing.
package final class AMQPConsumer: Sendable {
    /// How a queue is consumed.
    package struct Subscription: Sendable, Equatable {
        package let queue: String
        /// Deliveries out at a time.
        package var prefetch: Int
        /// Nobody else may consume it at the same time.
        package var isExclusive: Bool
        package var tagPrefix: String
        package var arguments: [String: AMQPValue]
        package init(_ queue: String, prefetch: Int, isExclusive: Bool, tagPrefix: String, arguments: [String: AMQPValue] = [:]) {
            self.queue = queue
            self.prefetch = prefetch
            self.isExclusive = isExclusive
            self.tagPrefix = tagPrefix
            self.arguments = arguments
        }
    }

    /// A delivery by its channel, which never comes back under the same number.
    package struct Handle: Sendable, Hashable {
        package let epoch: Int
        package let tag: UInt64
    }

    package enum Event: Sendable {
        case consuming(queue: String, epoch: Int)
        case delivered(queue: String, Handle, AMQPMessage)
        /// Every delivery of this epoch is void; consuming is tried again by itself.
        case ended(queue: String, epoch: Int?, AMQPError)
    }

    /// What is to become of a delivery.
    package enum Settlement: Sendable, Equatable {
        case done
        case giveBack
    }

    private enum Command {
        case consume(Subscription)
        case pause(queue: String)
        case settle(queue: String, Handle, Settlement, (@Sendable () -> Void)?)
    }

    private struct Mailbox {
        var commands: [Command] = []
    }

    private final class Work: AMQPWork {
        private struct Channel {
            let number: Int
            let epoch: Int
            let tag: String
            var isConsuming = true
        }

        private let mailbox: NIOLockedValueBox<Mailbox>
        private let deliver: @Sendable ([Event]) -> Void
        private let onStop: @Sendable () -> Void
        private var wanted: [String: Subscription] = [:]
        private var channels: [String: Channel] = [:]
        private var queues: [Int: String] = [:]
        private var retryAt: [String: ContinuousClock.Instant] = [:]
        private var nextEpoch = 1
        private var events: [Event] = []
        /// Before a queue that could not be consumed is tried again.
        private static let retryPause = Duration.milliseconds(1000)

        init(
            _ mailbox: NIOLockedValueBox<Mailbox>, deliver: @escaping @Sendable ([Event]) -> Void, onStop: @escaping @Sendable () -> Void
        ) {
            self.mailbox = mailbox
            self.deliver = deliver
            self.onStop = onStop
        }

        func connected(_ connection: AMQPConnection) throws(AMQPError) { retryAt = [:] }

        func proceed(_ connection: AMQPConnection) throws(AMQPError) {
            defer { flush() }
            let commands = mailbox.withLockedValue { box in
                defer { box.commands = [] }
                return box.commands
            }
            var done: [@Sendable () -> Void] = []
            defer { for work in done { work() } }
            for (index, command) in commands.enumerated() {
                do throws(AMQPError) {
                    switch command {
                    case .consume(let subscription): try change(subscription, connection)
                    case .pause(let queue): try pause(queue, connection)
                    case .settle(let queue, let handle, let settlement, let completion):
                        if let completion { done.append(completion) }
                        guard let channel = channels[queue], channel.epoch == handle.epoch else { continue }
                        switch settlement {
                        case .done: try connection.acknowledge(handle.tag, on: channel.number)
                        case .giveBack: try connection.giveBack(handle.tag, on: channel.number)
                        }
                    }
                } catch {
                    // The rest is for the next connection.
                    mailbox.withLockedValue { $0.commands.insert(contentsOf: commands[(index + 1)...], at: 0) }
                    throw error
                }
            }
            for (queue, subscription) in wanted where channels[queue] == nil {
                guard retryAt[queue].map({ $0 <= .now }) ?? true else { continue }
                try begin(subscription, connection)
            }
        }

        private func change(_ subscription: Subscription, _ connection: AMQPConnection) throws(AMQPError) {
            wanted[subscription.queue] = subscription
            retryAt[subscription.queue] = nil
            guard let channel = channels[subscription.queue] else { return }
            do throws(AMQPError) {
                // Deliveries that are out stay valid; the new consumer counts its own.
                if channel.isConsuming { try connection.cancel(channel.tag, on: channel.number) }
                channels[subscription.queue]?.isConsuming = true
                try consume(subscription, on: channel, connection)
            } catch  where error.endsChannelOnly {
                lost(subscription.queue, error)
            }
        }

        /// Nothing more comes; what is out can still be settled.
        private func pause(_ queue: String, _ connection: AMQPConnection) throws(AMQPError) {
            wanted[queue] = nil
            guard let channel = channels[queue], channel.isConsuming else { return }
            channels[queue]?.isConsuming = false
            try connection.cancel(channel.tag, on: channel.number)
        }

        private func begin(_ subscription: Subscription, _ connection: AMQPConnection) throws(AMQPError) {
            let number = (1...).first { queues[$0] == nil } ?? 1
            let channel = Channel(
                number: number, epoch: nextEpoch, tag: "\(subscription.tagPrefix)-\(String(UInt64.random(in: .min ... .max), radix: 16))")
            nextEpoch += 1
            do throws(AMQPError) {
                try connection.open(number)
                channels[subscription.queue] = channel
                queues[number] = subscription.queue
                // Told before the first delivery.
                events.append(.consuming(queue: subscription.queue, epoch: channel.epoch))
                try consume(subscription, on: channel, connection)
            } catch  where error.endsChannelOnly {
                lost(subscription.queue, error)
            }
        }

        private func consume(_ subscription: Subscription, on channel: Channel, _ connection: AMQPConnection) throws(AMQPError) {
            try connection.consume(
                subscription.queue, tag: channel.tag, prefetch: subscription.prefetch, isExclusive: subscription.isExclusive,
                arguments: subscription.arguments, on: channel.number)
        }

        private func end(_ queue: String, _ connection: AMQPConnection) throws(AMQPError) {
            guard let channel = channels.removeValue(forKey: queue) else { return }
            queues[channel.number] = nil
            // Gives back whatever is out.
            try connection.close(channel.number)
        }

        private func lost(_ queue: String, _ error: AMQPError) {
            let channel = channels.removeValue(forKey: queue)
            if let channel { queues[channel.number] = nil }
            retryAt[queue] = .now + Self.retryPause
            events.append(.ended(queue: queue, epoch: channel?.epoch, error))
        }

        func received(_ event: AMQPEvent, _ connection: AMQPConnection) throws(AMQPError) {
            switch event {
            case .delivered(let delivery):
                guard let queue = queues[delivery.channel], let channel = channels[queue] else { return }
                events.append(.delivered(queue: queue, Handle(epoch: channel.epoch, tag: delivery.tag), delivery.message))
                if events.count >= 64 { flush() }
            case .cancelled(let number):
                guard let queue = queues[number] else { return }
                try end(queue, connection)
                lost(queue, AMQPError(.notFound, "queue '\(queue)' is gone"))
            case .channelClosed(let number, let error):
                guard let queue = queues[number] else { return }
                lost(queue, error)
            default: break
            }
        }

        private func flush() {
            guard !events.isEmpty else { return }
            let batch = events
            events = []
            deliver(batch)
        }

        func disconnected(_ error: AMQPError) {
            for queue in channels.keys.sorted() { lost(queue, error) }
            retryAt = [:]
            channels = [:]
            queues = [:]
            // Settlements of deliveries that are void now have nothing to wait for.
            let commands = mailbox.withLockedValue { box in
                defer { box.commands = [] }
                return box.commands
            }
            for command in commands {
                switch command {
                case .consume(let subscription): wanted[subscription.queue] = subscription
                case .pause(let queue): wanted[queue] = nil
                case .settle(_, _, _, let completion): completion?()
                }
            }
            flush()
        }

        func stopped() {
            disconnected(AMQPError(.unreachable, "iii-queue stops"))
            onStop()
        }
    }

    private let mailbox = NIOLockedValueBox(Mailbox())
    private let thread: AMQPThread

    /// `deliver`, `changed` and `onStop` are called on the consumer's thread.
    package init(
        _ settings: AMQPSettings, deliver: @escaping @Sendable ([Event]) -> Void, changed: @escaping @Sendable (AMQPState) -> Void,
        onStop: @escaping @Sendable () -> Void = {}
    ) {
        thread = AMQPThread(
            settings, purpose: "consuming", work: Work(mailbox, deliver: deliver, onStop: onStop), changed: changed)
        thread.start()
    }

    package var state: AMQPState { thread.state }

    private func submit(_ commands: [Command]) {
        mailbox.withLockedValue { $0.commands += commands }
        thread.wake()
    }

    /// Begins to consume, or goes on in another way.
    package func consume(_ subscription: Subscription) { submit([.consume(subscription)]) }

    /// Nothing more comes of it; deliveries that are out can still be settled.
    package func pause(_ queue: String) { submit([.pause(queue: queue)]) }

    /// `completion` comes once the broker has been told, or has forgotten the delivery.
    package func settle(_ queue: String, _ handle: Handle, _ settlement: Settlement, completion: (@Sendable () -> Void)? = nil) {
        submit([.settle(queue: queue, handle, settlement, completion)])
    }

    package func close() { thread.stop() }
}
