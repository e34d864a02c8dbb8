import Dispatch
import IIIQueue
import IIIWorker
import Logging
import NIOCore
import NIOPosix
import Synchronization

/// Opens the store under test, each time with the same data behind it.
public typealias OpenQueueStore = @Sendable () async throws -> sending any QueueStore

/// A store with its event loop, as asynchronous calls.
final class StoreUnderTest: @unchecked Sendable {
    let store: any QueueStore
    let eventLoop: any EventLoop
    let clock: LoopClock
    private let group: MultiThreadedEventLoopGroup
    private let hanging = DispatchSemaphore(value: 0)
    /// What the store has told of other instances.
    let changes = Mutex<[StoredState]>([])

    /// Opens it and starts it.
    static func start(_ open: OpenQueueStore, as name: String) async throws -> (StoreUnderTest, StoredState) {
        let subject = StoreUnderTest(try await open())
        return (subject, try await subject.start(as: name, on: WorkerLoop(subject.eventLoop)))
    }

    private init(_ store: any QueueStore) {
        self.store = store
        // A thread of its own, so that it can hang like a process.
        group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        eventLoop = group.next()
        clock = LoopClock(eventLoop)
    }

    private func start(as name: String, on loop: isolated WorkerLoop) async throws -> StoredState {
        var logger = Logger(label: "contract")
        logger.logLevel = .critical
        var options = QueueOptions()
        options.concurrency = 100
        let context = QueueStoreContext(
            eventLoop: eventLoop, name: name, queues: ["q": options], clock: clock, logger: logger,
            changed: { [weak self] state in self?.changes.withLock { $0.append(state) } }, fed: { _ in })
        let state = try await store.start(context, on: loop)
        for key in [QueueStoreContract.queue, QueueStoreContract.topic] { store.serve(key, options, isConsuming: true) }
        return state
    }

    func close() async {
        await close(on: WorkerLoop(eventLoop))
        try? await group.shutdownGracefully()
    }

    /// From here on it does nothing, like a process that is stopped or cut off, until `goOn`.
    func hang() { eventLoop.execute { [self] in hanging.wait() } }
    func goOn() { hanging.signal() }

    private func close(on loop: isolated WorkerLoop) async { await store.close(on: loop) }

    /// One call of the store, on its loop.
    func ask<Value: Sendable>(_ body: @escaping @Sendable (any QueueStore, @escaping @Sendable (Value) -> Void) -> Void) async -> Value {
        await withCheckedContinuation { continuation in
            eventLoop.execute { [self] in body(store) { continuation.resume(returning: $0) } }
        }
    }

    func enqueue(
        _ queue: QueueKey, _ messages: QueueMessage..., due: Int? = nil, window: Int = 0, maxDepth: Int = 0
    ) async throws -> [EnqueueAnswer] {
        let new = messages.map { NewMessage(queue, $0, due: due, deduplicationWindow: window, maxDepth: maxDepth) }
        let result: Result<[EnqueueAnswer], QueueStoreError> = await ask { store, done in store.enqueue(new) { done($0) } }
        return try result.get()
    }

    /// Publishes to the contract's topic for the subscriptions that `known` names.
    func publish(_ payload: String, id: String, to known: @escaping @Sendable () -> [QueueKey.Subscription]) async throws -> Int {
        let bytes = Array(payload.utf8)
        let publication = TopicMessage(
            topic: QueueStoreContract.topicName, payload: bytes, traceparent: nil, baggage: nil, createdAt: clock.now)
        let result: Result<Int, QueueStoreError> = await ask { store, done in
            store.publish(publication) {
                known().map { subscription in
                    NewMessage(
                        .subscription(subscription),
                        QueueMessage(
                            id: "\(id)-\(subscription.function)", target: TargetFunction(subscription.function), payload: bytes,
                            createdAt: publication.createdAt))
                }
            } completion: {
                done($0)
            }
        }
        return try result.get()
    }

    func keep(_ binding: StoredBinding) async -> QueueStoreError? { await ask { store, done in store.keep(binding) { done($0) } } }

    func forget(_ ids: [String]) async -> QueueStoreError? { await ask { store, done in store.forget(bindings: ids) { done($0) } } }

    func configure(_ queue: QueueKey, _ record: QueueRecord) async -> QueueStoreError? {
        await ask { store, done in store.configure(queue, record) { done($0) } }
    }

    /// Claims until `count` messages have come, or the time is over.
    func claim(
        _ queue: QueueKey, _ count: Int, skipping: Set<TargetFunction> = [], within seconds: Int = 20
    ) async throws -> [StoredMessage] {
        var claimed: [StoredMessage] = []
        let deadline = clock.now + seconds * 1000
        while claimed.count < count, clock.now < deadline {
            let limit = count - claimed.count
            claimed += await ask { store, done in store.claim(queue, limit: limit, skipping: skipping) { done($0) } }
            if claimed.count < count { try await Task.sleep(for: .milliseconds(5)) }
        }
        return claimed
    }

    /// Nothing can be claimed, also not after a moment.
    func claimsNothing(_ queue: QueueKey, skipping: Set<TargetFunction> = []) async throws -> Bool {
        for _ in 0..<5 {
            let found: [StoredMessage] = await ask { store, done in store.claim(queue, limit: 1, skipping: skipping) { done($0) } }
            if !found.isEmpty { return false }
            try await Task.sleep(for: .milliseconds(5))
        }
        return true
    }

    func settle(_ queue: QueueKey, _ message: StoredMessage, _ settlement: Settlement, resultTTL: Int = 0) async -> QueueStoreError? {
        await ask { store, done in store.settle(queue, message, settlement, resultTTL: resultTTL) { done($0) } }
    }

    func wake(_ queue: QueueKey, _ functions: Set<TargetFunction>) {
        eventLoop.execute { [self] in store.wake(queue, functions) }
    }

    func counts(_ queue: QueueKey) async throws -> QueueCounts {
        let result: Result<[QueueKey: QueueCounts], QueueStoreError> = await ask { store, done in store.counts([queue]) { done($0) } }
        return try result.get()[queue] ?? QueueCounts()
    }

    func dead(_ queue: QueueKey, offset: Int = 0, limit: Int = 100) async throws -> [DeadLetter] {
        let result: Result<[DeadLetter], QueueStoreError> = await ask { store, done in
            store.deadLetters([queue], offset: offset, limit: limit) { done($0) }
        }
        return try result.get()
    }

    func redrive(
        _ queue: QueueKey, _ selection: DeadLetterSelection = DeadLetterSelection(), perSecond: Int? = nil
    ) async throws -> Int {
        let result: Result<Int, QueueStoreError> = await ask { store, done in
            store.redrive(queue, selection, perSecond: perSecond) { done($0) }
        }
        return try result.get()
    }

    func discard(_ queue: QueueKey, _ selection: DeadLetterSelection = DeadLetterSelection()) async throws -> Int {
        let result: Result<Int, QueueStoreError> = await ask { store, done in store.discard(queue, selection) { done($0) } }
        return try result.get()
    }

    func purge(_ queue: QueueKey, _ states: Set<MessageState>) async throws -> Int {
        let result: Result<Int, QueueStoreError> = await ask { store, done in store.purge(queue, states) { done($0) } }
        return try result.get()
    }

    func find(_ id: String) async throws -> FoundMessage? {
        let result: Result<FoundMessage?, QueueStoreError> = await ask { store, done in store.find(id) { done($0) } }
        return try result.get()
    }

    func cancel(_ id: String) async throws -> Bool {
        let result: Result<Bool, QueueStoreError> = await ask { store, done in store.cancel(id) { done($0) } }
        return try result.get()
    }
}
