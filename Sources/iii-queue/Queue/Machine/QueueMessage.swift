/// A function where it is looked up.
public struct TargetFunction: Hashable, Sendable {
    public let id: String
    /// nil is `default`.
    public let namespace: String?

    public init(_ id: String, namespace: String? = nil) {
        self.id = id
        self.namespace = namespace
    }
}

/// What somebody wants delivered. Everything in it stays as it is for the life of the message.
public struct QueueMessage: Sendable, Equatable {
    /// The receipt. Unique; whoever makes it decides how.
    public let id: String
    public let target: TargetFunction
    /// One JSON value, every byte as it came; so are the others.
    public var payload: [UInt8]
    public var metadata: [UInt8]?
    public var traceparent: String?
    public var baggage: String?
    /// Messages of one group are delivered one at a time, in order. Canonical JSON text of the payload's member.
    public var group: String?
    /// 0 to 255; higher is more urgent.
    public var priority: Int
    /// Milliseconds since 1970, as all times here.
    public let createdAt: Int
    /// Dead if it has not been started by then.
    public var expiresAt: Int?
    /// Copied when the message is accepted: a later change of the queue's settings does not touch what waits.
    public var maxAttempts: Int
    public var backoffMilliseconds: Int
    public var deduplicationKey: String?

    public init(
        id: String, target: TargetFunction, payload: [UInt8], group: String? = nil, priority: Int = 0, createdAt: Int, maxAttempts: Int = 3,
        backoffMilliseconds: Int = 1000
    ) {
        self.id = id
        self.target = target
        self.payload = payload
        self.group = group
        self.priority = priority
        self.createdAt = createdAt
        self.maxAttempts = maxAttempts
        self.backoffMilliseconds = backoffMilliseconds
    }

    /// What it occupies, roughly, wherever it waits in memory.
    var cost: Int { payload.count + (metadata?.count ?? 0) + (traceparent?.utf8.count ?? 0) + (baggage?.utf8.count ?? 0) + 256 }
}

/// What has become of a message so far.
public struct MessageProgress: Sendable, Equatable {
    /// Attempts that were real: the function was called and failed.
    public var attempts = 0
    /// Unclean ends of a worker that had it.
    public var crashes = 0
    /// The newest failures, oldest first; at most `maximumFailures`.
    public var failures: [DeliveryFailure] = []

    static let maximumFailures = 10

    public init() {}

    /// The oldest makes room for it.
    public mutating func add(_ failure: DeliveryFailure) {
        if failures.count >= Self.maximumFailures { failures.removeFirst() }
        failures.append(failure)
    }
}

/// Why an attempt failed.
public struct DeliveryFailure: Sendable, Equatable {
    public let at: Int
    public let code: String
    public let message: String
    public let stacktrace: String?

    /// Longer texts are cut: an error must not be larger than the message it is about.
    static let maximumText = 4096

    public init(at: Int, code: String, message: String, stacktrace: String? = nil) {
        self.at = at
        self.code = code
        self.message = Self.cut(message)
        self.stacktrace = stacktrace.map(Self.cut)
    }

    private static func cut(_ text: String) -> String {
        text.utf8.count <= maximumText ? text : String(decoding: text.utf8.prefix(maximumText), as: UTF8.self) + "…"
    }

    /// What the dead-letter functions show as `error`.
    public var text: String { "\(code): \(message)" }
}

/// A message in a store.
public struct StoredMessage: Sendable, Equatable {
    /// Grows with every message, and with every redrive: the order within a group.
    public let sequence: Int
    /// Orders what is ready; smaller comes first.
    public let rank: Int
    public var message: QueueMessage
    public var progress: MessageProgress

    public init(sequence: Int, rank: Int, message: QueueMessage, progress: MessageProgress = MessageProgress()) {
        self.sequence = sequence
        self.rank = rank
        self.message = message
        self.progress = progress
    }

    func comes(before other: StoredMessage) -> Bool { (rank, sequence) < (other.rank, other.sequence) }
}

/// Where a message is.
public enum MessageState: Int, Sendable, CaseIterable {
    /// Next to be delivered, or being delivered: that is known to the process alone, so a crash costs nothing.
    case ready = 0
    /// Ready at its due time.
    case delayed = 1
    /// Ready once the messages of its group before it are gone.
    case behind = 2
    /// Ready once its function exists.
    case held = 3
    /// Given up.
    case dead = 4
}
