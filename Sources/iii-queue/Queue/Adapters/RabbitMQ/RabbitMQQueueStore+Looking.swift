import Glibc
import IIIAMQP
import IIIWorker

/// Looking at queues and mending them, over a connection that nothing else depends on.
extension RabbitMQQueueStore {
    /// Dead messages of one queue that are looked at; what is beyond can be redriven and discarded, not shown.
    static let maximumDeadLetters = 10_000
    private static let maximumAnswerBytes = 16 << 20
    private static let batch = 100

    // MARK: Numbers

    func counts(_ queues: [QueueKey], completion: @escaping (Result<[QueueKey: QueueCounts], QueueStoreError>) -> Void) {
        let known = queues.compactMap { key in books[key].map { (key, $0.names) } }
        inspect { session throws(AMQPError) in
            var found: [QueueKey: QueueCounts] = [:]
            for (key, names) in known {
                var counts = QueueCounts()
                counts[.ready] = try Self.length(names.main, session)
                counts[.dead] = try Self.length(names.dead, session)
                if let held = names.held { counts[.held] = try Self.length(held, session) }
                found[key] = counts
            }
            return found
        } then: { [self] result in
            completion(
                result.mapError(QueueStoreError.init).map { found in
                    var all: [QueueKey: QueueCounts] = [:]
                    for (key, counts) in found { all[key] = withOwn(counts, of: key) }
                    return all
                })
        }
    }

    /// Ready messages; a queue that is not there has none.
    private static func length(_ queue: String, _ session: AMQPJobs.Session) throws(AMQPError) -> Int {
        do throws(AMQPError) {
            return try session.broker.declareQueue(queue, isPassive: true, on: AMQPJobs.Session.channel).messages
        } catch  where error.code == .notFound {
            try session.broker.open(AMQPJobs.Session.channel)
            return 0
        }
    }

    /// With what was handed to this process, which the broker does not count as ready.
    private func withOwn(_ counts: QueueCounts, of key: QueueKey) -> QueueCounts {
        guard let book = books[key] else { return counts }
        var counts = counts
        var waiting = 0
        for entry in book.window.waiting {
            if entry.due > now { counts[.delayed] += 1 } else { waiting += 1 }
        }
        counts[.ready] += waiting + book.window.taken.count
        counts[.delayed] += book.delayed
        counts.oldest = book.window.waiting.first { $0.due <= now }?.stored.message.createdAt
        return counts
    }

    // MARK: Dead letters

    private struct Letter: Sendable {
        let tag: UInt64
        let copy: String?
        let stored: StoredMessage
        let failedAt: Int
    }

    /// Takes dead messages out one after the other, as they lie, and has `choose` say of each whether it is kept; what is not settled goes
    /// back into its place. Those that come meanwhile are not for this time. Answers how many there were.
    ///
    /// How many there are the first one says: asked by itself, the broker may answer before it has put back what was given back.
    @discardableResult private static func each(
        _ names: RabbitMQTopology.Names, _ key: QueueKey, _ options: QueueOptions, limit: Int, _ session: AMQPJobs.Session,
        atEnd: () throws(AMQPError) -> Void = {}, _ visit: (Letter) throws(AMQPError) -> Bool
    ) throws(AMQPError) -> Int {
        let (broker, channel) = (session.broker, AMQPJobs.Session.channel)
        var (left, count) = (limit, 0)
        while left > 0, let delivery = try next(names.dead, session) {
            left = min(left - 1, delivery.behind)
            count += 1
            let (stored, failedAt) = RabbitMQCodec.decodeDead(delivery.message, of: key, options)
            let letter = Letter(
                tag: delivery.tag, copy: delivery.message.headers[RabbitMQCodec.Header.copy]?.text, stored: stored, failedAt: failedAt)
            guard try visit(letter) else { break }
        }
        try atEnd()
        if count > 0 { try broker.giveBackAll(on: channel) }
        return count
    }

    /// The next message; a queue that is not there has none.
    private static func next(_ queue: String, _ session: AMQPJobs.Session) throws(AMQPError) -> AMQPDelivery? {
        do throws(AMQPError) {
            return try session.broker.get(queue, on: AMQPJobs.Session.channel)
        } catch  where error.code == .notFound {
            try session.broker.open(AMQPJobs.Session.channel)
            return nil
        }
    }

    /// After looking: until the broker counts what it was given back, so that whoever asks next is told the truth. Not for long: somebody else
    /// may have taken some.
    private static func awaitLength(_ least: Int, of queue: String, _ session: AMQPJobs.Session) throws(AMQPError) {
        for _ in 0..<50 {
            if try length(queue, session) >= least { return }
            usleep(2000)
        }
    }

    func deadLetters(
        _ queues: [QueueKey], offset: Int, limit: Int, completion: @escaping (Result<[DeadLetter], QueueStoreError>) -> Void
    ) {
        let known = queues.compactMap { key in books[key].map { (key, $0.names, $0.options) } }
        let wanted = min(Self.maximumDeadLetters, offset + limit)
        inspect { session throws(AMQPError) in
            var all: [DeadLetter] = []
            for (key, names, options) in known {
                // The newest are the last: everything is gone through, and what is wanted kept.
                var newest: [DeadLetter] = []
                var (copies, bytes): (Set<String>, Int) = ([], 0)
                let count = try Self.each(names, key, options, limit: Self.maximumDeadLetters, session) { letter throws(AMQPError) in
                    if let copy = letter.copy, !copies.insert(copy).inserted { return true }
                    newest.append(DeadLetter(queue: key, stored: letter.stored, failedAt: letter.failedAt))
                    bytes += letter.stored.message.cost
                    while newest.count > wanted || (bytes > Self.maximumAnswerBytes && newest.count > 1) {
                        bytes -= newest.removeFirst().stored.message.cost
                    }
                    return true
                }
                try Self.awaitLength(count, of: names.dead, session)
                all += newest.reversed()
            }
            return all.enumerated().sorted { ($0.element.failedAt, -$0.offset) > ($1.element.failedAt, -$1.offset) }.map(\.element)
        } then: { result in
            completion(result.mapError(QueueStoreError.init).map { Array($0.dropFirst(offset).prefix(limit)) })
        }
    }

    func redrive(
        _ queue: QueueKey, _ selection: DeadLetterSelection, perSecond: Int?, completion: @escaping (Result<Int, QueueStoreError>) -> Void
    ) {
        guard let book = books[queue] else { return completion(.success(0)) }
        let (topology, began, unique, main) = (topology, now, newCopy(), book.names.main)
        take(queue, selection, completion) { letters, index, session throws(AMQPError) in
            let messages = letters.enumerated().map { offset, letter in
                let message = RabbitMQCodec.encode(
                    letter.stored.message, MessageProgress(), for: queue,
                    copy: RabbitMQCodec.successor(of: letter.copy) { "\(unique)-\(index + offset)" })
                guard let perSecond, index + offset > 0 else {
                    return (message, AMQPPublisher.Address(exchange: "", key: main))
                }
                return RabbitMQCodec.delayed(
                    message, until: began + (index + offset) * 1000 / max(1, perSecond), then: main, now: began, topology)
            }
            guard try session.publish(messages).isEmpty else {
                throw AMQPError(.unroutable, "queue '\(main)' is gone")
            }
        } then: { [self] count in
            if let perSecond, count > 1 {
                books[queue]?.delayed += count - 1
                for index in 1..<min(count, 100) { added(due: began + index * 1000 / max(1, perSecond)) }
            }
        }
    }

    func discard(_ queue: QueueKey, _ selection: DeadLetterSelection, completion: @escaping (Result<Int, QueueStoreError>) -> Void) {
        take(queue, selection, completion) { _, _, _ in
        } then: { _ in
        }
    }

    /// Takes the chosen ones out, in batches: each is acknowledged once `with` has seen to it.
    private func take(
        _ queue: QueueKey, _ selection: DeadLetterSelection, _ completion: @escaping (Result<Int, QueueStoreError>) -> Void,
        with work: @escaping @Sendable ([Letter], Int, AMQPJobs.Session) throws(AMQPError) -> Void, then: @escaping (Int) -> Void
    ) {
        guard let book = books[queue] else { return completion(.success(0)) }
        let (names, options, cutoff) = (book.names, book.options, now)
        inspect { session throws(AMQPError) in
            var (chosen, count): ([Letter], Int) = ([], 0)
            var copies: Set<String> = []
            func settle() throws(AMQPError) {
                guard !chosen.isEmpty else { return }
                try work(chosen, count - chosen.count, session)
                for letter in chosen { try session.broker.acknowledge(letter.tag, on: AMQPJobs.Session.channel) }
                chosen = []
            }
            try Self.each(names, queue, options, limit: .max, session, atEnd: settle) { letter throws(AMQPError) in
                if let copy = letter.copy, !copies.insert(copy).inserted {
                    // Put there twice.
                    try session.broker.acknowledge(letter.tag, on: AMQPJobs.Session.channel)
                    return true
                }
                guard count < selection.limit ?? .max else { return false }
                guard letter.failedAt <= cutoff, selection.matches(letter.stored, failedAt: letter.failedAt) else { return true }
                chosen.append(letter)
                count += 1
                if chosen.count >= Self.batch { try settle() }
                return true
            }
            return count
        } then: { result in
            if case .success(let count) = result { then(count) }
            completion(result.mapError(QueueStoreError.init))
        }
    }

    // MARK: Emptying

    /// Removes what waits, what is held and what is dead. Delayed messages of all queues wait in the same ones.
    func purge(_ queue: QueueKey, _ states: Set<MessageState>, completion: @escaping (Result<Int, QueueStoreError>) -> Void) {
        guard !states.contains(.delayed) else {
            return completion(
                .failure(
                    QueueStoreError("RabbitMQ cannot take delayed messages out; purge `waiting`, `held` or `dead`", isRetryable: false)))
        }
        guard let book = books[queue] else { return completion(.success(0)) }
        var own = 0
        if states.contains(.ready) {
            for entry in books[queue]?.window.purgeWaiting() ?? [] {
                own += 1
                if let copy = entry.copy { finished.insert(copy) }
                if let handle = entry.handle { consumer?.settle(book.names.main, handle, .done) }
            }
        }
        var names: [String] = []
        if states.contains(.ready) { names.append(book.names.main) }
        if states.contains(.held), let held = book.names.held { names.append(held) }
        if states.contains(.dead) { names.append(book.names.dead) }
        let purged = own
        inspect { [names] session throws(AMQPError) in
            var count = 0
            for name in names { count += try session.broker.purge(name, on: AMQPJobs.Session.channel) }
            return count
        } then: { result in
            completion(result.mapError(QueueStoreError.init).map { $0 + purged })
        }
    }
}
