/// Why a store did not do what was asked of it.
public struct QueueStoreError: Error, Sendable, Equatable {
    public let message: String
    /// Whether the same may succeed later by itself.
    public let isRetryable: Bool

    public init(_ message: String, isRetryable: Bool) {
        self.message = message
        self.isRetryable = isRetryable
    }

    /// More would make a queue longer than it may be.
    public static func full(_ queue: QueueKey, live: Int, maxDepth: Int) -> QueueStoreError {
        QueueStoreError("Queue '\(queue)' is full: \(live) messages (max_depth is \(maxDepth))", isRetryable: true)
    }
}

public struct NewMessage: Sendable {
    public let queue: QueueKey
    public let message: QueueMessage
    /// Not delivered before; nil for at once.
    public let due: Int?
    /// How long its idempotency key is taken, in milliseconds.
    public let deduplicationWindow: Int
    /// Messages that its queue may have, the dead not counted; more are refused. 0 without limit.
    public let maxDepth: Int

    public init(_ queue: QueueKey, _ message: QueueMessage, due: Int? = nil, deduplicationWindow: Int = 0, maxDepth: Int = 0) {
        self.queue = queue
        self.message = message
        self.due = due
        self.deduplicationWindow = deduplicationWindow
        self.maxDepth = maxDepth
    }
}

/// What was published to a topic.
public struct TopicMessage: Sendable {
    public let topic: String
    /// One JSON value, every byte as it came.
    public let payload: [UInt8]
    public let traceparent: String?
    public let baggage: String?
    /// Milliseconds since 1970.
    public let createdAt: Int

    public init(topic: String, payload: [UInt8], traceparent: String?, baggage: String?, createdAt: Int) {
        self.topic = topic
        self.payload = payload
        self.traceparent = traceparent
        self.baggage = baggage
        self.createdAt = createdAt
    }
}

public struct EnqueueAnswer: Sendable, Equatable {
    /// Of the message that is stored; for a duplicate that of the first one.
    public let id: String
    public let isDuplicate: Bool

    public init(id: String, isDuplicate: Bool) {
        self.id = id
        self.isDuplicate = isDuplicate
    }
}

public struct QueueCounts: Sendable, Equatable {
    /// By state; what is being delivered counts as ready.
    public var states: [MessageState: Int] = [:]
    /// Of the ready ones: being delivered, here or by another instance; nil where the store does not know more than this process does.
    public var active: Int?
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

    static func + (a: QueueCounts, b: QueueCounts) -> QueueCounts {
        var sum = a
        for (state, count) in b.states { sum[state] += count }
        if let active = b.active { sum.active = (sum.active ?? 0) + active }
        if let oldest = b.oldest { sum.oldest = min(oldest, sum.oldest ?? oldest) }
        return sum
    }
}

public struct DeadLetter: Sendable, Equatable {
    public let queue: QueueKey
    public let stored: StoredMessage
    public let failedAt: Int

    public init(queue: QueueKey, stored: StoredMessage, failedAt: Int) {
        self.queue = queue
        self.stored = stored
        self.failedAt = failedAt
    }
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

    /// Whether it asks for more than an id or a number of them.
    var isFiltered: Bool { function != nil || errorContains != nil || before != nil || after != nil }

    /// The limit is the caller's to keep.
    public func matches(_ stored: StoredMessage, failedAt: Int) -> Bool {
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
    /// Whether it is being delivered; nil where the store does not know more than this process does.
    public let isActive: Bool?

    public init(queue: QueueKey, state: State, stored: StoredMessage?, isActive: Bool? = nil) {
        self.queue = queue
        self.state = state
        self.stored = stored
        self.isActive = isActive
    }
}
