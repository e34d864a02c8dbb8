/// How a run ended, or that it has not.
public enum RunStatus: String, Sendable, CaseIterable {
    case running
    case ok
    /// The function failed, does not exist, or its worker went away.
    case error
    /// No answer within `timeout_ms`.
    case timedOut = "timed_out"
    /// The condition answered false: the function was not called.
    case conditionFalse = "condition_false"
    case conditionFailed = "condition_failed"
    /// `concurrency_policy: replace`: a later tick took its place.
    case replaced
    /// Its process died, or its lease ended, before it did: nobody knows what became of it.
    case lost
    /// The tick was not run; `error` says why.
    case skipped
}

/// One run, or one tick that was not run, as the history has it.
public struct RunRecord: Sendable, Equatable {
    /// Why it ran: by the clock, for a tick that was missed, or by `cron::run`.
    public enum Kind: String, Sendable, CaseIterable {
        case tick
        case catchUp = "catch_up"
        case manual
    }

    /// Unique to the run.
    public var owner: String
    /// The trigger that fired.
    public var triggerID: String
    /// Of the job; the same on every instance.
    public var identity: String
    /// What was called.
    public var functionID: String
    /// What made it run.
    public var kind: Kind
    /// Epoch seconds.
    public var tick: Int
    /// 1 for the first.
    public var attempt: Int
    /// Milliseconds since the epoch.
    public var started: Int
    /// The same; nil while it runs.
    public var ended: Int?
    /// How it ended.
    public var status: RunStatus
    /// A code, or the reason of a skip; never a payload.
    public var error: String?
}

/// What is known of a job from before: for the ticks that nobody was there to fire.
public struct JobMemory: Sendable, Equatable {
    /// Schedule and zone it belongs to: another schedule owes nothing from before.
    public var signature: String
    /// Milliseconds since the epoch: the first registration of this schedule under this identity.
    public var since: Int
    /// Epoch seconds: every tick up to here was decided about.
    public var through: Int
}

/// Which runs of the history are wanted; the newest come first.
public struct HistoryQuery: Sendable {
    public var triggerID: String?
    public var identity: String?
    public var functionID: String?
    public var status: RunStatus?
    public var limit = 100

    func matches(_ run: RunRecord) -> Bool {
        (triggerID == nil || run.triggerID == triggerID) && (identity == nil || run.identity == identity)
            && (functionID == nil || run.functionID == functionID) && (status == nil || run.status == status)
    }
}

/// How much history is kept.
struct HistoryLimits: Sendable, Equatable {
    var maximumRuns = 100_000
    /// Milliseconds.
    var maximumAge = 7 * 86_400_000
}

/// Where history and memories are kept. Writes take effect in the order in which they are made, and nobody waits for them; a journal in
/// trouble logs it and never holds up a run.
protocol RunJournal: AnyObject, Sendable {
    /// What the processes before left: memories, and how many runs were under way, which are `lost` now.
    func load(now: Int) async throws -> (memories: [String: JobMemory], lost: Int)
    func remember(_ identity: String, _ memory: JobMemory?)
    func began(_ run: RunRecord)
    /// `run` as it has ended.
    func ended(_ run: RunRecord)
    /// A run that an earlier process has left, unless its row is there.
    func lost(_ run: RunRecord)
    func history(_ query: HistoryQuery) async throws -> [RunRecord]
    func setLimits(_ limits: HistoryLimits)
    /// Returns when everything before is stored.
    func flush() async
}
