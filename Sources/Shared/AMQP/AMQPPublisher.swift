import NIOConcurrencyHelpers

/// Publishes with confirms over a connection of its own: a message counts as published once the broker has said that every queue it
/// went to has it. What was not confirmed when a connection ended is published again over the next one, so it may arrive twice.
package final class AMQPPublisher: Sendable {
    /// Where a message goes. One that no queue takes is an error if it is mandatory.
    package struct Address: Sendable, Equatable {
        package let exchange: String
        package let key: String
        package let isMandatory: Bool
        package init(exchange: String, key: String, isMandatory: Bool = true) {
            self.exchange = exchange
            self.key = key
            self.isMandatory = isMandatory
        }
    }

    /// Header that tells one published copy of a message from any other; set by whoever publishes, and unique.
    package static let copyHeader = "x-iii-copy"

    /// Messages that may wait for their confirms; more are refused.
    package static let maximumMessages = 10_000
    /// Their bytes.
    package static let maximumBytes = 64 << 20
    /// Sent and not confirmed at a time.
    private static let window = 1000

    fileprivate struct Item {
        let ticket: Int
        let message: AMQPMessage
        let address: Address
        let completion: @Sendable (AMQPError?) -> Void
    }

    private struct Mailbox {
        var waiting: [Item] = []
        var count = 0
        var bytes = 0
        var nextTicket = 1
        /// Of what is sent: whoever waited has given up.
        var abandoned: Set<Int> = []
        var sent: Set<Int> = []
        var isClosed = false
    }

    private final class Work: AMQPWork {
        let mailbox: NIOLockedValueBox<Mailbox>
        let onStop: @Sendable () -> Void
        var unconfirmed: [UInt64: Item] = [:]
        /// In the order in which they were sent.
        var order: [UInt64] = []
        var again: [Item] = []
        var returned: [String: String] = [:]
        var nextTag: UInt64 = 1
        var isBlocked = false

        init(_ mailbox: NIOLockedValueBox<Mailbox>, onStop: @escaping @Sendable () -> Void) {
            self.mailbox = mailbox
            self.onStop = onStop
        }

        func connected(_ connection: AMQPConnection) throws(AMQPError) {
            try connection.open(1)
            try connection.confirm(1)
            nextTag = 1
            isBlocked = false
            returned = [:]
        }

        func proceed(_ connection: AMQPConnection) throws(AMQPError) {
            // The broker does not read now; what is not sent is surely not stored.
            guard !isBlocked else { return }
            while unconfirmed.count < AMQPPublisher.window {
                let item: Item
                if !again.isEmpty {
                    item = again.removeFirst()
                    if mailbox.withLockedValue({ $0.abandoned.contains(item.ticket) }) {
                        finish(item, nil)
                        continue
                    }
                } else {
                    let next: Item? = mailbox.withLockedValue { box in
                        guard !box.waiting.isEmpty else { return nil }
                        let item = box.waiting.removeFirst()
                        box.sent.insert(item.ticket)
                        return item
                    }
                    guard let next else { return }
                    item = next
                }
                unconfirmed[nextTag] = item
                order.append(nextTag)
                nextTag += 1
                try connection.publish(
                    item.message, to: item.address.exchange, key: item.address.key, isMandatory: item.address.isMandatory, on: 1)
            }
        }

        func received(_ event: AMQPEvent, _ connection: AMQPConnection) throws(AMQPError) {
            switch event {
            case .acknowledged(let tag, let isMultiple):
                for item in take(tag, isMultiple) {
                    let copy = item.message.headers[AMQPPublisher.copyHeader]?.text ?? ""
                    if let reason = returned.removeValue(forKey: copy) {
                        finish(item, AMQPError(.unroutable, "no queue takes the message: \(reason)"))
                    } else {
                        finish(item, nil)
                    }
                }
            case .refused(let tag, let isMultiple):
                for item in take(tag, isMultiple) {
                    finish(item, AMQPError(.refused, "RabbitMQ could not store the message (negative confirm)"))
                }
            case .returned(let message, let reason):
                if let copy = message.headers[AMQPPublisher.copyHeader]?.text { returned[copy] = reason }
            case .channelClosed(_, let error):
                // An exchange is gone: nothing that goes there will be taken. The rest is published again.
                if error.code == .notFound {
                    for tag in order {
                        guard let item = unconfirmed[tag], error.message.contains("'\(item.address.exchange)'") else { continue }
                        unconfirmed[tag] = nil
                        finish(item, AMQPError(.unroutable, error.message))
                    }
                    order.removeAll { unconfirmed[$0] == nil }
                }
                throw AMQPError(.unreachable, error.message)
            case .blocked: isBlocked = true
            case .unblocked: isBlocked = false
            case .delivered, .cancelled: break
            }
        }

        private func take(_ tag: UInt64, _ isMultiple: Bool) -> [Item] {
            guard isMultiple else {
                if let index = order.firstIndex(of: tag) { order.remove(at: index) }
                return unconfirmed.removeValue(forKey: tag).map { [$0] } ?? []
            }
            let done = order.prefix { $0 <= tag }
            defer { order.removeFirst(done.count) }
            return done.compactMap { unconfirmed.removeValue(forKey: $0) }
        }

        private func finish(_ item: Item, _ error: AMQPError?) {
            let isAbandoned = mailbox.withLockedValue { box in
                box.count -= 1
                box.bytes -= item.message.cost
                box.sent.remove(item.ticket)
                return box.abandoned.remove(item.ticket) != nil
            }
            if !isAbandoned { item.completion(error) }
        }

        func disconnected(_ error: AMQPError) {
            again = order.compactMap { unconfirmed[$0] } + again
            unconfirmed = [:]
            order = []
            returned = [:]
        }

        func stopped() {
            let rest =
                again + order.compactMap { unconfirmed[$0] }
                + mailbox.withLockedValue { box in
                    defer { box.waiting = [] }
                    return box.waiting
                }
            for item in rest { finish(item, AMQPError(.unreachable, "iii-queue stops; whether RabbitMQ has the message is unknown")) }
            onStop()
        }
    }

    private let mailbox = NIOLockedValueBox(Mailbox())
    private let thread: AMQPThread

    /// `changed` and `onStop` are called on the publisher's thread.
    package init(
        _ settings: AMQPSettings, changed: @escaping @Sendable (AMQPState) -> Void, onStop: @escaping @Sendable () -> Void = {}
    ) {
        thread = AMQPThread(settings, purpose: "publishing", work: Work(mailbox, onStop: onStop), changed: changed)
        thread.start()
    }

    package var state: AMQPState { thread.state }
    /// Messages without an outcome.
    package var pending: Int { mailbox.withLockedValue { $0.count } }

    /// Publishes; `completion` comes on the publisher's thread unless the ticket was given up. Throws what it refuses at once.
    package func publish(
        _ message: AMQPMessage, to address: Address, completion: @escaping @Sendable (AMQPError?) -> Void
    ) throws(AMQPError) -> Int {
        guard message.headerBytes <= AMQPMessage.maximumHeaderBytes else {
            throw AMQPError(
                .invalid, "what goes beside the payload has \(message.headerBytes) bytes; RabbitMQ takes \(AMQPMessage.maximumHeaderBytes)")
        }
        let ticket: Int? = mailbox.withLockedValue { box in
            guard !box.isClosed, box.count < Self.maximumMessages, box.count == 0 || box.bytes + message.cost <= Self.maximumBytes else {
                return nil
            }
            box.count += 1
            box.bytes += message.cost
            defer { box.nextTicket += 1 }
            box.waiting.append(Item(ticket: box.nextTicket, message: message, address: address, completion: completion))
            return box.nextTicket
        }
        guard let ticket else {
            throw AMQPError(
                .overloaded, "\(Self.maximumMessages) messages or \(Self.maximumBytes >> 20) MiB wait for RabbitMQ's confirms already")
        }
        thread.wake()
        return ticket
    }

    /// Nobody waits for it any more. Answers whether it was surely not published; else it may have been, or be yet.
    package func giveUp(_ ticket: Int) -> Bool {
        mailbox.withLockedValue { box in
            if let index = box.waiting.firstIndex(where: { $0.ticket == ticket }) {
                box.count -= 1
                box.bytes -= box.waiting.remove(at: index).message.cost
                return true
            }
            if box.sent.contains(ticket) { box.abandoned.insert(ticket) }
            return false
        }
    }

    package func close() {
        mailbox.withLockedValue { $0.isClosed = true }
        thread.stop()
    }
}
