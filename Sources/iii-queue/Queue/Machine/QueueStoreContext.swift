import Logging
import NIOCore

/// What a store is given to work with.
public struct QueueStoreContext {
    public let eventLoop: any EventLoop
    /// The configuration entry, e.g. `iii-queue`.
    public let name: String
    /// The named queues of the configuration, for what has to be there before the first message.
    public let queues: [String: QueueOptions]
    public let clock: any QueueClock
    public let logger: Logger
    /// To be called when `queue` may have something to claim.
    public let fed: (QueueKey) -> Void
    /// To be called when another instance has changed bindings or records, with all of them as they are now.
    public let changed: (StoredState) -> Void

    public init(
        eventLoop: any EventLoop, name: String, queues: [String: QueueOptions] = [:], clock: any QueueClock, logger: Logger,
        changed: @escaping (StoredState) -> Void = { _ in }, fed: @escaping (QueueKey) -> Void
    ) {
        self.eventLoop = eventLoop
        self.name = name
        self.queues = queues
        self.clock = clock
        self.logger = logger
        self.changed = changed
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
    /// In a store that several instances share: the instance it was made at. A store sets it by itself; nil for the own one's.
    public var instance: String?

    public init(
        id: String, subscription: QueueKey.Subscription, config: [UInt8], metadata: [UInt8]?, seenAt: Int, instance: String? = nil
    ) {
        self.id = id
        self.subscription = subscription
        self.config = config
        self.metadata = metadata
        self.seenAt = seenAt
        self.instance = instance
    }
}

/// What is known of a queue beside its messages.
public struct QueueRecord: Sendable, Equatable {
    public var isPaused = false
    /// The settings of `queue::define` as JSON text.
    public var definition: [UInt8]?
    public init() {}
}

/// Bindings and records as a store has them.
public struct StoredState: Sendable {
    public var bindings: [StoredBinding]
    public var records: [QueueKey: QueueRecord]
    public init(bindings: [StoredBinding] = [], records: [QueueKey: QueueRecord] = [:]) {
        self.bindings = bindings
        self.records = records
    }
}
