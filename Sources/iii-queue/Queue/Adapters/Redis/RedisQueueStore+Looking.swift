import IIIRedis
import IIIWorker

extension RedisQueueStore {
    private static let chunk = 500
    private static let maximumAnswerBytes = 16 << 20

    private func names(_ queues: some Sequence<QueueKey>) -> [String] { queues.map(RedisRecord.name) }

    private static func failed<Value>(_ error: RedisError) -> Result<Value, QueueStoreError> { .failure(QueueStoreError(redis: error)) }

    func counts(_ queues: [QueueKey], completion: @escaping (Result<[QueueKey: QueueCounts], QueueStoreError>) -> Void) {
        guard !queues.isEmpty else { return completion(.success([:])) }
        let began = now
        run(RedisQueueScripts.counts, names(queues)) { result in
            switch result {
            case .failure(let error): completion(Self.failed(error))
            case .success(let value):
                let numbers = (value.array ?? []).compactMap(\.int)
                guard numbers.count == queues.count * 7 else { return completion(.failure(Self.confused)) }
                var all: [QueueKey: QueueCounts] = [:]
                for (index, queue) in queues.enumerated() {
                    let row = numbers[(index * 7)...]
                    func number(_ column: Int) -> Int { row[index * 7 + column] }
                    var counts = QueueCounts()
                    counts[.ready] = number(0) + number(1)
                    counts.active = number(1)
                    counts[.behind] = number(2)
                    counts[.delayed] = number(3)
                    counts[.held] = number(4)
                    counts[.dead] = number(5)
                    if number(6) >= 0 { counts.oldest = began - number(6) }
                    all[queue] = counts
                }
                completion(.success(all))
            }
        }
    }

    // MARK: Dead letters

    func deadLetters(
        _ queues: [QueueKey], offset: Int, limit: Int, completion: @escaping (Result<[DeadLetter], QueueStoreError>) -> Void
    ) {
        // Of several queues the newest are merged; of one its own page will do.
        let (skipped, count) = queues.count == 1 ? (offset, limit) : (0, offset + limit)
        index(queues[...], skipped, count, []) { [self] result in
            switch result {
            case .failure(let error): completion(Self.failed(error))
            case .success(let found):
                let page = found.sorted { $0.score > $1.score }.dropFirst(offset - skipped).prefix(limit)
                letters(page[...], [], Self.maximumAnswerBytes, completion)
            }
        }
    }

    private typealias Entry = (queue: QueueKey, id: String, score: Int)

    private func index(
        _ queues: ArraySlice<QueueKey>, _ offset: Int, _ count: Int, _ found: [Entry],
        _ completion: @escaping (Result<[Entry], RedisError>) -> Void
    ) {
        guard let queue = queues.first else { return completion(.success(found)) }
        run(RedisQueueScripts.deadIndex, [RedisRecord.name(queue), "\(offset)", "\(count)"]) { [self] result in
            switch result {
            case .failure(let error): completion(.failure(error))
            case .success(let value):
                let pairs = value.array ?? []
                let entries = stride(from: 0, to: pairs.count - 1, by: 2).compactMap { index -> Entry? in
                    guard let id = pairs[index].text, let score = Self.score(pairs[index + 1]) else { return nil }
                    return (queue, id, score)
                }
                self.index(queues.dropFirst(), offset, count, found + entries, completion)
            }
        }
    }

    /// Redis writes large ones as 7.2e+15.
    private static func score(_ value: RedisValue) -> Int? { value.text.flatMap(Double.init).map { Int($0) } }

    /// Runs of one queue, one after the other.
    private func letters(
        _ page: ArraySlice<Entry>, _ found: [DeadLetter], _ bytes: Int,
        _ completion: @escaping (Result<[DeadLetter], QueueStoreError>) -> Void
    ) {
        guard let first = page.first, bytes > 0 else { return completion(.success(found)) }
        let run = page.prefix { $0.queue == first.queue }
        self.run(RedisQueueScripts.records, [RedisRecord.name(first.queue), "\(bytes)"] + run.map(\.id)) { [self] result in
            switch result {
            case .failure(let error): completion(Self.failed(error))
            case .success(let value):
                let parts = value.array ?? []
                let scores = Dictionary(run.map { ($0.id, $0.score) }, uniquingKeysWith: { $1 })
                var (found, cost) = (found, 0)
                for index in stride(from: 0, to: parts.count - 2, by: 3) {
                    guard let id = parts[index].text, let record = parts[index + 1].bytes, let score = scores[id],
                        let (message, rank) = RedisRecord.message(id, record)
                    else { continue }
                    let progress = RedisRecord.progress(parts[index + 2].bytes ?? [])
                    cost += record.count
                    found.append(
                        DeadLetter(
                            queue: first.queue, stored: StoredMessage(sequence: 0, rank: rank, message: message, progress: progress),
                            failedAt: score / 4096))
                }
                letters(page.dropFirst(run.count), found, bytes - cost, completion)
            }
        }
    }

    /// Goes through what is dead now, oldest failure first, in chunks; `move` gets the ids that are meant, and says how many it has moved.
    private func each(
        _ queue: QueueKey, _ selection: DeadLetterSelection, after: String = "-1", until: String = "", _ sum: Int = 0,
        completion: @escaping (Result<Int, QueueStoreError>) -> Void,
        move: @escaping (_ ids: [String], _ before: Int, @escaping (Result<Int, RedisError>) -> Void) -> Void
    ) {
        let room = min(Self.chunk, (selection.limit ?? .max) - sum)
        guard room > 0 else { return completion(.success(sum)) }
        if let id = selection.id, !selection.isFiltered {
            return move([id], sum) { completion($0.mapError(QueueStoreError.init(redis:))) }
        }
        run(RedisQueueScripts.deadScan, [RedisRecord.name(queue), after, until, "\(Self.chunk)"]) { [self] result in
            guard case .success(let value) = result, let parts = value.array, let end = parts.first?.text else {
                if case .failure(let error) = result { return completion(Self.failed(error)) }
                return completion(.failure(Self.confused))
            }
            var ids: [String] = []
            var last = after
            for index in stride(from: 1, to: parts.count - 3, by: 4) where ids.count < room {
                guard let id = parts[index].text, let score = Self.score(parts[index + 1]), let word = parts[index + 2].text else {
                    continue
                }
                last = "\(score)"
                let message = QueueMessage(id: id, target: RedisRecord.function(word), payload: [], createdAt: 0)
                let stored = StoredMessage(
                    sequence: 0, rank: 0, message: message, progress: RedisRecord.progress(parts[index + 3].bytes ?? []))
                if selection.matches(stored, failedAt: score / 4096) { ids.append(id) }
            }
            guard last != after else { return completion(.success(sum)) }
            let next = { [self] (moved: Int) in
                each(queue, selection, after: last, until: end, sum + moved, completion: completion, move: move)
            }
            guard !ids.isEmpty else { return next(0) }
            move(ids, sum) { result in
                switch result {
                case .failure(let error): completion(Self.failed(error))
                case .success(let moved): next(moved)
                }
            }
        }
    }

    func redrive(
        _ queue: QueueKey, _ selection: DeadLetterSelection, perSecond: Int?, completion: @escaping (Result<Int, QueueStoreError>) -> Void
    ) {
        each(queue, selection, completion: completion) { [self] ids, before, done in
            run(RedisQueueScripts.redrive, [RedisRecord.name(queue), "\(before)", "\(perSecond ?? 0)"] + ids) { [self] result in
                done(result.map { $0.array?.first?.int ?? 0 })
                // Claiming tells when the next of them is due.
                context?.fed(queue)
            }
        }
    }

    func discard(_ queue: QueueKey, _ selection: DeadLetterSelection, completion: @escaping (Result<Int, QueueStoreError>) -> Void) {
        each(queue, selection, completion: completion) { [self] ids, _, done in
            run(RedisQueueScripts.discard, [RedisRecord.name(queue)] + ids) { done($0.map { $0.int ?? 0 }) }
        }
    }

    // MARK: Whole queues and single messages

    func purge(_ queue: QueueKey, _ states: Set<MessageState>, completion: @escaping (Result<Int, QueueStoreError>) -> Void) {
        // What stands behind goes first, so that nothing moves up only to be removed.
        let sets: [(MessageState, String)] = [(.behind, "b"), (.dead, "x"), (.held, "h"), (.delayed, "d"), (.ready, "r")]
        purge(queue, sets.filter { states.contains($0.0) }.map(\.1)[...], 0) { [self] result in
            completion(result)
            context?.fed(queue)
        }
    }

    private func purge(
        _ queue: QueueKey, _ sets: ArraySlice<String>, _ sum: Int, _ completion: @escaping (Result<Int, QueueStoreError>) -> Void
    ) {
        guard let set = sets.first else { return completion(.success(sum)) }
        run(RedisQueueScripts.purge, [RedisRecord.name(queue), set, "\(Self.chunk)"]) { [self] result in
            switch result {
            case .failure(let error): completion(Self.failed(error))
            case .success(let value):
                let count = value.int ?? 0
                purge(queue, count < Self.chunk ? sets.dropFirst() : sets, sum + count, completion)
            }
        }
    }

    func cancel(_ id: String, completion: @escaping (Result<Bool, QueueStoreError>) -> Void) {
        run(RedisQueueScripts.cancel, [id] + names(known)) { completion($0.map { $0.int == 1 }.mapError(QueueStoreError.init(redis:))) }
    }

    func find(_ id: String, completion: @escaping (Result<FoundMessage?, QueueStoreError>) -> Void) {
        let began = now
        run(RedisQueueScripts.find, [id] + names(known)) { result in
            switch result {
            case .failure(let error): completion(Self.failed(error))
            case .success(let value): completion(.success(Self.found(id, value.array ?? [], began)))
            }
        }
    }

    private static func found(_ id: String, _ parts: [RedisValue], _ now: Int) -> FoundMessage? {
        guard parts.count == 5, let set = parts[1].text, let bytes = parts[3].bytes else { return nil }
        guard set != "o" else {
            // The length of the queue's name, a space, the name, then whether there is a result, and the result.
            guard let space = bytes.firstIndex(of: 0x20), let length = Int(String(decoding: bytes[..<space], as: UTF8.self)),
                length > 0, length < bytes.count - space - 1
            else { return nil }
            let name = bytes[(space + 1)...].prefix(length)
            guard let queue = RedisRecord.key(String(decoding: name, as: UTF8.self)) else { return nil }
            let rest = bytes[(space + 1 + length)...]
            return FoundMessage(
                queue: queue, state: .done(result: rest.first == UInt8(ascii: "1") ? Array(rest.dropFirst()) : nil), stored: nil)
        }
        guard let queue = parts[0].text.flatMap(RedisRecord.key), let (message, rank) = RedisRecord.message(id, bytes) else { return nil }
        let states: [String: MessageState] = ["r": .ready, "a": .ready, "b": .behind, "d": .delayed, "x": .dead]
        let progress = parts[4].bytes.map { $0.isEmpty ? MessageProgress() : RedisRecord.progress($0) } ?? MessageProgress()
        return FoundMessage(
            queue: queue, state: .live(states[set] ?? .held, due: now + (parts[2].int ?? 0)),
            stored: StoredMessage(sequence: 0, rank: rank, message: message, progress: progress), isActive: set == "a")
    }
}
