import IIIWorker

/// Where messages are kept: the embedded store, or a broker. Its promise is the queue's promise.
///
/// Who decides what. The queue machine decides when a message is asked for (slots, rate, pauses, consumers), what an outcome means (attempts,
/// pauses between them, dead or not) and what is logged and counted. The store keeps, orders and gives out: which message is next, that a
/// group has one out at a time, when a delayed one is ready, that what a dead process had comes back.
///
/// What every store has to hold (`QueueStoreContract` in `IIIQueueContract` runs it, by ability, against every registered one):
///
/// * `enqueue` and `publish` answer once all of their messages, or none, will survive whatever the store's documentation says it survives.
/// * A message is claimed by one claimant at a time. What a process had claimed when it died is claimed again by another, as it was.
/// * Order: by priority with ageing, then as accepted. Of one group one message at a time, in order; the group is free in the same step in
///   which its head is done or dead.
/// * A settlement happens as a whole or not at all, and may be given again after an error. One of a claim that has passed to somebody else
///   meanwhile changes nothing and is no error.
/// * While its broker is away it answers within seconds, with a retryable error, and goes on by itself when the broker is back.
///
/// The event level is `start`, `publish`, `claim`, `settle`, `keep`, `forget` and `close`; everything else has an answer here that says that the store cannot
/// do it, and belongs to an ability that the store names. What a store has no ability for is refused where it is configured or asked for.
///
/// Confined to the event loop of its context; completions come there, each once, and may come before the call returns.
public protocol QueueStore: AnyObject {
    var abilities: Set<QueueAbility> { get }
    /// Opens it. Throws what keeps the process from starting: `ConfigurationError` for what only another configuration mends.
    func start(_ context: QueueStoreContext, on loop: isolated WorkerLoop) async throws -> StoredState
    /// How a queue works here, said before it is used and whenever that changes. While `isConsuming` is false nothing is claimed from it: a
    /// store that is sent messages by its broker takes none then, for what it has taken is neither delivered nor anybody else's.
    func serve(_ queue: QueueKey, _ options: QueueOptions, isConsuming: Bool)
    /// Answers for each message, in order.
    func enqueue(_ messages: [NewMessage], completion: @escaping (Result<[EnqueueAnswer], QueueStoreError>) -> Void)
    /// One message for every subscription of a topic, all or none. `copies` makes them for the subscriptions that are known now, in the order of
    /// `publication`'s callers; where others may have subscribed elsewhere the store sees to theirs (its broker fans out, or it learns of
    /// them, tells by `context.changed` and asks again). Answers how many.
    func publish(
        _ publication: TopicMessage, copies: @escaping () -> [NewMessage], completion: @escaping (Result<Int, QueueStoreError>) -> Void)
    /// Gives out up to `limit` messages of `queue`, none for a function of `skipping`. Fewer than that means that there is nothing more
    /// now; `context.fed` tells when there is.
    func claim(_ queue: QueueKey, limit: Int, skipping: Set<TargetFunction>, completion: @escaping ([StoredMessage]) -> Void)
    /// `result` of a message that is done is remembered for `resultTTL` milliseconds.
    func settle(
        _ queue: QueueKey, _ message: StoredMessage, _ settlement: Settlement, resultTTL: Int,
        completion: @escaping (QueueStoreError?) -> Void)
    /// What was held for these functions is ready again.
    func wake(_ queue: QueueKey, _ functions: Set<TargetFunction>)

    // What outlives the process besides messages.
    func keep(_ binding: StoredBinding, completion: @escaping (QueueStoreError?) -> Void)
    func forget(bindings: [String], completion: @escaping (QueueStoreError?) -> Void)
    func configure(_ queue: QueueKey, _ record: QueueRecord, completion: @escaping (QueueStoreError?) -> Void)

    /// Forgets a queue that has no messages.
    func drop(_ queue: QueueKey)

    // Looking and mending.
    /// Every queue that has, or had, something, as far as is known here.
    var queues: [QueueKey] { get }
    /// Of each of them; a queue that nothing is known of has zeros.
    func counts(_ queues: [QueueKey], completion: @escaping (Result<[QueueKey: QueueCounts], QueueStoreError>) -> Void)
    /// Newest failure first.
    func deadLetters(
        _ queues: [QueueKey], offset: Int, limit: Int, completion: @escaping (Result<[DeadLetter], QueueStoreError>) -> Void)
    /// Makes dead messages ready again, oldest failure first, behind what waits, with all their attempts; `perSecond` of them each second,
    /// nil for all at once. Answers how many were chosen, when that is stored.
    func redrive(
        _ queue: QueueKey, _ selection: DeadLetterSelection, perSecond: Int?, completion: @escaping (Result<Int, QueueStoreError>) -> Void)
    func discard(
        _ queue: QueueKey, _ selection: DeadLetterSelection, completion: @escaping (Result<Int, QueueStoreError>) -> Void)
    /// Removes what is in one of `states` and not being delivered.
    func purge(_ queue: QueueKey, _ states: Set<MessageState>, completion: @escaping (Result<Int, QueueStoreError>) -> Void)
    /// Removes a message that is not being delivered and not dead. Answers whether there was one.
    func cancel(_ id: String, completion: @escaping (Result<Bool, QueueStoreError>) -> Void)
    func find(_ id: String, completion: @escaping (Result<FoundMessage?, QueueStoreError>) -> Void)

    /// For `iii-core ps -v`; empty when there is nothing to say.
    var status: String { get }
    /// Stores what was taken, gives back what was claimed, then lets go.
    func close(on loop: isolated WorkerLoop) async
}

/// The answers of a store that cannot.
extension QueueStore {
    private func lacks<Value>(_ ability: QueueAbility) -> Result<Value, QueueStoreError> {
        .failure(QueueStoreError("this store cannot \(ability.rawValue)", isRetryable: false))
    }
    public func serve(_ queue: QueueKey, _ options: QueueOptions, isConsuming: Bool) {}
    public func publish(
        _ publication: TopicMessage, copies: @escaping () -> [NewMessage], completion: @escaping (Result<Int, QueueStoreError>) -> Void
    ) {
        enqueue(copies()) { completion($0.map(\.count)) }
    }
    public func wake(_ queue: QueueKey, _ functions: Set<TargetFunction>) {}
    public func configure(_ queue: QueueKey, _ record: QueueRecord, completion: @escaping (QueueStoreError?) -> Void) {
        completion(QueueStoreError("this store cannot \(QueueAbility.records.rawValue)", isRetryable: false))
    }
    public func drop(_ queue: QueueKey) {}
    public var queues: [QueueKey] { [] }
    public func counts(_ queues: [QueueKey], completion: @escaping (Result<[QueueKey: QueueCounts], QueueStoreError>) -> Void) {
        completion(.success([:]))
    }
    public func deadLetters(
        _ queues: [QueueKey], offset: Int, limit: Int, completion: @escaping (Result<[DeadLetter], QueueStoreError>) -> Void
    ) { completion(lacks(.deadLetters)) }
    public func redrive(
        _ queue: QueueKey, _ selection: DeadLetterSelection, perSecond: Int?, completion: @escaping (Result<Int, QueueStoreError>) -> Void
    ) { completion(lacks(.deadLetters)) }
    public func discard(
        _ queue: QueueKey, _ selection: DeadLetterSelection, completion: @escaping (Result<Int, QueueStoreError>) -> Void
    ) { completion(lacks(.deadLetters)) }
    public func purge(_ queue: QueueKey, _ states: Set<MessageState>, completion: @escaping (Result<Int, QueueStoreError>) -> Void) {
        completion(lacks(.purging))
    }
    public func cancel(_ id: String, completion: @escaping (Result<Bool, QueueStoreError>) -> Void) { completion(lacks(.cancelling)) }
    public func find(_ id: String, completion: @escaping (Result<FoundMessage?, QueueStoreError>) -> Void) { completion(lacks(.finding)) }
    public var status: String { "" }
}
