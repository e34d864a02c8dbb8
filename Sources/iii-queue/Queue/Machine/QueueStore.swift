import IIIWorker
import Logging
import NIOCore

/// Where messages are kept: the embedded store, or a broker. Its promise is the queue's promise.
///
/// What every store has to hold (`QueueStoreContract` in Tests/QueueTests runs all of it against every registered one):
///
/// * `enqueue` answers once all of its messages, or none, will survive whatever the store's documentation says it survives.
/// * A message is claimed by one claimant at a time. What a process had claimed when it died is claimed again by another, as it was.
/// * Order: by priority with ageing, then as accepted. Of one group one message at a time, in order; the group is free in the same step in
///   which its head is done or dead.
/// * A settlement happens as a whole or not at all, and may be given again after an error.
///
/// Confined to the event loop of its context; completions come there, each once, and may come before the call returns.
public protocol QueueStore: AnyObject {
    /// Opens it. Throws what keeps the process from starting.
    func start(_ context: QueueStoreContext, on loop: isolated WorkerLoop) async throws -> StoredState
    /// Answers for each message, in order.
    func enqueue(_ messages: [NewMessage], completion: @escaping (Result<[EnqueueAnswer], QueueStoreError>) -> Void)
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
    /// Every queue that has, or had, something.
    var queues: [QueueKey] { get }
    func counts(_ queue: QueueKey, completion: @escaping (QueueCounts) -> Void)
    /// Newest failure first.
    func deadLetters(
        _ queues: [QueueKey], offset: Int, limit: Int, completion: @escaping (Result<[DeadLetter], QueueStoreError>) -> Void)
    /// Makes dead messages ready again, oldest failure first, behind what waits, with all their attempts. Answers how many.
    func redrive(
        _ queue: QueueKey, _ selection: DeadLetterSelection, completion: @escaping (Result<Int, QueueStoreError>) -> Void)
    func discard(
        _ queue: QueueKey, _ selection: DeadLetterSelection, completion: @escaping (Result<Int, QueueStoreError>) -> Void)
    /// Removes what is in one of `states` and not being delivered.
    func purge(_ queue: QueueKey, _ states: Set<MessageState>, completion: @escaping (Result<Int, QueueStoreError>) -> Void)
    /// Removes a message that is not being delivered and not dead. Answers whether there was one.
    func cancel(_ id: String, completion: @escaping (Result<Bool, QueueStoreError>) -> Void)
    func find(_ id: String, completion: @escaping (Result<FoundMessage?, QueueStoreError>) -> Void)

    /// For `iii-core ps -v`; empty when there is nothing to say.
    var status: String { get }
    /// Stores what was taken, then lets go.
    func close(on loop: isolated WorkerLoop) async
}

/// What a store is given to work with.
public struct QueueStoreContext {
    public let eventLoop: any EventLoop
    /// The configuration entry, e.g. `iii-queue`.
    public let name: String
    public let clock: any QueueClock
    public let logger: Logger
    /// To be called when `queue` may have something to claim.
    public let fed: (QueueKey) -> Void

    public init(
        eventLoop: any EventLoop, name: String, clock: any QueueClock, logger: Logger, fed: @escaping (QueueKey) -> Void
    ) {
        self.eventLoop = eventLoop
        self.name = name
        self.clock = clock
        self.logger = logger
        self.fed = fed
    }
}

/// Time as queues see it. On the event loop.
public protocol QueueClock: AnyObject {
    /// Milliseconds since 1970 when the process started, counted on by a clock that nobody sets: a delay is as long as it was asked for,
    /// whatever happens to the clock on the wall.
    var now: Int { get }
    /// What the clock on the wall says, for times that people write.
    var wallNow: Int { get }
    /// Runs `work` once `now` has reached `time`; the result takes it back.
    func schedule(at time: Int, _ work: @escaping () -> Void) -> () -> Void
}

/// Why a store did not do what was asked of it.
public struct QueueStoreError: Error, Sendable, Equatable {
    public let message: String
    /// Whether the same may succeed later by itself.
    public let isRetryable: Bool

    public init(_ message: String, isRetryable: Bool) {
        self.message = message
        self.isRetryable = isRetryable
    }
}

public struct NewMessage: Sendable {
    public let queue: QueueKey
    public let message: QueueMessage
    /// Not delivered before; nil for at once.
    public let due: Int?
    /// How long its idempotency key is taken, in milliseconds.
    public let deduplicationWindow: Int

    public init(_ queue: QueueKey, _ message: QueueMessage, due: Int? = nil, deduplicationWindow: Int = 0) {
        self.queue = queue
        self.message = message
        self.due = due
        self.deduplicationWindow = deduplicationWindow
    }
}

public struct EnqueueAnswer: Sendable, Equatable {
    /// Of the message that is stored; for a duplicate that of the first one.
    public let id: String
    public let isDuplicate: Bool
}

/// A subscription of a worker, as it outlives the worker's connection and this process.
public struct StoredBinding: Sendable, Equatable {
    /// The trigger's.
    public let id: String
    public let subscription: QueueKey.Subscription
    /// The trigger's config and metadata as JSON text.
    public let config: [UInt8]
    public let metadata: [UInt8]?
    /// When its worker was last known to be there.
    public var seenAt: Int

    public init(id: String, subscription: QueueKey.Subscription, config: [UInt8], metadata: [UInt8]?, seenAt: Int) {
        self.id = id
        self.subscription = subscription
        self.config = config
        self.metadata = metadata
        self.seenAt = seenAt
    }
}

/// What is known of a queue beside its messages.
public struct QueueRecord: Sendable, Equatable {
    public var isPaused = false
    /// The settings of `queue::define` as JSON text.
    public var definition: [UInt8]?
    public init() {}
}

public struct StoredState: Sendable {
    public var bindings: [StoredBinding]
    public var records: [QueueKey: QueueRecord]
    public init(bindings: [StoredBinding] = [], records: [QueueKey: QueueRecord] = [:]) {
        self.bindings = bindings
        self.records = records
    }
}

public struct QueueCounts: Sendable, Equatable {
    /// By state; what is being delivered counts as ready.
    public var states: [MessageState: Int] = [:]
    /// Since when the first message that is ready has waited.
    public var oldest: Int?
    public init() {}

    public subscript(state: MessageState) -> Int {
        get { states[state] ?? 0 }
        set { states[state] = newValue }
    }
    /// Everything but the dead.
    public var live: Int { states.reduce(0) { $0 + ($1.key == .dead ? 0 : $1.value) } }
    /// What depth means to clients: all that could be delivered now or is being delivered.
    public var depth: Int { self[.ready] + self[.behind] + self[.held] }
}

public struct DeadLetter: Sendable, Equatable {
    public let queue: QueueKey
    public let stored: StoredMessage
    public let failedAt: Int
}

/// Which dead messages are meant; all conditions hold together.
public struct DeadLetterSelection: Sendable, Equatable {
    public var id: String?
    public var function: String?
    public var errorContains: String?
    /// Failed before, after.
    public var before: Int?
    public var after: Int?
    public var limit: Int?
    public init() {}

    func matches(_ stored: StoredMessage, failedAt: Int) -> Bool {
        (id == nil || stored.message.id == id) && (function == nil || stored.message.target.id == function)
            && (before.map { failedAt < $0 } ?? true) && (after.map { failedAt > $0 } ?? true)
            && (errorContains.map { stored.progress.failures.last?.text.contains($0) ?? false } ?? true)
    }
}

/// What is known of a message by its receipt.
public struct FoundMessage: Sendable, Equatable {
    public enum State: Sendable, Equatable {
        case live(MessageState, due: Int)
        case done(result: [UInt8]?)
    }
    public let queue: QueueKey
    public let state: State
    /// nil for one that is done.
    public let stored: StoredMessage?
}
