import IIIAMQP
import IIITelemetry
import IIIWorker
import NIOCore

/// From the broker to whoever delivers, and what becomes of it.
extension RabbitMQQueueStore {
    // MARK: Consuming

    func serve(_ queue: QueueKey, _ options: QueueOptions, isConsuming: Bool) {
        let former = book(queue)
        change(queue) {
            $0.options = options
            $0.wantsMessages = isConsuming
        }
        if options.timeout == 0 || options.timeout > Self.consumerTimeout, former.options.timeout != options.timeout {
            context?.logger.warning(
                .configurationSuspicious,
                """
                a message may be handled for longer than RabbitMQ waits for its acknowledgement unless it is told otherwise: it would be \
                delivered again; raise consumer_timeout in rabbitmq.conf
                """,
                metadata: ["queue": "\(queue)", "timeout_ms": "\(options.timeout)", "consumer_timeout": "\(Self.consumerTimeout)"])
        }
        guard isConsuming else { return rest(queue) }
        begin(queue)
    }

    private func begin(_ key: QueueKey) {
        declared(key) { [self] error in
            guard let book = books[key], book.wantsMessages else { return }
            guard error == nil else {
                _ = context?.clock.schedule(at: now + Self.troublePause) { [weak self] in
                    guard let self, let book = books[key], book.wantsMessages, !book.isDeclaring else { return }
                    begin(key)
                }
                return
            }
            let isOrdered = book.options.groupField != nil || book.options.isSerial
            let wanted = AMQPConsumer.Subscription(
                book.names.main, prefetch: min(65_535, max(1, book.options.concurrency) + (isOrdered ? Self.groupLookahead : 0)),
                // Quorum queues have a single active consumer instead.
                isExclusive: isOrdered && !topology.isQuorum, tagPrefix: book.names.consumerTag)
            guard book.consumed != wanted else { return }
            books[key]?.consumed = wanted
            consumer?.consume(wanted)
        }
    }

    /// Nobody is there to deliver to: what waits here goes back, what is being delivered stays.
    private func rest(_ key: QueueKey) {
        guard let book = books[key] else { return }
        if book.consumed != nil {
            books[key]?.consumed = nil
            consumer?.pause(book.names.main)
        }
        for entry in books[key]?.window.emptyWaiting() ?? [] { giveBack(entry, of: book) }
    }

    private func giveBack(_ entry: DeliveryWindow.Entry, of book: Book) {
        if let handle = entry.handle { consumer?.settle(book.names.main, handle, .giveBack) }
    }

    // MARK: Arriving

    func received(_ events: [AMQPConsumer.Event]) {
        var fed: Set<QueueKey> = []
        for event in events {
            switch event {
            case .consuming: break
            case .delivered(let queue, let handle, let message):
                guard let key = keys[queue] else { continue }
                if arrived(key, handle, message) { fed.insert(key) }
            case .ended(let queue, let epoch, let error):
                guard let key = keys[queue] else { continue }
                ended(key, epoch, error)
            }
        }
        for key in fed { context?.fed(key) }
    }

    private func ended(_ key: QueueKey, _ epoch: Int?, _ error: AMQPError) {
        if let epoch { books[key]?.window.ended(epoch: epoch) }
        switch error.code {
        case .notFound: forgotten(key)
        case .locked:
            guard books[key]?.trouble?.code != .locked else { return }
            let trouble = AMQPError(.locked, "queue '\(key)' is consumed by somebody else: a fifo queue has one consumer at a time")
            books[key]?.trouble = trouble
            context?.logger.notice("\(trouble)")
        case .unreachable, .timeout: break
        default:
            context?.logger.warning(
                .brokerQueueUnusable, "RabbitMQ has ended a consumer; it is begun again",
                metadata: ["queue": "\(key)", "reason": "\(error)"])
        }
    }

    /// Answers whether there is something new.
    private func arrived(_ key: QueueKey, _ handle: AMQPConsumer.Handle, _ raw: AMQPMessage) -> Bool {
        guard let book = books[key] else { return false }
        guard book.wantsMessages else {
            consumer?.settle(book.names.main, handle, .giveBack)
            return false
        }
        if book.trouble != nil { books[key]?.trouble = nil }
        let (message, progress): (QueueMessage, MessageProgress)
        do throws(AMQPError) {
            (message, progress) = try RabbitMQCodec.decode(raw, of: key, book.options, now: now) { [self] in newCopy() }
        } catch {
            refuse(raw, of: key, handle, error)
            return false
        }
        let copy =
            raw.headers[RabbitMQCodec.Header.copy]?.text ?? raw.messageID.map { "\($0)/\(progress.attempts)" }
        if let copy, finished.contains(copy) {
            consumer?.settle(book.names.main, handle, .done)
            return false
        }
        let due = due(of: raw, message, progress, book.options)
        if due > now, message.group == nil {
            later(raw, of: key, handle, copy, until: due)
            return false
        }
        switch books[key]?.window.arrived(message, progress, copy: copy, handle, due: due) {
        case .known(let drop):
            if drop { consumer?.settle(book.names.main, handle, .done) }
            return false
        case .new:
            if due > now { wakeUp(key) }
            return true
        case nil: return false
        }
    }

    /// Until when it has to wait, in its place or elsewhere.
    private func due(of raw: AMQPMessage, _ message: QueueMessage, _ progress: MessageProgress, _ options: QueueOptions) -> Int {
        if let due = raw.headers[RabbitMQCodec.Header.due]?.integer { return due }
        // The broker makes the copies of a topic, so each subscription sees to its own delay, once.
        let isFirst = raw.headers[RabbitMQCodec.Header.copy]?.text?.contains("#") != true && progress == MessageProgress()
        return isFirst && options.delay > 0 && raw.headers[RabbitMQCodec.Header.job] != nil ? message.createdAt + options.delay : 0
    }

    private func later(_ raw: AMQPMessage, of key: QueueKey, _ handle: AMQPConsumer.Handle, _ copy: String?, until due: Int) {
        let main = book(key).names.main
        var next = raw
        next.headers[RabbitMQCodec.Header.copy] = .text(RabbitMQCodec.successor(of: copy) { newCopy() })
        delay(next, of: key, until: due) { [self] error in
            if error == nil, let copy { finished.insert(copy) }
            consumer?.settle(main, handle, error == nil ? .done : .giveBack)
        }
    }

    /// It can never be delivered: to the dead letters, as it is.
    private func refuse(_ raw: AMQPMessage, of key: QueueKey, _ handle: AMQPConsumer.Handle, _ error: AMQPError) {
        let names = book(key).names
        context?.logger.warning(
            .messageDead, "a message on RabbitMQ cannot be read, and is dead",
            metadata: ["queue": "\(key)", "message": "\(raw.messageID ?? "")", "error": "\(error)"])
        var dead = raw
        dead.headers[RabbitMQCodec.Header.failedAt] = .integer(now)
        dead.headers[RabbitMQCodec.Header.copy] = .text(
            RabbitMQCodec.successor(of: raw.headers[RabbitMQCodec.Header.copy]?.text) { newCopy() })
        publishing?.publish(dead, to: .init(exchange: "", key: names.dead)) { [self] error in
            consumer?.settle(names.main, handle, error == nil ? .done : .giveBack)
        }
    }

    /// Something of this queue may be given out at its time.
    private func wakeUp(_ key: QueueKey) {
        books[key]?.cancelTimer?()
        books[key]?.cancelTimer = nil
        guard let due = books[key]?.window.nextDue(after: now) else { return }
        books[key]?.cancelTimer = context?.clock.schedule(at: due) { [weak self] in
            guard let self else { return }
            context?.fed(key)
            wakeUp(key)
        }
    }

    // MARK: Giving out

    func claim(_ queue: QueueKey, limit: Int, skipping: Set<TargetFunction>, completion: @escaping ([StoredMessage]) -> Void) {
        guard let taken = books[queue]?.window.take(limit, skipping: skipping, now: now) else { return completion([]) }
        for message in taken.aside { hold(queue, message.sequence) { _ in } }
        completion(taken.given)
    }

    func settle(
        _ queue: QueueKey, _ message: StoredMessage, _ settlement: Settlement, resultTTL: Int,
        completion: @escaping (QueueStoreError?) -> Void
    ) {
        guard let entry = books[queue]?.window.taken[message.sequence] else { return completion(nil) }
        let isOrdered = entry.stored.message.group != nil
        switch settlement {
        case .done: finish(queue, message.sequence, completion)
        case .release: back(queue, message.sequence, completion)
        case .hold where isOrdered || book(queue).names.held == nil: back(queue, message.sequence, completion)
        case .hold: hold(queue, message.sequence, completion)
        case .retry(let due, let progress) where isOrdered:
            change(queue) { $0.window.retried(message.sequence, due: due, progress) }
            wakeUp(queue)
            completion(nil)
            fedUnlessResting(queue)
        case .retry(let due, let progress):
            let next = RabbitMQCodec.encode(entry.stored.message, progress, for: queue, copy: successor(of: entry))
            delay(next, of: queue, until: due) { [self] error in moved(queue, message.sequence, error, completion) }
        case .dead(let progress):
            let names = book(queue).names
            let dead = RabbitMQCodec.encodeDead(
                entry.stored.message, progress, for: queue, copy: successor(of: entry), failedAt: now)
            publishing?.publish(dead, to: .init(exchange: "", key: names.dead)) { [self] error in
                moved(queue, message.sequence, error, completion)
            }
        }
    }

    private func successor(of entry: DeliveryWindow.Entry) -> String { RabbitMQCodec.successor(of: entry.copy) { newCopy() } }

    private func back(_ key: QueueKey, _ sequence: Int, _ completion: (QueueStoreError?) -> Void) {
        change(key) { $0.window.released(sequence) }
        completion(nil)
        fedUnlessResting(key)
    }

    /// What has come back while nobody wants messages is not kept from others.
    private func fedUnlessResting(_ key: QueueKey) {
        if books[key]?.wantsMessages == true { context?.fed(key) } else { rest(key) }
    }

    /// It is safe elsewhere; here it may go.
    private func moved(_ key: QueueKey, _ sequence: Int, _ error: AMQPError?, _ completion: @escaping (QueueStoreError?) -> Void) {
        if let error {
            if error.code == .unroutable { forgotten(key) }
            return completion(QueueStoreError(error))
        }
        finish(key, sequence, completion)
    }

    private func finish(_ key: QueueKey, _ sequence: Int, _ completion: @escaping (QueueStoreError?) -> Void) {
        guard let entry = books[key]?.window.removed(sequence), let name = books[key]?.names.main else { return completion(nil) }
        if let copy = entry.copy { finished.insert(copy) }
        // Where its channel has ended it comes again, and goes then.
        guard let handle = entry.handle, let consumer, let loop = context?.eventLoop else { return settledHere(key, completion) }
        let bound = NIOLoopBound((self, completion), eventLoop: loop)
        consumer.settle(name, handle, .done) {
            // The next of its group starts once the broker was told of this one: whoever dies then has told them in order.
            loop.execute { bound.value.0.settledHere(key, bound.value.1) }
        }
    }

    private func settledHere(_ key: QueueKey, _ completion: (QueueStoreError?) -> Void) {
        completion(nil)
        fedUnlessResting(key)
    }

    // MARK: Held

    private func hold(_ key: QueueKey, _ sequence: Int, _ completion: @escaping (QueueStoreError?) -> Void) {
        guard let book = books[key], let entry = book.window.taken[sequence], let held = book.names.held, entry.stored.message.group == nil
        else { return back(key, sequence, completion) }
        books[key]?.holding += 1
        let message = RabbitMQCodec.encode(entry.stored.message, entry.stored.progress, for: key, copy: successor(of: entry))
        publishing?.publish(message, to: .init(exchange: "", key: held)) { [self] error in
            books[key]?.holding -= 1
            if error != nil {
                // In its place as before; whoever asks next decides.
                change(key) { $0.window.released(sequence) }
                _ = context?.clock.schedule(at: now + Self.troublePause) { [weak self] in self?.fedUnlessResting(key) }
                completion(nil)
            } else {
                finish(key, sequence, completion)
            }
            if books[key]?.mustWake == true { wake(key, limit: .max) }
        }
    }

    func wake(_ queue: QueueKey, _ functions: Set<TargetFunction>) {
        guard book(queue).names.held != nil else { return }
        wake(queue, limit: .max)
    }

    /// Puts what is held back into its queue, in order; what still lacks its function is set aside again.
    func wake(_ key: QueueKey, limit: Int) {
        guard let book = books[key], let held = book.names.held, book.isDeclared else { return }
        guard !book.isWaking, book.holding == 0 else {
            if limit == .max { books[key]?.mustWake = true }
            return
        }
        change(key) {
            $0.isWaking = true
            $0.mustWake = false
        }
        let (main, unique) = (book.names.main, newCopy())
        move { session throws(AMQPError) in
            try Self.wake(held, main, limit, unique, session)
        } then: { [self] result in
            books[key]?.isWaking = false
            if case .failure = result, limit == .max {
                _ = context?.clock.schedule(at: now + Self.troublePause) { [weak self] in self?.wake(key, limit: limit) }
            } else if books[key]?.mustWake == true {
                wake(key, limit: .max)
            }
        }
    }

    private static func wake(
        _ held: String, _ main: String, _ limit: Int, _ unique: String, _ session: AMQPJobs.Session
    ) throws(AMQPError) {
        let (broker, channel) = (session.broker, AMQPJobs.Session.channel)
        // Not more than there are: what comes meanwhile has found its function missing meanwhile.
        var left = min(limit, try broker.declareQueue(held, isPassive: true, on: channel).messages)
        while left > 0 {
            var batch: [(AMQPMessage, AMQPPublisher.Address)] = []
            var last: UInt64?
            while batch.count < min(100, left), let delivery = try broker.get(held, on: channel) {
                var message = delivery.message
                message.headers[RabbitMQCodec.Header.copy] = .text(
                    RabbitMQCodec.successor(of: message.headers[RabbitMQCodec.Header.copy]?.text) { "\(unique)-\(delivery.tag)" })
                batch.append((message, AMQPPublisher.Address(exchange: "", key: main)))
                last = delivery.tag
            }
            guard let last else { return }
            guard try session.publish(batch).isEmpty else { throw AMQPError(.unroutable, "queue '\(main)' is gone") }
            try broker.acknowledge(last, isMultiple: true, on: channel)
            left -= batch.count
        }
    }
}
