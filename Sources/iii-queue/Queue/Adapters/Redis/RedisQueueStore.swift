import IIIRedis
import IIIWorker
import Logging
import NIOCore

/// Queues of several instances in one Redis: every step is a script, so what is exact is exact for all of them (`RedisQueueScripts`).
///
/// A claim is a lease that is renewed while its process lives. Its token fences it: an outcome that comes after the lease has passed to somebody
/// else changes nothing. A process that starts takes back at once what an earlier one of its instance had; what an instance had that does not come
/// back is anybody's once its lease is over.
final class RedisQueueStore: QueueStore {
    struct Lease {
        let queue: String
        let id: String
        let token: String
        /// When it was last renewed, as far as is known.
        var renewedAt: Int
    }

    /// One call of `enqueue`: stored as a whole or not at all.
    struct Unit {
        /// Of the bindings it was made for; nil where they do not matter.
        let version: Int?
        let messages: [NewMessage]
        let completion: (UnitOutcome) -> Void
    }

    enum UnitOutcome {
        case stored([EnqueueAnswer])
        case stale
        case failed(QueueStoreError)
    }

    struct Outcome {
        let words: [[UInt8]]
        let sequence: Int
        let completion: (QueueStoreError?) -> Void
    }

    private(set) var settings: RedisQueueSettings
    private(set) var context: QueueStoreContext?
    private var redis: RedisClient?
    private var subscriber: RedisSubscriber?
    /// This process among all that ever worked on these queues.
    let process = UUIDBits.random().text
    private var leases: [Int: Lease] = [:]
    private var nextSequence = 1
    private var nextClaim = 1
    private(set) var known: Set<QueueKey> = []
    private var version = 0
    private var isReading = false
    private var readAgain = false
    private var wakes: [QueueKey: (at: Int, cancel: () -> Void)] = [:]
    private var enqueues: RedisCalls<Unit>?
    private var settlements: RedisCalls<Outcome>?
    private var cancelLook: (() -> Void)?
    private var isClosed = false

    static let agePerPriority = 60_000 * 4096
    private static let maximumClaimBytes = 4 << 20
    private static let troublePause = 500
    private static let maximumPublishAttempts = 20

    init(_ settings: RedisQueueSettings) { self.settings = settings }

    // MARK: Life

    var abilities: Set<QueueAbility> { .all }

    func start(_ context: QueueStoreContext, on loop: isolated WorkerLoop) async throws -> StoredState {
        self.context = context
        settings.instance += "#" + context.name
        let found = NIOLoopBound(Reference(self), eventLoop: context.eventLoop)
        redis = try await RedisClient.open(
            settings.client, scripts: RedisQueueScripts.all, on: context.eventLoop, logger: context.logger,
            consequence: "messages are neither taken nor delivered until it is back"
        ) { _ in found.value.store?.connected() }
        enqueues = RedisCalls(on: context.eventLoop, cost: { $0.messages.reduce(0) { $0 + $1.message.cost } }) { [weak self] in
            self?.store($0, $1)
        }
        settlements = RedisCalls(on: context.eventLoop, cost: { $0.words.reduce(0) { $0 + $1.count } }) { [weak self] in
            self?.report($0, $1)
        }
        let state = try await withCheckedThrowingContinuation { (found: CheckedContinuation<StoredState, any Error>) in
            read { found.resume(with: $0) }
        }
        for queue in known {
            // What an earlier process of this instance had.
            try await withCheckedThrowingContinuation { (done: CheckedContinuation<Void, any Error>) in
                run(RedisQueueScripts.recover, [RedisRecord.name(queue), settings.instance + "/"]) { done.resume(with: $0.map { _ in }) }
            }
        }
        let subscriber = RedisSubscriber(settings.client, on: context.eventLoop) { [weak self] in self?.heard($0) }
        subscriber.subscribe(channel: settings.prefix + "n")
        subscriber.start()
        self.subscriber = subscriber
        lookLater()
        return state
    }

    func close(on loop: isolated WorkerLoop) async {
        isClosed = true
        cancelLook?()
        for wake in wakes.values { wake.cancel() }
        subscriber?.stop()
        for queue in Set(leases.values.map(\.queue)) {
            await withCheckedContinuation { (done: CheckedContinuation<Void, Never>) in
                run(RedisQueueScripts.recover, [queue, token("")]) { _ in done.resume() }
            }
        }
        redis?.stop()
    }

    var queues: [QueueKey] { Array(known) }
    var status: String { redis?.isConnected == false ? "Redis is away" : "" }
    var now: Int { context?.clock.now ?? 0 }

    private func token(_ claim: String) -> String { "\(settings.instance)/\(process)/\(claim)" }

    /// Calls a script; all of them do no harm twice.
    func run(
        _ script: RedisScript, _ words: [String], _ bytes: [[UInt8]] = [], isRepeatable: Bool = true,
        completion: @escaping (Result<RedisValue, RedisError>) -> Void
    ) {
        guard let redis else { return completion(.failure(RedisError(.notSent, "the store is not open"))) }
        let head = [settings.prefix, process] + words
        redis.run(
            script, keys: [], arguments: head.map { Array($0.utf8) } + bytes, isRepeatable: isRepeatable, completion: completion)
    }

    private func fed(_ queue: QueueKey) {
        guard !isClosed else { return }
        context?.fed(queue)
    }

    private func fedLater(_ queue: QueueKey, in pause: Int) {
        guard let context, !isClosed else { return }
        let at = now + pause
        if let wake = wakes[queue] {
            if wake.at <= at { return }
            wake.cancel()
        }
        let cancel = context.clock.schedule(at: at) { [weak self] in
            self?.wakes[queue] = nil
            self?.fed(queue)
        }
        wakes[queue] = (at, cancel)
    }

    // MARK: In

    func enqueue(_ messages: [NewMessage], completion: @escaping (Result<[EnqueueAnswer], QueueStoreError>) -> Void) {
        enqueues?.add(
            Unit(version: nil, messages: messages) { outcome in
                switch outcome {
                case .stored(let answers): completion(.success(answers))
                case .failed(let error): completion(.failure(error))
                case .stale: completion(.failure(Self.confused))
                }
            })
    }

    func publish(
        _ publication: TopicMessage, copies: @escaping () -> [NewMessage], completion: @escaping (Result<Int, QueueStoreError>) -> Void
    ) {
        publish(copies, Self.maximumPublishAttempts, completion)
    }

    /// As often as somebody subscribes or leaves meanwhile.
    private func publish(
        _ copies: @escaping () -> [NewMessage], _ attempts: Int, _ completion: @escaping (Result<Int, QueueStoreError>) -> Void
    ) {
        let messages = copies()
        enqueues?.add(
            Unit(version: version, messages: messages) { [self] outcome in
                switch outcome {
                case .stored: completion(.success(messages.count))
                case .failed(let error): completion(.failure(error))
                case .stale where attempts > 1:
                    read { [self] result in
                        switch result {
                        case .success(let state):
                            context?.changed(state)
                            publish(copies, attempts - 1, completion)
                        case .failure(let error): completion(.failure(QueueStoreError(redis: error)))
                        }
                    }
                case .stale:
                    completion(.failure(QueueStoreError("subscriptions change faster than they can be read", isRetryable: true)))
                }
            })
    }

    static let confused = QueueStoreError("Redis has answered something else than it was asked", isRetryable: false)

    private func store(_ units: [Unit], _ done: @escaping () -> Void) {
        var words: [[UInt8]] = [Array("\(units.count)".utf8)]
        for unit in units {
            words.append(unit.version.map { Array("\($0)".utf8) } ?? [])
            words.append(Array("\(unit.messages.count)".utf8))
            for new in unit.messages {
                let message = new.message
                let fields: [String] = [
                    RedisRecord.name(new.queue), message.id, "\(max(0, (new.due ?? 0) - now))", message.group ?? "",
                    "\(message.priority * Self.agePerPriority)", message.deduplicationKey ?? "", "\(new.deduplicationWindow)",
                    "\(new.maxDepth)",
                    RedisRecord.word(message.target),
                ]
                words += fields.map { Array($0.utf8) }
                words.append(RedisRecord.rest(message))
            }
        }
        run(RedisQueueScripts.enqueue, [], words) { [self] result in
            switch result {
            case .failure(let error):
                for unit in units { unit.completion(.failed(QueueStoreError(redis: error))) }
            case .success(let value):
                let answers = value.array ?? []
                for (index, unit) in units.enumerated() { complete(unit, index < answers.count ? answers[index].array ?? [] : []) }
            }
            done()
        }
    }

    private func complete(_ unit: Unit, _ answer: [RedisValue]) {
        switch answer.first?.text {
        case "ok" where answer.count == 1 + 2 * unit.messages.count:
            let answers = unit.messages.indices.map { index in
                EnqueueAnswer(id: answer[1 + 2 * index].text ?? "", isDuplicate: answer[2 + 2 * index].int == 1)
            }
            unit.completion(.stored(answers))
            for (new, answer) in zip(unit.messages, answers) where !answer.isDuplicate {
                known.insert(new.queue)
                if let due = new.due, due > now { fedLater(new.queue, in: due - now) } else { fed(new.queue) }
            }
        case "stale": unit.completion(.stale)
        case "full" where answer.count == 4:
            guard let queue = answer[1].text.flatMap(RedisRecord.key) else { return unit.completion(.failed(Self.confused)) }
            unit.completion(.failed(.full(queue, live: answer[2].int ?? 0, maxDepth: answer[3].int ?? 0)))
        default: unit.completion(.failed(Self.confused))
        }
    }

    // MARK: Out

    func claim(_ queue: QueueKey, limit: Int, skipping: Set<TargetFunction>, completion: @escaping ([StoredMessage]) -> Void) {
        let token = token("\(nextClaim)")
        nextClaim += 1
        let name = RedisRecord.name(queue)
        let words = [name, "\(limit)", token, "\(settings.lease)", "\(Self.maximumClaimBytes)"] + skipping.map(RedisRecord.word)
        let began = now
        // Never sent twice: what the first had claimed under this token nobody would know of.
        run(RedisQueueScripts.claim, words, isRepeatable: false) { [self] result in
            guard case .success(let value) = result, let parts = value.array, parts.count == 3, let found = parts[2].array else {
                completion([])
                return takeBack(queue, token)
            }
            var messages: [StoredMessage] = []
            for index in stride(from: 0, to: found.count - 2, by: 3) {
                guard let id = found[index].text, let record = found[index + 1].bytes else { continue }
                guard let (message, score) = RedisRecord.message(id, record) else {
                    context?.logger.error(
                        .redisForeignValue, "a message in Redis cannot be read and is left out",
                        metadata: ["queue": "\(queue)", "message": "\(id)"])
                    continue
                }
                let progress = found[index + 2].bytes.map { $0.isEmpty ? MessageProgress() : RedisRecord.progress($0) }
                messages.append(
                    StoredMessage(sequence: nextSequence, rank: score, message: message, progress: progress ?? MessageProgress()))
                leases[nextSequence] = Lease(queue: name, id: id, token: token, renewedAt: began)
                nextSequence += 1
            }
            if let wait = parts[0].int, wait > 0 { fedLater(queue, in: wait) }
            completion(messages)
            if parts[1].int == 1 { fedLater(queue, in: 0) }
        }
    }

    /// Whatever a claim got whose answer is lost.
    private func takeBack(_ queue: QueueKey, _ token: String) {
        guard !isClosed else { return }
        run(RedisQueueScripts.recover, [RedisRecord.name(queue), token]) { [self] result in
            if case .success = result { return fedLater(queue, in: Self.troublePause) }
            _ = context?.clock.schedule(at: now + Self.troublePause) { [weak self] in self?.takeBack(queue, token) }
        }
    }

    func settle(
        _ queue: QueueKey, _ message: StoredMessage, _ settlement: Settlement, resultTTL: Int,
        completion: @escaping (QueueStoreError?) -> Void
    ) {
        guard let lease = leases[message.sequence] else { return completion(nil) }
        let kind: String
        var (a, b, c): ([UInt8], [UInt8], [UInt8]) = ([], [], [])
        switch settlement {
        case .done(let result):
            kind = "done"
            a = message.progress == MessageProgress() ? [] : [UInt8(ascii: "1")]
            b = Array("\(resultTTL > 0 ? resultTTL : 0)".utf8)
            c = resultTTL > 0 ? result.map { [UInt8(ascii: "1")] + $0 } ?? [UInt8(ascii: "0")] : []
        case .retry(let due, let progress):
            kind = "retry"
            a = Array("\(max(1, due - now))".utf8)
            b = RedisRecord.progress(progress)
            fedLater(queue, in: max(1, due - now))
        case .dead(let progress):
            kind = "dead"
            a = RedisRecord.progress(progress)
        case .release:
            kind = "release"
            a = Array("\(message.rank)".utf8)
        case .hold:
            kind = "hold"
            a = Array("\(message.rank)".utf8)
            b = Array(RedisRecord.word(message.message.target).utf8)
        }
        let head = [kind, lease.queue, lease.id, lease.token, message.message.group ?? ""].map { Array($0.utf8) }
        settlements?.add(
            Outcome(words: head + [a, b, c], sequence: message.sequence) { [self] error in
                completion(error)
                // The next of its group, or itself.
                guard error == nil else { return }
                switch settlement {
                case .done, .dead: if message.message.group != nil { fed(queue) }
                case .release, .hold: fed(queue)
                case .retry: break
                }
            })
    }

    private func report(_ outcomes: [Outcome], _ done: @escaping () -> Void) {
        run(RedisQueueScripts.settle, [], outcomes.flatMap(\.words)) { [self] result in
            switch result {
            case .failure(let error):
                for outcome in outcomes { outcome.completion(QueueStoreError(redis: error)) }
            case .success:
                for outcome in outcomes {
                    leases[outcome.sequence] = nil
                    outcome.completion(nil)
                }
            }
            done()
        }
    }

    /// Nothing to do: what is held is claimed by whoever has the function.
    func wake(_ queue: QueueKey, _ functions: Set<TargetFunction>) {}

    // MARK: What others do

    private func heard(_ event: RedisSubscriber.Event) {
        switch event {
        case .message(_, _, let payload):
            let parts = String(decoding: payload, as: UTF8.self).split(separator: " ", maxSplits: 1)
            guard parts.count == 2, parts[0] != process else { return }
            if parts[1] == "!" { return readChanges() }
            guard let queue = RedisRecord.key(parts[1]) else { return }
            known.insert(queue)
            fed(queue)
        case .subscribed:
            readChanges()
            for queue in known { fed(queue) }
        case .lost, .refused: break
        }
    }

    private func connected() {
        for queue in known { fed(queue) }
    }

    /// For the client, which does not keep the store.
    private final class Reference {
        weak var store: RedisQueueStore?
        init(_ store: RedisQueueStore) { self.store = store }
    }

    /// Bindings and records, as they are now.
    private func read(_ completion: @escaping (Result<StoredState, RedisError>) -> Void) {
        run(RedisQueueScripts.state, []) { [self] result in
            switch result {
            case .failure(let error): completion(.failure(error))
            case .success(let value):
                guard let parts = value.array, parts.count == 4 else {
                    return completion(.failure(RedisError(.failed, Self.confused.message)))
                }
                version = parts[0].int ?? 0
                var state = StoredState()
                Self.pairs(parts[1]) { id, bytes in
                    guard let binding = RedisRecord.binding(id, bytes, instance: settings.instance) else { return }
                    state.bindings.append(binding)
                    known.insert(.subscription(binding.subscription))
                }
                Self.pairs(parts[2]) { name, bytes in
                    if let key = RedisRecord.key(name) { state.records[key] = RedisRecord.record(bytes) }
                }
                known.formUnion((parts[3].array ?? []).compactMap(\.text).compactMap(RedisRecord.key))
                completion(.success(state))
            }
        }
    }

    private static func pairs(_ value: RedisValue, _ body: (String, [UInt8]) -> Void) {
        let values = value.array ?? []
        for index in stride(from: 0, to: values.count - 1, by: 2) {
            if let name = values[index].text, let bytes = values[index + 1].bytes { body(name, bytes) }
        }
    }

    /// Once more if something has changed while it was read.
    private func readChanges() {
        guard !isReading else { return readAgain = true }
        isReading = true
        read { [self] result in
            isReading = false
            switch result {
            case .success(let state): context?.changed(state)
            case .failure: readAgain = !isClosed
            }
            guard readAgain else { return }
            readAgain = false
            _ = context?.clock.schedule(at: now + 50) { [weak self] in self?.readChanges() }
        }
    }

    // MARK: Leases

    private func lookLater() {
        cancelLook = context?.clock.schedule(at: now + max(300, settings.lease / 3)) { [weak self] in
            self?.renew()
            self?.reap()
            self?.lookLater()
        }
    }

    private func renew() {
        let began = now
        let old = leases.filter { began - $0.value.renewedAt >= settings.lease / 4 }.map { ($0.key, $0.value) }
        for start in stride(from: 0, to: old.count, by: 500) {
            let part = old[start..<min(start + 500, old.count)]
            run(RedisQueueScripts.renew, ["\(settings.lease)"] + part.flatMap { [$0.1.queue, $0.1.id, $0.1.token] }) { [self] result in
                guard case .success(let value) = result else { return }
                let lost = Set((value.array ?? []).compactMap(\.int))
                for (index, (sequence, lease)) in part.enumerated() {
                    if !lost.contains(index) {
                        leases[sequence]?.renewedAt = began
                    } else if leases[sequence] != nil {
                        context?.logger.warning(
                            .leaseLost, "a message that is being delivered was given to somebody else",
                            metadata: ["queue": "\(lease.queue)", "message": "\(lease.id)"])
                    }
                }
            }
        }
    }

    /// What others have lost, and what is due and nobody has noticed.
    private func reap() {
        let names = known.map(RedisRecord.name)
        for start in stride(from: 0, to: names.count, by: 500) {
            run(RedisQueueScripts.reap, Array(names[start..<min(start + 500, names.count)])) { [self] result in
                guard case .success(let value) = result else { return }
                for queue in (value.array ?? []).compactMap(\.text).compactMap(RedisRecord.key) { fed(queue) }
            }
        }
    }

    // MARK: What outlives the process

    private func change(
        _ script: RedisScript, _ words: [String], _ bytes: [[UInt8]] = [], _ completion: @escaping (QueueStoreError?) -> Void
    ) {
        run(script, words, bytes) { [self] result in
            switch result {
            case .failure(let error): completion(QueueStoreError(redis: error))
            case .success(let value):
                // Somebody else's change in between is still to be read.
                if let new = value.int { if new == version + 1 { version = new } else { readChanges() } }
                completion(nil)
            }
        }
    }

    func keep(_ binding: StoredBinding, completion: @escaping (QueueStoreError?) -> Void) {
        known.insert(.subscription(binding.subscription))
        change(RedisQueueScripts.keep, [binding.id], [RedisRecord.binding(binding, instance: settings.instance)], completion)
    }

    func forget(bindings: [String], completion: @escaping (QueueStoreError?) -> Void) {
        change(RedisQueueScripts.forget, bindings, [], completion)
    }

    func configure(_ queue: QueueKey, _ record: QueueRecord, completion: @escaping (QueueStoreError?) -> Void) {
        known.insert(queue)
        let bytes = [RedisRecord.record(record), Array((record.isPaused ? "1" : "0").utf8)]
        run(RedisQueueScripts.configure, [RedisRecord.name(queue)], bytes) { result in
            if case .failure(let error) = result { completion(QueueStoreError(redis: error)) } else { completion(nil) }
        }
    }

    func drop(_ queue: QueueKey) {
        run(RedisQueueScripts.drop, [RedisRecord.name(queue)]) { [self] result in
            if case .success(.integer(1)) = result { known.remove(queue) }
        }
    }
}

extension QueueStoreError {
    init(redis error: RedisError) {
        let doubt = error.code == .outcomeUnknown ? "; it may have been done" : ""
        self.init("Redis: \(error.message)\(doubt)", isRetryable: error.isRetryable)
    }
}
