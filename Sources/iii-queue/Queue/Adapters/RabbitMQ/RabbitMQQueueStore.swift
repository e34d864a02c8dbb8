import Glibc
import IIIAMQP
import IIIProtocol
import IIITelemetry
import IIIWorker
import Logging
import NIOConcurrencyHelpers
import NIOCore

/// Queues on a RabbitMQ broker (docs/reference/queue.md#rabbitmq).
///
/// Four connections, each with a thread of its own: one publishes, one consumes, one looks and mends (`inspector`), one moves what has waited
/// (`mover`); so a blocked publisher stops no acknowledgement, and looking stops nobody. Whatever goes from one queue to another is
/// confirmed there before it is acknowledged here: it may come twice, it does not get lost.
///
/// Confined to the event loop of its context; what the threads have to tell comes there.
final class RabbitMQQueueStore: QueueStore {
    /// What is known of one queue.
    struct Book {
        let names: RabbitMQTopology.Names
        var options = QueueOptions()
        var window = DeliveryWindow()
        /// Its owner wants messages.
        var wantsMessages = false
        var isDeclared = false
        var isDeclaring = false
        /// Whoever waits for it to be declared.
        var afterDeclaring: [(AMQPError?) -> Void] = []
        /// How it is consumed at present.
        var consumed: AMQPConsumer.Subscription?
        /// Put into the ladder by this process and not seen to come out of it.
        var delayed = 0
        /// On their way to the held ones.
        var holding = 0
        var mustWake = false
        var isWaking = false
        var cancelTimer: (() -> Void)?
        /// Why it cannot be used.
        var trouble: AMQPError?
    }

    let options: RabbitMQOptions
    var topology: RabbitMQTopology { options.topology }
    private(set) var context: QueueStoreContext?
    private(set) var publishing: ConfirmedPublishing?
    private(set) var publisher: AMQPPublisher?
    private(set) var consumer: AMQPConsumer?
    private(set) var inspector: AMQPJobs?
    private(set) var mover: AMQPJobs?
    private var pump: DelayPump?
    var books: [QueueKey: Book] = [:]
    var keys: [String: QueueKey] = [:]
    var finished = FinishedCopies()
    private var bindings: [String: QueueKey.Subscription] = [:]
    /// Topics whose exchange is there.
    private var topics: Set<String> = []
    private let nonce = String(UInt64.random(in: .min ... .max), radix: 16)
    private var copies = 0
    private var generator = SystemRandomNumberGenerator()
    private var stops = NIOLockedValueBox(Stops())
    private var states: [String: AMQPState] = [:]
    private var isAway = false
    private var isBlocked = false
    private var cancelSweep: (() -> Void)?
    private let meters = RabbitMQMeters()

    /// Messages handed out ahead of what is delivered, so that groups can run side by side.
    static let groupLookahead = 64
    /// How long a message of a group may be delayed in its place, in milliseconds: the broker takes back what it waits for longer than
    /// 30 minutes.
    static let maximumGroupDelay = 900_000
    /// Of a broker that was not told otherwise, in milliseconds.
    static let consumerTimeout = 1_800_000
    private static let startPatience = 5000
    static let troublePause = 1000
    private static let maximumTopics = 10_000
    private static let sweepInterval = 30_000

    init(_ options: RabbitMQOptions) { self.options = options }

    /// No exact length, no order by priority, and nothing can be found or taken out of the middle of a queue: that is how the protocol is.
    var abilities: Set<QueueAbility> {
        Set.all.subtracting([.priorities, .idempotencyKeys, .depthLimits, .purging, .cancelling, .finding, .sharing])
    }

    // MARK: Life

    private struct Stops: Sendable {
        var running = 0
        var waiting: CheckedContinuation<Void, Never>?
    }

    func start(_ context: QueueStoreContext, on loop: isolated WorkerLoop) async throws -> StoredState {
        self.context = context
        let (inspector, mover) = (jobs("inspecting", context), jobs("moving", context))
        self.inspector = inspector
        self.mover = mover
        let lines: [String: [UInt8]]
        do {
            lines = try await Self.open(mover, topology, context.queues, ledger, options.connection.url.displayText)
        } catch {
            await close(on: loop)
            throw error
        }
        publisher = AMQPPublisher(
            options.connection, changed: changed("publishing", context), onStop: started())
        consumer = AMQPConsumer(
            options.connection, deliver: delivering(context), changed: changed("consuming", context), onStop: started())
        if let publisher { publishing = ConfirmedPublishing(publisher, context.eventLoop, context.clock) }
        for (name, queueOptions) in context.queues {
            let key = QueueKey.named(name)
            change(key) {
                $0.options = queueOptions
                $0.isDeclared = true
            }
        }
        let pump = DelayPump(topology, mover, context.eventLoop, context.clock) { [weak self] in self?.arrived($0) }
        self.pump = pump
        pump.start()
        sweep()
        let state = RabbitMQLedger.state(lines, instance: instance)
        for binding in state.bindings {
            bindings[binding.id] = binding.subscription
            _ = book(.subscription(binding.subscription))
        }
        for key in state.records.keys { _ = book(key) }
        return state
    }

    private func jobs(_ purpose: String, _ context: QueueStoreContext) -> AMQPJobs {
        AMQPJobs(options.connection, purpose: purpose, changed: changed(purpose, context), onStop: started())
    }

    /// One more thread runs; the result is called when it has ended.
    private func started() -> @Sendable () -> Void {
        stops.withLockedValue { $0.running += 1 }
        return { [stops] in
            let waiting: CheckedContinuation<Void, Never>? = stops.withLockedValue { stops in
                stops.running -= 1
                guard stops.running == 0 else { return nil }
                defer { stops.waiting = nil }
                return stops.waiting
            }
            waiting?.resume()
        }
    }

    private func changed(_ purpose: String, _ context: QueueStoreContext) -> @Sendable (AMQPState) -> Void {
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        let loop = context.eventLoop
        return { state in loop.execute { bound.value.stateChanged(purpose, state) } }
    }

    private func delivering(_ context: QueueStoreContext) -> @Sendable ([AMQPConsumer.Event]) -> Void {
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        let loop = context.eventLoop
        return { events in loop.execute { bound.value.received(events) } }
    }

    /// Makes what has to be there, and reads what is remembered. Tries again for a while where that may help.
    private nonisolated static func open(
        _ jobs: AMQPJobs, _ topology: RabbitMQTopology, _ queues: [String: QueueOptions], _ ledger: RabbitMQLedger, _ place: String
    ) async throws -> [String: [UInt8]] {
        let deadline = ContinuousClock.now + .milliseconds(startPatience)
        while true {
            let result: Result<[String: [UInt8]], AMQPError> = await withCheckedContinuation { continuation in
                jobs.submit { session throws(AMQPError) in
                    try topology.declareShared(ledger: ledger.queue, session)
                    for (name, options) in queues.sorted(by: { $0.key < $1.key }) {
                        try topology.declare(.named(name), isSerial: options.groupField != nil, isBound: true, session)
                    }
                    return try ledger.read(session)
                } completion: {
                    continuation.resume(returning: $0)
                }
            }
            switch result {
            case .success(let lines): return lines
            case .failure(let error) where error.isRetryable:
                guard ContinuousClock.now < deadline else {
                    throw QueueStoreError("Failed to connect to RabbitMQ at \(place): \(error)", isRetryable: true)
                }
                try await Task.sleep(for: .milliseconds(200))
            case .failure(let error) where error.code == .preconditionFailed:
                throw ConfigurationError(
                    "Failed to setup function queue topology: RabbitMQ error: \(error); it was made with other settings, by an older "
                        + "configuration or another program: empty it and remove it with rabbitmqctl delete_queue, or set another prefix")
            case .failure(let error): throw ConfigurationError("Failed to connect to RabbitMQ at \(place): \(error)")
            }
        }
    }

    func close(on loop: isolated WorkerLoop) async {
        pump?.close()
        cancelSweep?()
        for key in books.keys { books[key]?.cancelTimer?() }
        consumer?.close()
        publishing?.close()
        inspector?.close()
        mover?.close()
        await Self.ended(stops)
        // Each holds the others through the threads.
        (consumer, publisher, publishing, inspector, mover, pump) = (nil, nil, nil, nil, nil, nil)
    }

    private nonisolated static func ended(_ stops: NIOLockedValueBox<Stops>) async {
        await withCheckedContinuation { continuation in
            let isOver = stops.withLockedValue { stops in
                guard stops.running > 0 else { return true }
                stops.waiting = continuation
                return false
            }
            if isOver { continuation.resume() }
        }
    }

    // MARK: Connections

    private func stateChanged(_ purpose: String, _ state: AMQPState) {
        states[purpose] = state
        guard let logger = context?.logger else { return }
        let away = states.first { !$0.value.isConnected && $0.value.trouble != nil }
        if (away != nil) != isAway {
            isAway = away != nil
            if let away {
                logger.warning(
                    .brokerUnreachable, "a connection to RabbitMQ is gone; it is tried again",
                    metadata: ["connection": "\(away.key)", "reason": "\(away.value.trouble?.message ?? "")"])
            } else {
                logger.notice("RabbitMQ is there again")
            }
        }
        let blocked = states.values.compactMap(\.blocked).first
        if (blocked != nil) != isBlocked {
            isBlocked = blocked != nil
            if let blocked {
                logger.warning(
                    .brokerBlocked, "RabbitMQ takes no messages; what is enqueued is refused until it does",
                    metadata: ["reason": "\(blocked)"])
            } else {
                logger.notice("RabbitMQ takes messages again")
            }
        }
        meters.connected(states.values.filter(\.isConnected).count, isBlocked: isBlocked)
    }

    /// What is in the way of every queue; nil when nothing is.
    var trouble: String? {
        if let blocked = states.values.compactMap(\.blocked).first { return "RabbitMQ takes no messages: \(blocked)" }
        return states.sorted { $0.key < $1.key }.first { !$0.value.isConnected && $0.value.trouble != nil }
            .map { "RabbitMQ is away: \($0.value.trouble?.message ?? "")" }
    }

    var status: String {
        let version = states.values.map(\.brokerVersion).max() ?? ""
        var text = "RabbitMQ\(version.isEmpty ? "" : " " + version)"
        if let trouble { text += ", \(trouble)" }
        if let publishing, publishing.count > 0 { text += ", \(publishing.count) without a confirm" }
        if let broken = books.values.compactMap(\.trouble).first { text += ", \(broken)" }
        return text
    }

    // MARK: Names

    func newCopy() -> String {
        copies += 1
        return "\(nonce)-\(copies)"
    }

    private func newID() -> String { UUIDBits.ordered(milliseconds: now, using: &generator).text }

    var now: Int { context?.clock.now ?? 0 }

    /// Bindings belong to whoever made them: this entry of the engine in this directory of this host.
    private var instance: String {
        var host = [CChar](repeating: 0, count: 256)
        gethostname(&host, 255)
        let directory = getcwd(nil, 0)
        defer { free(directory) }
        let name = host.withUnsafeBufferPointer { $0.baseAddress.map { String(cString: $0) } ?? "" }
        return "\(name):\(directory.map { String(cString: $0) } ?? ""):\(context?.name ?? "")"
    }

    private var ledger: RabbitMQLedger { RabbitMQLedger(queue: topology.ledger(context?.name ?? "iii-queue")) }

    func book(_ key: QueueKey) -> Book {
        if let book = books[key] { return book }
        let book = Book(names: topology.names(key))
        books[key] = book
        keys[book.names.main] = key
        return book
    }

    func change(_ key: QueueKey, _ body: (inout Book) -> Void) {
        _ = book(key)
        // In place: a copy of the window would be made otherwise.
        body(&books[key, default: Book(names: topology.names(key))])
    }

    var queues: [QueueKey] { Array(books.keys) }

    // MARK: Declaring

    /// Runs `then` once the queue is there.
    func declared(_ key: QueueKey, isBound: Bool = false, _ then: @escaping (AMQPError?) -> Void) {
        let book = book(key)
        if book.isDeclared, !isBound { return then(nil) }
        books[key]?.afterDeclaring.append(then)
        if !book.isDeclaring || isBound { declare(key, isBound: isBound) }
    }

    private func declare(_ key: QueueKey, isBound: Bool) {
        guard let mover, let context else { return }
        books[key]?.isDeclaring = true
        let options = book(key).options
        let isSerial = options.groupField != nil || options.isSerial
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        mover.submit { [topology] session throws(AMQPError) in
            try topology.declare(key, isSerial: isSerial, isBound: isBound, session)
        } completion: { [loop = context.eventLoop] result in
            loop.execute { bound.value.declarationEnded(key, result) }
        }
    }

    private func declarationEnded(_ key: QueueKey, _ result: Result<Void, AMQPError>) {
        guard let book = books[key] else { return }
        var error: AMQPError?
        if case .failure(let failure) = result { error = failure }
        change(key) {
            $0.isDeclaring = false
            $0.isDeclared = error == nil
            $0.trouble = error.flatMap { $0.isRetryable ? nil : $0 }
            $0.afterDeclaring = []
        }
        if let error, book.trouble != error, !error.isRetryable {
            context?.logger.warning(
                .brokerQueueUnusable, "a queue cannot be used on RabbitMQ", metadata: ["queue": "\(key)", "reason": "\(error)"])
        }
        for work in book.afterDeclaring { work(error) }
    }

    // MARK: In

    func enqueue(_ messages: [NewMessage], completion: @escaping (Result<[EnqueueAnswer], QueueStoreError>) -> Void) {
        // More than one at a time are copies of a topic's, which go through its exchange.
        guard messages.count == 1, let new = messages.first else {
            return completion(.failure(QueueStoreError("RabbitMQ takes several messages at once for a topic only", isRetryable: false)))
        }
        if new.message.group != nil, let due = new.due, due - now > Self.maximumGroupDelay {
            return completion(
                .failure(
                    QueueStoreError(
                        "a message of a fifo queue can be delayed by \(Self.maximumGroupDelay / 60_000) minutes at the most on RabbitMQ",
                        isRetryable: false)))
        }
        declared(new.queue) { [self] error in
            if let error { return completion(.failure(QueueStoreError(error))) }
            put(new) { [self] error in
                guard let error else { return completion(.success([EnqueueAnswer(id: new.message.id, isDuplicate: false)])) }
                // Somebody has removed it behind our back: the next one finds it again.
                if error.code == .unroutable { forgotten(new.queue) }
                completion(.failure(QueueStoreError(error)))
            }
        }
    }

    private func put(_ new: NewMessage, completion: @escaping (AMQPError?) -> Void) {
        guard let publishing else { return completion(AMQPError(.unreachable, "iii-queue stops")) }
        let names = book(new.queue).names
        var message = RabbitMQCodec.encode(new.message, MessageProgress(), for: new.queue, copy: newCopy())
        guard let due = new.due, due > now else {
            return publishing.publish(message, to: .init(exchange: "", key: names.main), completion: completion)
        }
        guard new.message.group == nil else {
            // In its place, so that nothing of its group passes it.
            message.headers[RabbitMQCodec.Header.due] = .integer(due)
            return publishing.publish(message, to: .init(exchange: "", key: names.main), completion: completion)
        }
        delay(message, of: new.queue, until: due, completion)
    }

    /// Into the ladder.
    func delay(_ message: AMQPMessage, of key: QueueKey, until due: Int, _ completion: @escaping (AMQPError?) -> Void) {
        let (waiting, address) = RabbitMQCodec.delayed(message, until: due, then: book(key).names.main, now: now, topology)
        let isDelayed = waiting.headers[RabbitMQCodec.Header.due] != nil
        publishing?.publish(waiting, to: address) { [self] error in
            if error == nil, isDelayed {
                books[key]?.delayed += 1
                pump?.added(due: due)
            }
            completion(error)
        }
    }

    /// Something that is due then was put into the ladder.
    func added(due: Int) { pump?.added(due: due) }

    private func arrived(_ counts: [String: Int]) {
        for (queue, count) in counts {
            guard let key = keys[queue], let delayed = books[key]?.delayed else { continue }
            books[key]?.delayed = max(0, delayed - count)
        }
    }

    /// A queue was removed, or its binding.
    func forgotten(_ key: QueueKey) {
        books[key]?.isDeclared = false
        if case .subscription(let subscription) = key { topics.remove(subscription.topic) }
        let isBound = if case .subscription(let it) = key { bindings.values.contains(it) } else { true }
        declared(key, isBound: isBound) { _ in }
    }

    func publish(
        _ publication: TopicMessage, copies: @escaping () -> [NewMessage], completion: @escaping (Result<Int, QueueStoreError>) -> Void
    ) {
        let known = copies()
        let exchange = topology.exchange(ofTopic: publication.topic)
        guard exchange.utf8.count <= RabbitMQTopology.maximumName else {
            return completion(
                .failure(
                    QueueStoreError("the name of the topic is too long for RabbitMQ (\(exchange.utf8.count) bytes)", isRetryable: false)))
        }
        found(publication.topic, isKnown: !known.isEmpty) { [self] result in
            switch result {
            case .failure(let error): return completion(.failure(QueueStoreError(error)))
            case .success(false): return completion(.success(0))
            case .success(true): break
            }
            let message = RabbitMQCodec.encode(publication, id: newID(), copy: newCopy())
            publishing?.publish(message, to: .init(exchange: exchange, key: "")) { [self] error in
                switch error?.code {
                case nil: completion(.success(max(1, known.count)))
                case .unroutable where known.isEmpty:
                    topics.remove(publication.topic)
                    completion(.success(0))
                case .unroutable:
                    for new in known { forgotten(new.queue) }
                    completion(
                        .failure(
                            QueueStoreError("the queues of topic '\(publication.topic)' are gone; they are made again", isRetryable: true)))
                default: completion(.failure(error.map(QueueStoreError.init) ?? QueueStoreError("", isRetryable: true)))
                }
            }
        }
    }

    /// Whether the topic's exchange is there: with subscribers here it is, else somebody else may have made it.
    private func found(_ topic: String, isKnown: Bool, _ then: @escaping (Result<Bool, AMQPError>) -> Void) {
        if topics.contains(topic) { return then(.success(true)) }
        let exchange = topology.exchange(ofTopic: topic)
        inspect { session throws(AMQPError) in
            do throws(AMQPError) {
                try session.broker.declareExchange(exchange, type: "fanout", isPassive: true, on: AMQPJobs.Session.channel)
            } catch  where error.code == .notFound {
                try session.broker.open(AMQPJobs.Session.channel)
                guard isKnown else { return false }
                try session.broker.declareExchange(exchange, type: "fanout", on: AMQPJobs.Session.channel)
            }
            return true
        } then: { [self] result in
            if case .success(true) = result {
                if topics.count >= Self.maximumTopics { topics = [] }
                topics.insert(topic)
            }
            then(result)
        }
    }

    // MARK: Jobs

    /// Runs a job of looking or mending.
    func inspect<Value: Sendable>(
        _ job: @escaping @Sendable (AMQPJobs.Session) throws(AMQPError) -> Value, then: @escaping (Result<Value, AMQPError>) -> Void
    ) { run(inspector, job, then) }

    /// Runs a job that moves messages.
    func move<Value: Sendable>(
        _ job: @escaping @Sendable (AMQPJobs.Session) throws(AMQPError) -> Value, then: @escaping (Result<Value, AMQPError>) -> Void
    ) { run(mover, job, then) }

    private func run<Value: Sendable>(
        _ jobs: AMQPJobs?, _ job: @escaping @Sendable (AMQPJobs.Session) throws(AMQPError) -> Value,
        _ then: @escaping (Result<Value, AMQPError>) -> Void
    ) {
        guard let jobs, let loop = context?.eventLoop else { return then(.failure(AMQPError(.unreachable, "iii-queue stops"))) }
        let then = NIOLoopBound(then, eventLoop: loop)
        jobs.submit(job) { result in loop.execute { then.value(result) } }
    }

    // MARK: What outlives the process

    func keep(_ binding: StoredBinding, completion: @escaping (QueueStoreError?) -> Void) {
        bindings[binding.id] = binding.subscription
        declared(.subscription(binding.subscription), isBound: true) { [self] error in
            if let error { return completion(QueueStoreError(error)) }
            write(RabbitMQLedger.key(binding.id, instance: instance), RabbitMQLedger.encode(binding), completion)
        }
    }

    func forget(bindings ids: [String], completion: @escaping (QueueStoreError?) -> Void) {
        guard let id = ids.first else { return completion(nil) }
        let subscription = bindings.removeValue(forKey: id)
        write(RabbitMQLedger.key(id, instance: instance), nil) { [self] error in
            if let error { return completion(error) }
            guard let subscription, !bindings.values.contains(subscription) else {
                return forget(bindings: Array(ids.dropFirst()), completion: completion)
            }
            let names = topology.names(.subscription(subscription))
            move { session throws(AMQPError) in
                try session.broker.unbind(names.main, from: names.exchange, key: names.key, on: AMQPJobs.Session.channel)
            } then: { [self] result in
                if case .failure(let error) = result, error.code != .notFound { return completion(QueueStoreError(error)) }
                forget(bindings: Array(ids.dropFirst()), completion: completion)
            }
        }
    }

    func configure(_ queue: QueueKey, _ record: QueueRecord, completion: @escaping (QueueStoreError?) -> Void) {
        write(RabbitMQLedger.key(queue), RabbitMQLedger.encode(record), completion)
    }

    private func write(_ key: String, _ value: [UInt8]?, _ completion: @escaping (QueueStoreError?) -> Void) {
        let (ledger, at, copy) = (ledger, now, newCopy())
        move { session throws(AMQPError) in
            try ledger.write(key, value, at: at, copy: copy, session)
            // Now and then, so that it stays as small as what it says.
            if copy.hasSuffix("00") { _ = try ledger.read(session) }
        } then: { result in
            if case .failure(let error) = result { completion(QueueStoreError(error)) } else { completion(nil) }
        }
    }

    func drop(_ queue: QueueKey) {
        guard case .subscription(let subscription) = queue, let book = books[queue], !bindings.values.contains(subscription) else { return }
        consumer?.pause(book.names.main)
        books[queue]?.cancelTimer?()
        books[queue] = nil
        keys[book.names.main] = nil
        let names = book.names
        move { session throws(AMQPError) in
            for name in [names.main, names.dead] {
                do throws(AMQPError) {
                    try session.broker.deleteQueue(name, ifEmpty: true, on: AMQPJobs.Session.channel)
                } catch  where error.endsChannelOnly {
                    // Somebody has put something in; it stays.
                    try session.broker.open(AMQPJobs.Session.channel)
                }
            }
        } then: { _ in
        }
    }

    // MARK: Now and then

    private func sweep() {
        cancelSweep = context?.clock.schedule(at: now + Self.sweepInterval) { [weak self] in
            guard let self else { return }
            // What an instance has set aside that is no more.
            for (key, book) in books where book.wantsMessages && book.names.held != nil { wake(key, limit: 100) }
            sweep()
        }
    }
}

extension QueueStoreError {
    init(_ error: AMQPError) { self.init(error.message, isRetryable: error.isRetryable) }
}
