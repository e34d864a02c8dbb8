/// How one queue works. Durations in milliseconds.
public struct QueueOptions: Sendable, Equatable {
    public enum Backoff: String, Sendable, CaseIterable { case exponential, fixed }

    /// At most `max` starts within any `milliseconds`.
    public struct Rate: Sendable, Equatable {
        public var max: Int
        public var milliseconds: Int
        public init(max: Int, milliseconds: Int) {
            self.max = max
            self.milliseconds = milliseconds
        }
    }

    /// The payload's member whose value is the group; nil for queues without groups.
    public var groupField: String?
    /// All messages are one group, for subscriptions of type `fifo`.
    public var isSerial = false
    /// Attempts in all, at least 1.
    public var maxAttempts = 3
    /// Messages being delivered at a time; 0 delivers none.
    public var concurrency = 10
    public var backoffMilliseconds = 1000
    public var backoff = Backoff.exponential
    public var backoffMaximum = 86_400_000
    /// Part of a pause that may be added to it.
    public var jitter = 0.1
    /// How long one attempt may take; 0 without limit.
    public var timeout = 1_800_000
    /// Unclean ends of workers after which a message is dead.
    public var maxCrashes = 5
    public var rate: Rate?
    /// Messages that may wait, be delayed or be delivered; more are refused. 0 without limit.
    public var maxDepth = 0
    public var maxPayloadBytes = 16 << 20
    /// How long a message may wait; 0 for ever.
    public var maxAge = 0
    /// How long the outcome of a message is remembered; 0 not at all.
    public var resultTTL = 0
    /// Members of the payload that hold priority and idempotency key.
    public var priorityField: String?
    public var maxPriority = 255
    public var deduplicationField: String?
    public var deduplicationWindow = 300_000
    /// Delay of every message.
    public var delay = 0

    public init() {}

    /// Pause before the attempt that follows the `attempt`-th one (from 1): `base`, doubled each time (or not), never above
    /// `backoffMaximum`, then up to `jitter` of it more. `random` is from 0 up to 1. No attempt count overflows.
    public func pause(after attempt: Int, base: Int, random: Double) -> Int {
        var pause = min(base, backoffMaximum)
        if backoff == .exponential {
            let doublings = Swift.max(0, attempt - 1)
            pause = doublings >= 40 || pause > backoffMaximum >> doublings ? (base == 0 ? 0 : backoffMaximum) : pause << doublings
        }
        return pause + Int(Double(pause) * jitter * random)
    }

    /// The longest delay that is taken: 365 days.
    public static let maximumDelay = 365 * 86_400_000
}
