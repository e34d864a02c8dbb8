import NIOConcurrencyHelpers

/// Does jobs one after the other over a connection of its own: looking into queues, moving messages between them. A job that fails
/// takes its channel, at worst this connection along, and nothing else.
package final class AMQPJobs: Sendable {
    /// What a job works with. On the thread of the connection.
    package final class Session {
        fileprivate let connection: AMQPConnection
        private var nextTag: UInt64 = 0

        fileprivate init(_ connection: AMQPConnection) { self.connection = connection }

        /// The connection, for calls on channel 1, which is open.
        package var broker: AMQPConnection { connection }
        package static let channel = 1

        /// Publishes all of them and returns once every one is confirmed, with the places of those that no queue took.
        package func publish(_ messages: [(AMQPMessage, AMQPPublisher.Address)]) throws(AMQPError) -> [Int] {
            guard !messages.isEmpty else { return [] }
            if !connection.isOpen(2) {
                try connection.open(2)
                try connection.confirm(2)
                nextTag = 0
            }
            for (message, address) in messages {
                nextTag += 1
                try connection.publish(message, to: address.exchange, key: address.key, isMandatory: address.isMandatory, on: 2)
            }
            var returned: Set<String> = []
            var open = Set((nextTag - UInt64(messages.count) + 1)...nextTag)
            let deadline = ContinuousClock.now + AMQPJobs.confirmTimeout
            while !open.isEmpty {
                guard ContinuousClock.now < deadline else { throw AMQPError(.timeout, "RabbitMQ has not confirmed in time") }
                switch try connection.next(within: 200) {
                case .acknowledged(let tag, let isMultiple): open = isMultiple ? open.filter { $0 > tag } : open.subtracting([tag])
                case .refused: throw AMQPError(.refused, "RabbitMQ could not store a message (negative confirm)")
                case .returned(let message, _): returned.insert(message.headers[AMQPPublisher.copyHeader]?.text ?? "")
                case .channelClosed(_, let error): throw error
                case .blocked(let reason): throw AMQPError(.blocked, "RabbitMQ blocks publishing: \(reason)")
                default: break
                }
            }
            return messages.indices.filter { returned.contains(messages[$0].0.headers[AMQPPublisher.copyHeader]?.text ?? "") }
        }
    }

    private static let confirmTimeout = Duration.seconds(10)
    /// Jobs that may wait; more are refused.
    package static let maximumJobs = 1000

    private struct Job {
        let run: (Session) throws(AMQPError) -> Void
        let fail: (AMQPError) -> Void
    }

    private struct Mailbox: @unchecked Sendable {
        var jobs: [Job] = []
        var isConnected = false
        var trouble: AMQPError?
        var isClosed = false
    }

    private final class Work: AMQPWork {
        let mailbox: NIOLockedValueBox<Mailbox>
        let onStop: @Sendable () -> Void
        var session: Session?

        init(_ mailbox: NIOLockedValueBox<Mailbox>, onStop: @escaping @Sendable () -> Void) {
            self.mailbox = mailbox
            self.onStop = onStop
        }

        func connected(_ connection: AMQPConnection) throws(AMQPError) {
            try connection.open(Session.channel)
            session = Session(connection)
            mailbox.withLockedValue { box in
                box.isConnected = true
                box.trouble = nil
            }
        }

        func proceed(_ connection: AMQPConnection) throws(AMQPError) {
            while let job: Job = mailbox.withLockedValue({ $0.jobs.isEmpty ? nil : $0.jobs.removeFirst() }) {
                guard let session else { return job.fail(AMQPError(.unreachable, "there is no connection to RabbitMQ")) }
                do throws(AMQPError) {
                    try connection.open(Session.channel)
                    try job.run(session)
                } catch {
                    // What the job had got and not settled goes back: by closing the channel, or with the connection.
                    defer { job.fail(error) }
                    guard error.endsChannelOnly || error.code == .invalid else { throw error }
                    try connection.close(Session.channel)
                    try connection.close(2)
                }
            }
        }

        func received(_ event: AMQPEvent, _ connection: AMQPConnection) throws(AMQPError) {}

        func disconnected(_ error: AMQPError) {
            session = nil
            let jobs = mailbox.withLockedValue { box in
                box.isConnected = false
                box.trouble = error
                defer { box.jobs = [] }
                return box.jobs
            }
            for job in jobs { job.fail(error) }
        }

        func stopped() {
            disconnected(AMQPError(.unreachable, "iii-queue stops"))
            onStop()
        }
    }

    private let mailbox = NIOLockedValueBox(Mailbox())
    private let thread: AMQPThread

    /// `changed` and `onStop` are called on the connection's thread.
    package init(
        _ settings: AMQPSettings, purpose: String, changed: @escaping @Sendable (AMQPState) -> Void,
        onStop: @escaping @Sendable () -> Void = {}
    ) {
        thread = AMQPThread(settings, purpose: purpose, work: Work(mailbox, onStop: onStop), changed: changed)
        thread.start()
    }

    package var state: AMQPState { thread.state }

    /// Runs `job` on the thread; `completion` gets its outcome there. While the broker is away it fails at once.
    package func submit<Value>(
        _ job: @escaping @Sendable (Session) throws(AMQPError) -> Value, completion: @escaping @Sendable (Result<Value, AMQPError>) -> Void
    ) {
        let work = Job(
            run: { session throws(AMQPError) in completion(.success(try job(session))) }, fail: { completion(.failure($0)) })
        let refusal: AMQPError? = mailbox.withLockedValue { box in
            if box.isClosed { return AMQPError(.unreachable, "iii-queue stops") }
            if !box.isConnected, let trouble = box.trouble { return trouble }
            guard box.jobs.count < Self.maximumJobs else {
                return AMQPError(.overloaded, "\(Self.maximumJobs) jobs wait for RabbitMQ already")
            }
            box.jobs.append(work)
            return nil
        }
        if let refusal { return completion(.failure(refusal)) }
        thread.wake()
    }

    package func close() {
        mailbox.withLockedValue { $0.isClosed = true }
        thread.stop()
    }
}
