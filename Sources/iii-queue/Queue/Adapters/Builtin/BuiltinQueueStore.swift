import IIIStorage
import IIITelemetry
import IIIWorker
import NIOCore

/// The embedded store: windows and counts over a backend that carries out steps one after the other. No I/O and no clock of its own.
///
/// A claim is not written: what is given out stays ready in the store, so a crash costs nothing and wedges nothing. Loads run in the same
/// order as writes, which makes "given out" exact: what a load has found and was settled since is known by the time it arrives.
final class BuiltinQueueStore: QueueStore {
    private struct Book {
        let key: QueueKey
        var window: ReadyWindow
        var counts = QueueCounts()
        var record = QueueRecord()
        /// Whether the store is sure to know the queue by its number.
        var isKnown = false
        /// Functions with held messages.
        var held: Set<TargetFunction> = []
        var isWaking = false
        /// Messages on their way into the store.
        var entering = 0
        /// Purges under way: nothing is given out that one of them may be about to take.
        var purges = 0
    }

    /// What the messages are written to.
    enum Medium: Sendable {
        case memory(maximumBytes: Int)
        /// nil for `./data/<entry>`.
        case file(directory: String?, Durability, quota: Int?)
    }

    private let medium: Medium
    private let windowCapacity: Int
    private var context: QueueStoreContext?
    private var backend: (any StoreBackend)?
    private var books: [Int: Book] = [:]
    private var numbers: [QueueKey: Int] = [:]
    private var nextNumber = 1
    private var nextSequence = 1
    private var nextDue: Int?
    private var cancelTimer: (() -> Void)?
    private var timerAt: Int?
    private var isPromoting = false
    private var cancelSweep: (() -> Void)?
    /// Messages that are being cancelled, and those of them whose turn has come meanwhile.
    private var cancelling: Set<String> = []
    private var withheld: [String: (number: Int, sequence: Int)] = [:]

    static let defaultWindow = 256
    /// How much later a message counts as accepted per level of priority that it lacks, in milliseconds.
    static let agePerPriority = 60_000
    private static let chunk = 500
    /// Before the store is asked again for what it could not do, in milliseconds.
    private static let troublePause = 1000
    private static let sweepInterval = 60_000
    private static let maximumAnswerBytes = 16 << 20

    init(_ medium: Medium, windowCapacity: Int = BuiltinQueueStore.defaultWindow) {
        self.medium = medium
        self.windowCapacity = windowCapacity
    }

    // MARK: Life

    func start(_ context: QueueStoreContext, on loop: isolated WorkerLoop) async throws -> StoredState {
        switch medium {
        case .memory(let maximumBytes):
            context.logger.warning(.queueInMemory, "queued messages live in memory and end with this process (store_method: in_memory)")
            return begin(context, MemoryBackend(eventLoop: context.eventLoop, maximumBytes: maximumBytes), StoreContents())
        case .file(let directory, let durability, let quota):
            let settings = StoreSettings(
                directory: directory ?? "./data/" + context.name.replacing("#", with: "-"), durability: durability, quota: quota)
            let (store, contents) = try await SQLiteBackend.open(settings, logger: context.logger)
            return begin(context, SQLiteBackend(store: store, eventLoop: context.eventLoop), contents)
        }
    }

    func begin(_ context: QueueStoreContext, _ backend: any StoreBackend, _ contents: StoreContents) -> StoredState {
        self.context = context
        self.backend = backend
        var state = StoredState(bindings: contents.bindings)
        for (number, key, record) in contents.queues {
            books[number] = Book(key: key, window: ReadyWindow(capacity: windowCapacity), record: record, isKnown: true)
            numbers[key] = number
            nextNumber = max(nextNumber, number + 1)
            if record != QueueRecord() { state.records[key] = record }
        }
        for (number, state, count) in contents.counts { books[number]?.counts[state] = count }
        for (number, function) in contents.held { books[number]?.held.insert(function) }
        for number in books.keys {
            if books[number]?.counts[.ready] ?? 0 > 0 { books[number]?.window.invalidate() }
        }
        nextSequence = contents.lastSequence + 1
        lastTime = contents.lastRank
        schedule(contents.nextDue)
        sweep()
        return state
    }

    func close(on loop: isolated WorkerLoop) async {
        cancelTimer?()
        cancelSweep?()
        await backend?.close(on: loop)
    }

    /// One process at a time: the file is locked.
    var abilities: Set<QueueAbility> { Set.all.subtracting([.sharing]) }
    var status: String { backend?.status ?? "" }
    var queues: [QueueKey] { books.values.map(\.key) }

    private var now: Int { context?.clock.now ?? 0 }

    private func number(_ key: QueueKey) -> Int {
        if let number = numbers[key] { return number }
        defer { nextNumber += 1 }
        numbers[key] = nextNumber
        books[nextNumber] = Book(key: key, window: ReadyWindow(capacity: windowCapacity))
        return nextNumber
    }

    private func submit(_ operation: StoreOperation, _ completion: @escaping (Result<StoreOutcome, QueueStoreError>) -> Void) {
        guard let backend else { return completion(.failure(QueueStoreError("the store is not open", isRetryable: true))) }
        backend.submit(operation, completion: completion)
    }

    private func count(_ number: Int, _ state: MessageState, by change: Int) { books[number]?.counts[state] += change }

    private func fed(_ number: Int) {
        guard let key = books[number]?.key else { return }
        loadIfLow(number)
        context?.fed(key)
    }

    // MARK: In

    func enqueue(_ messages: [NewMessage], completion: @escaping (Result<[EnqueueAnswer], QueueStoreError>) -> Void) {
        if let refusal = admit(messages) { return completion(.failure(refusal)) }
        let now = now
        let insertions = messages.map { new in
            defer { nextSequence += 1 }
            // Never before what was accepted earlier with the same priority, whatever the clock says.
            lastTime = max(lastTime, now)
            return StoreOperation.Insertion(
                queue: number(new.queue), key: new.queue, sequence: nextSequence,
                rank: lastTime - new.message.priority * Self.agePerPriority, due: new.due ?? 0, message: new.message,
                keyUntil: now + new.deduplicationWindow)
        }
        for insertion in insertions { books[insertion.queue]?.entering += 1 }
        submit(.insert(insertions, now: now)) { [self] result in
            for insertion in insertions { books[insertion.queue]?.entering -= 1 }
            switch result {
            case .failure(let error): completion(.failure(error))
            case .success(.inserted(let answers)):
                var changed: Set<Int> = []
                for (insertion, answer) in zip(insertions, answers) where !answer.isDuplicate {
                    count(insertion.queue, answer.state, by: 1)
                    switch answer.state {
                    case .ready:
                        offer(
                            insertion.queue,
                            StoredMessage(sequence: insertion.sequence, rank: insertion.rank, message: insertion.message))
                        changed.insert(insertion.queue)
                    case .delayed: schedule(insertion.due)
                    default: break
                    }
                }
                completion(.success(answers.map { EnqueueAnswer(id: $0.id, isDuplicate: $0.isDuplicate) }))
                for number in changed.sorted() { fed(number) }
            case .success: completion(.failure(Self.confused))
            }
        }
    }

    /// Why they would make a queue longer than it may be; nil when there is room.
    private func admit(_ messages: [NewMessage]) -> QueueStoreError? {
        var new: [QueueKey: Int] = [:]
        for message in messages where message.maxDepth > 0 {
            new[message.queue, default: 0] += 1
            let book = numbers[message.queue].flatMap { books[$0] }
            let live = (book?.counts.live ?? 0) + (book?.entering ?? 0)
            guard live + new[message.queue, default: 0] <= message.maxDepth else {
                return .full(message.queue, live: live, maxDepth: message.maxDepth)
            }
        }
        return nil
    }

    /// Of acceptance, never going back.
    private var lastTime = 0
    private static let confused = QueueStoreError("the store answered something else than it was asked", isRetryable: false)

    private func offer(_ number: Int, _ message: StoredMessage) { books[number]?.window.offer(message) }

    // MARK: Out

    func claim(_ queue: QueueKey, limit: Int, skipping: Set<TargetFunction>, completion: @escaping ([StoredMessage]) -> Void) {
        guard let number = numbers[queue], books[number]?.purges == 0 else { return completion([]) }
        wakeIfPossible(number, missing: skipping)
        var (given, aside): ([StoredMessage], [StoredMessage]) = ([], [])
        // In place: a copy of the window would be made otherwise.
        if let taken = books[number]?.window.take(limit, skipping: skipping) { (given, aside) = taken }
        if !cancelling.isEmpty {
            for message in given {
                if cancelling.contains(message.message.id) { withheld[message.message.id] = (number, message.sequence) }
            }
            given.removeAll { cancelling.contains($0.message.id) }
        }
        if !aside.isEmpty { hold(number, aside) }
        loadIfLow(number)
        completion(given)
    }

    private func loadIfLow(_ number: Int) {
        guard books[number]?.window.isLow == true, let taken = books[number]?.window.taken else { return }
        books[number]?.window.loadBegan()
        submit(.load(queue: number, limit: windowCapacity, bytes: ReadyWindow.maximumBytes, excluding: taken)) { [self] result in
            switch result {
            case .success(.loaded(let messages, let isAll)):
                books[number]?.window.loaded(messages, isAll: isAll)
                fed(number)
            case .success, .failure:
                books[number]?.window.loadFailed()
                feedLater(number)
            }
        }
    }

    /// The store could not do what the queue needs to go on.
    private func feedLater(_ number: Int) {
        _ = context?.clock.schedule(at: now + Self.troublePause) { [weak self] in self?.fed(number) }
    }

    private func place(_ number: Int, _ message: StoredMessage) -> StoreOperation.Place {
        StoreOperation.Place(queue: number, sequence: message.sequence, group: message.message.group)
    }

    func settle(
        _ queue: QueueKey, _ message: StoredMessage, _ settlement: Settlement, resultTTL: Int,
        completion: @escaping (QueueStoreError?) -> Void
    ) {
        guard let number = numbers[queue] else { return completion(nil) }
        let place = place(number, message)
        let operation: StoreOperation
        switch settlement {
        case .release:
            books[number]?.window.released(message.sequence)
            completion(nil)
            return fed(number)
        case .hold: operation = .hold([place])
        case .done(let result):
            operation = .finish(
                place, id: message.message.id, result: resultTTL > 0 ? result : nil, until: resultTTL > 0 ? now + resultTTL : 0, now: now)
        case .retry(let due, let progress): operation = .delay(place, due: due, progress)
        case .dead(let progress): operation = .bury(place, progress, now: now)
        }
        submit(operation) { [self] result in
            switch result {
            case .failure(let error): return completion(error)
            case .success(.left(let wasThere, let next)):
                books[number]?.window.settled(message.sequence, isGone: settlement.isFinal)
                if wasThere {
                    count(number, .ready, by: -1)
                    switch settlement {
                    case .retry(let due, _):
                        count(number, .delayed, by: 1)
                        schedule(due)
                    case .dead: count(number, .dead, by: 1)
                    default: break
                    }
                }
                completion(nil)
                advance(number, next)
            case .success(.changed(let changed)):
                books[number]?.window.settled(message.sequence, isGone: false)
                held(number, message.message.target, changed)
                completion(nil)
                // Its function may have come meanwhile.
                fed(number)
            case .success: completion(Self.confused)
            }
        }
    }

    /// The next message of a group has moved up.
    private func advance(_ number: Int, _ next: (StoredMessage, MessageState)?) {
        guard let (message, state) = next else { return }
        count(number, .behind, by: -1)
        count(number, state, by: 1)
        guard state == .ready else { return schedule(0) }
        offer(number, message)
        fed(number)
    }

    // MARK: Held

    private func hold(_ number: Int, _ messages: [StoredMessage]) {
        submit(.hold(messages.map { place(number, $0) })) { [self] result in
            guard case .success(.changed(let changed)) = result else {
                for message in messages { books[number]?.window.released(message.sequence) }
                return feedLater(number)
            }
            for message in messages {
                books[number]?.window.settled(message.sequence, isGone: false)
                books[number]?.held.insert(message.message.target)
            }
            count(number, .ready, by: -changed)
            count(number, .held, by: changed)
            // More may stand behind them.
            fed(number)
        }
    }

    private func held(_ number: Int, _ function: TargetFunction, _ changed: Int) {
        count(number, .ready, by: -changed)
        count(number, .held, by: changed)
        if changed > 0 { books[number]?.held.insert(function) }
    }

    func wake(_ queue: QueueKey, _ functions: Set<TargetFunction>) {
        guard let number = numbers[queue] else { return }
        wake(number, books[number]?.held.first { functions.contains($0) })
    }

    /// Makes held messages ready, a chunk at a time, unless their function is known to be missing still.
    private func wakeIfPossible(_ number: Int, missing: Set<TargetFunction>) {
        guard let held = books[number]?.held, !held.isEmpty else { return }
        wake(number, held.first { !missing.contains($0) })
    }

    private func wake(_ number: Int, _ function: TargetFunction?) {
        guard let function, books[number]?.isWaking == false else { return }
        books[number]?.isWaking = true
        submit(.wake(queue: number, function, limit: Self.chunk)) { [self] result in
            books[number]?.isWaking = false
            guard case .success(.changed(let changed)) = result else { return feedLater(number) }
            count(number, .held, by: -changed)
            count(number, .ready, by: changed)
            if changed < Self.chunk { books[number]?.held.remove(function) }
            books[number]?.window.invalidate()
            fed(number)
        }
    }

    // MARK: Time

    private func schedule(_ due: Int?) {
        guard let due else { return }
        if let nextDue, nextDue <= due { return }
        nextDue = due
        arm()
    }

    private func arm() {
        guard let nextDue, let context, !isPromoting else { return }
        if let timerAt, timerAt <= nextDue { return }
        cancelTimer?()
        timerAt = nextDue
        cancelTimer = context.clock.schedule(at: nextDue) { [weak self] in self?.promote() }
    }

    private func promote() {
        timerAt = nil
        cancelTimer = nil
        guard !isPromoting else { return }
        isPromoting = true
        nextDue = nil
        submit(.promote(now: now, limit: Self.chunk)) { [self] result in
            isPromoting = false
            guard case .success(.promoted(let promoted, let next)) = result else {
                schedule(now + Self.troublePause)
                return arm()
            }
            schedule(next)
            arm()
            for (number, moved) in promoted.sorted(by: { $0.key < $1.key }) {
                count(number, .delayed, by: -moved)
                count(number, .ready, by: moved)
                books[number]?.window.invalidate()
                fed(number)
            }
        }
    }

    private func sweep() {
        cancelSweep = context?.clock.schedule(at: now + Self.sweepInterval) { [weak self] in
            guard let self else { return }
            submit(.sweep(now: now)) { _ in }
            sweep()
        }
    }

    // MARK: What outlives the process

    private func finish(_ operation: StoreOperation, _ completion: @escaping (QueueStoreError?) -> Void) {
        submit(operation) { result in
            if case .failure(let error) = result { completion(error) } else { completion(nil) }
        }
    }

    func keep(_ binding: StoredBinding, completion: @escaping (QueueStoreError?) -> Void) { finish(.keep(binding), completion) }

    func forget(bindings: [String], completion: @escaping (QueueStoreError?) -> Void) { finish(.forget(bindings), completion) }

    func configure(_ queue: QueueKey, _ record: QueueRecord, completion: @escaping (QueueStoreError?) -> Void) {
        let number = number(queue)
        finish(.configure(queue: number, queue, record)) { [self] error in
            if error == nil { books[number]?.record = record }
            completion(error)
        }
    }

    func drop(_ queue: QueueKey) {
        guard let number = numbers[queue], let book = books[number], book.window.taken.isEmpty, book.window.count == 0, book.entering == 0,
            book.counts.states.values.allSatisfy({ $0 == 0 })
        else { return }
        books[number] = nil
        numbers[queue] = nil
        submit(.drop(queue: number)) { _ in }
    }

    // MARK: Looking and mending

    func counts(_ queues: [QueueKey], completion: @escaping (Result<[QueueKey: QueueCounts], QueueStoreError>) -> Void) {
        var all: [QueueKey: QueueCounts] = [:]
        for queue in queues {
            guard let number = numbers[queue], let book = books[number] else { continue }
            var counts = book.counts
            counts.oldest = book.window.first?.message.createdAt
            all[queue] = counts
        }
        completion(.success(all))
    }

    func deadLetters(
        _ queues: [QueueKey], offset: Int, limit: Int, completion: @escaping (Result<[DeadLetter], QueueStoreError>) -> Void
    ) {
        let numbers = queues.compactMap { self.numbers[$0] }
        submit(.deadLetters(queues: numbers, offset: offset, limit: limit, bytes: Self.maximumAnswerBytes)) { [self] result in
            switch result {
            case .failure(let error): completion(.failure(error))
            case .success(.dead(let letters)):
                completion(
                    .success(
                        letters.compactMap { number, stored, failedAt in
                            books[number].map { DeadLetter(queue: $0.key, stored: stored, failedAt: failedAt) }
                        }))
            case .success: completion(.failure(Self.confused))
            }
        }
    }

    /// In chunks, so that millions of dead messages hold up nobody; those that die meanwhile are not met again.
    func redrive(
        _ queue: QueueKey, _ selection: DeadLetterSelection, perSecond: Int?, completion: @escaping (Result<Int, QueueStoreError>) -> Void
    ) {
        guard let number = numbers[queue] else { return completion(.success(0)) }
        let began = now
        var chosen = 0
        inChunks(selection.limit, 0, completion) { [self] limit in
            defer { nextSequence += limit }
            lastTime = max(lastTime, now)
            return .redrive(
                queue: number, selection, cutoff: began, limit: limit,
                .init(sequence: nextSequence, rank: lastTime, now: began, chosen: chosen, perSecond: perSecond))
        } done: { [self] outcome in
            guard case .moved(let counts, let nextDue) = outcome else { return nil }
            for (state, moved) in counts {
                count(number, .dead, by: -moved)
                count(number, state, by: moved)
                chosen += moved
            }
            schedule(nextDue)
            if counts[.ready] != nil {
                books[number]?.window.invalidate()
                fed(number)
            }
            return counts.values.reduce(0, +)
        }
    }

    func discard(_ queue: QueueKey, _ selection: DeadLetterSelection, completion: @escaping (Result<Int, QueueStoreError>) -> Void) {
        guard let number = numbers[queue] else { return completion(.success(0)) }
        let cutoff = now
        inChunks(selection.limit, 0, completion) {
            .discard(queue: number, selection, cutoff: cutoff, limit: $0)
        } done: { [self] outcome in
            guard case .changed(let changed) = outcome else { return nil }
            count(number, .dead, by: -changed)
            return changed
        }
    }

    private func inChunks(
        _ limit: Int?, _ sum: Int, _ completion: @escaping (Result<Int, QueueStoreError>) -> Void,
        _ operation: @escaping (Int) -> StoreOperation, done: @escaping (StoreOutcome) -> Int?
    ) {
        let chunk = min(Self.chunk, (limit ?? .max) - sum)
        guard chunk > 0 else { return completion(.success(sum)) }
        submit(operation(chunk)) { [self] result in
            switch result {
            case .failure(let error): completion(.failure(error))
            case .success(let outcome):
                guard let count = done(outcome) else { return completion(.failure(Self.confused)) }
                if count < chunk {
                    completion(.success(sum + count))
                } else {
                    inChunks(limit, sum + count, completion, operation, done: done)
                }
            }
        }
    }

    func purge(_ queue: QueueKey, _ states: Set<MessageState>, completion: @escaping (Result<Int, QueueStoreError>) -> Void) {
        guard let number = numbers[queue] else { return completion(.success(0)) }
        books[number]?.purges += 1
        purge(queue, states.sorted { $0.rawValue > $1.rawValue }[...], 0) { [self] result in
            books[number]?.purges -= 1
            completion(result)
            fed(number)
        }
    }

    /// What stands behind goes before what is ready, so that nothing moves up only to be removed.
    private func purge(
        _ queue: QueueKey, _ states: ArraySlice<MessageState>, _ sum: Int,
        _ completion: @escaping (Result<Int, QueueStoreError>) -> Void
    ) {
        guard let number = numbers[queue], let state = states.first, let taken = books[number]?.window.taken else {
            return completion(.success(sum))
        }
        // What is loaded from here on is loaded after the purge.
        if state == .ready { books[number]?.window.empty() }
        submit(.purge(queue: number, state, excluding: taken, limit: Self.chunk, now: now)) { [self] result in
            switch result {
            case .failure(let error): completion(.failure(error))
            case .success(.purged(let count, let next)):
                self.count(number, state, by: -count)
                for moved in next { advance(number, moved) }
                loadIfLow(number)
                purge(queue, count < Self.chunk ? states.dropFirst() : states, sum + count, completion)
            case .success: completion(.failure(Self.confused))
            }
        }
    }

    func cancel(_ id: String, completion: @escaping (Result<Bool, QueueStoreError>) -> Void) {
        guard cancelling.insert(id).inserted else { return completion(.success(false)) }
        let taken = books.values.reduce(into: Set<Int>()) { $0.formUnion($1.window.taken) }
        submit(.cancel(id: id, excluding: taken, now: now)) { [self] result in
            cancelling.remove(id)
            if let (number, sequence) = withheld.removeValue(forKey: id) {
                books[number]?.window.released(sequence)
                fed(number)
            }
            switch result {
            case .failure(let error): completion(.failure(error))
            case .success(.cancelled(let number, let state, let next)):
                count(number, state, by: -1)
                if state == .ready { books[number]?.window.empty() }
                advance(number, next)
                completion(.success(true))
                fed(number)
            case .success: completion(.success(false))
            }
        }
    }

    func find(_ id: String, completion: @escaping (Result<FoundMessage?, QueueStoreError>) -> Void) {
        submit(.find(id: id)) { [self] result in
            switch result {
            case .failure(let error): completion(.failure(error))
            case .success(.found(let number, let state, let stored)):
                completion(.success(books[number].map { FoundMessage(queue: $0.key, state: state, stored: stored) }))
            case .success: completion(.success(nil))
            }
        }
    }
}
