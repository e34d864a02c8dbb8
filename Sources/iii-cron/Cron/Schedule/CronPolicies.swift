/// What happens to a tick whose job is still running.
public enum ConcurrencyPolicy: String, Sendable, CaseIterable {
    /// The tick is skipped.
    case forbid
    /// Both run.
    case allow
    /// The running one is abandoned: its result is ignored.
    case replace
    /// One tick waits for the end of the run; further ones are skipped.
    case queueOne = "queue_one"
}

/// What happens to ticks that nobody was there to fire.
public enum CatchUpPolicy: String, Sendable, CaseIterable {
    case none
    /// The newest of them runs once.
    case last
    /// The newest `catch_up_limit` run in ascending order, one after the other.
    case all
}

/// What happens to a tick that the lock store cannot be asked about.
public enum LockErrorPolicy: String, Sendable, CaseIterable { case skip, run }

/// What happens to a tick whose claimant died between claim and end.
public enum LostClaimPolicy: String, Sendable, CaseIterable { case skip, retry }

/// What a trigger's config says besides the schedule (docs/reference/cron.md#the-trigger).
public struct CronTriggerOptions: Sendable, Equatable {
    public var concurrency = ConcurrencyPolicy.forbid
    public var catchUp = CatchUpPolicy.none
    public var catchUpLimit = 100
    /// Milliseconds, as all times here.
    public var catchUpWindow = 86_400_000
    public var startingDeadline: Int?
    /// nil: as the worker's settings say; 0: none.
    public var timeout: Int?
    public var jitter = 0
    public var key: String?
    public var isSingleton = false
    public var startAt: Int?
    public var endAt: Int?
    public var maximumRuns: Int?
    public var isPaused = false
    public var onLockError = LockErrorPolicy.skip
    public var onLostClaim = LostClaimPolicy.skip

    public init() {}
}
