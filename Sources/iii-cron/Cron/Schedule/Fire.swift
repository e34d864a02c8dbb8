/// Which lane of a job a fire runs in: equal registrations of one engine have one each, singletons share the first.
struct LaneKey: Hashable, Sendable {
    let identity: String
    let ordinal: Int
}

/// A tick (or a manual run) that is being taken care of, from the request for its claim to the end of the run.
struct Fire: Sendable {
    enum Stage: Sendable, Equatable {
        /// The lock store is being asked. Exits: waiting, running, gone.
        case claiming(ClaimRequest.Intent)
        /// Claimed; the run before it has not ended (`queue_one`). Exits: running, gone.
        case waiting
        /// The function is being called. Exit: gone.
        case running
    }

    let id: Int
    let trigger: CronTrigger
    let lane: LaneKey
    let kind: RunRecord.Kind
    /// Epoch seconds.
    let tick: Int
    var stage: Stage
    var attempt = 1
    /// Of the claim; nil for a run without one.
    var fence: Int?
    /// Milliseconds since the epoch; 0 before it runs.
    var started = 0
    /// A claim that its owner has left is asked for.
    var takesOverLost = false

    /// The lane was busy when it was claimed (`queue_one`): the job's lease is another run's until this one starts.
    var isQueued = false

    /// A run of a job's lane keeps others of it away; what catches up, or may overlap, or was asked for by hand does not.
    var lease: ClaimRequest.Lease {
        guard kind == .tick else { return .tick }
        switch trigger.options.concurrency {
        case .forbid: return .exclusive
        case .allow: return .tick
        case .replace: return .takeover
        case .queueOne: return isQueued ? (stage == .running ? .takeover : .tick) : .deferring
        }
    }
}

/// Why a tick was not run.
enum SkipReason: String, Sendable, CaseIterable {
    /// Another instance, or an equal registration, has it.
    case claimed
    /// The run before it has not ended.
    case overlap
    case paused
    /// Its time was past by more than it may be late.
    case missed
    /// The lock store did not answer.
    case lockError = "lock_error"
    /// `max_runs` is reached.
    case exhausted
    /// The trigger was taken back meanwhile.
    case unregistered

    /// Whether the history has a row for it: what somebody may look for.
    var isRecorded: Bool { [.overlap, .missed, .lockError].contains(self) }
}

/// What the shell has to do, in this order.
enum CronEffect: Sendable {
    /// Ask the lock store; then `claimed` or `claimFailed`.
    case claim(Fire)
    /// Call the function; then `ended`. The lease of one that waited (`isQueued`) is asked for once more.
    case call(Fire)
    /// A run has ended, in whatever way: for history, metrics, and whoever waits for it.
    case ended(Fire, RunStatus, error: String?)
    /// Its lease ends.
    case release(Fire)
    case skipped(CronTrigger, kind: RunRecord.Kind, tick: Int, SkipReason, count: Int)
    case remember(String, JobMemory?)
    /// An earlier process has left this claim. Unless it is retried, it is closed.
    case lost(CronTrigger?, HeldClaim, isRetried: Bool)
}
