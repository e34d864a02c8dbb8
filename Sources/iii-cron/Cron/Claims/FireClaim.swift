import IIIStorage
import IIIWorker
import Logging
import NIOCore

/// The lock store of cron: who may fire a tick.
///
/// A claim is made once per (job, ordinal, tick), by whoever asks first, and stays for its time to live whatever becomes of the run: that is
/// what makes a tick fire at most once. An error must never be taken for a claim: throw, and cron asks again with the
/// same `owner`, for whom a claim it has already made is granted again.
///
/// Called from any thread, several calls at a time. `FireClaimContract` (module `IIICronContract`) holds the rules as a test suite.
public protocol FireClaim: AnyObject, Sendable {
    /// Milliseconds after which the lease of a run ends unless it is renewed; nil for a store that knows by itself which runs live.
    var lease: Int? { get }
    /// Called once, before anything else: what an earlier process of this instance left open, which is now nobody's. Its leases end here;
    /// the claims stay open until they are taken over (`takesOverLost`) or `finish`ed.
    func recover() async throws -> [HeldClaim]
    /// Asked again by the owner of an open claim, it grants it again, and sees to the lease that is asked for now.
    func claim(_ request: ClaimRequest) async throws -> ClaimOutcome
    /// Prolongs the leases of runs under way. One that has ended without anybody taking it is its run's again, unless others take leases over
    /// (`ClaimRequest.Lease.takeover`). Answers the claims, by owner, that have lost theirs.
    func renew(_ claims: [HeldClaim]) async throws -> [String]
    /// The run is over: its lease ends, the claim stays.
    func finish(_ claim: HeldClaim) async throws
    /// Pauses a job everywhere, or lets it go on; `nil` forgets that either was said.
    func setPaused(_ identity: String, _ isPaused: Bool?) async throws
    /// The jobs that were paused (true) or resumed (false) by hand.
    func pauses() async throws -> [String: Bool]
    /// Gives its resources back; nothing is called afterwards.
    func close() async
}

/// A tick that somebody wants to fire.
public struct ClaimRequest: Sendable, Equatable {
    /// What the tick is claimed for.
    public enum Intent: String, Sendable {
        /// To run it.
        case run
        /// To say that it is skipped, so that no other instance fires it.
        case skip
    }

    /// What keeps a run from overlapping with others of its job.
    public enum Lease: String, Sendable {
        /// One for the whole job: while somebody has it, the tick counts as skipped.
        case exclusive
        /// One for the whole job: while somebody has it, the tick is left to whoever that is.
        case deferring
        /// One for the whole job: taken from whoever has it.
        case takeover
        /// One for this tick alone.
        case tick
    }

    /// Of the job; the same on every instance and after every reconnect.
    public var identity: String
    /// Rank among equal registrations of one engine; 0 for most.
    public var ordinal: Int
    /// Epoch seconds.
    public var tick: Int
    /// Unique to this attempt; repeated when the attempt is.
    public var owner: String
    /// Default: to run it.
    public var intent = Intent.run
    /// Of the run, if there is to be one. Default: exclusive.
    public var lease = Lease.exclusive
    /// Milliseconds for which the claim is remembered.
    public var timeToLive: Int
    /// `max_runs` of the trigger.
    public var maximumRuns: Int?
    /// The trigger says `paused`: it is, unless it was resumed by hand.
    public var isInitiallyPaused = false
    /// A claim of somebody who is gone without having finished is taken over.
    public var takesOverLost = false

    public init(identity: String, ordinal: Int, tick: Int, owner: String, timeToLive: Int) {
        self.identity = identity
        self.ordinal = ordinal
        self.tick = tick
        self.owner = owner
        self.timeToLive = timeToLive
    }
}

public enum ClaimOutcome: Sendable, Equatable {
    /// `fence` is larger than that of every claim of this job before; `attempt` is 1, or more for a claim that was taken over.
    case granted(fence: Int, attempt: Int)
    /// Somebody else has it. `isOpen`: who is not known to have finished.
    case taken(isOpen: Bool)
    /// A run of this job is under way (`Lease`).
    case overlaps
    case paused
    /// `max_runs` is reached.
    case exhausted
}

/// A claim under way.
public struct HeldClaim: Sendable, Hashable {
    public let identity: String
    public let ordinal: Int
    public let tick: Int
    public let owner: String
    public let lease: ClaimRequest.Lease

    public init(identity: String, ordinal: Int, tick: Int, owner: String, lease: ClaimRequest.Lease) {
        self.identity = identity
        self.ordinal = ordinal
        self.tick = tick
        self.owner = owner
        self.lease = lease
    }
}

/// What a lock store is given to work with.
public struct FireClaimSite: Sendable {
    /// Names this instance, the same one after every restart of it.
    public let instance: String
    /// The embedded store, with the tables of `CronStore`; nil when nothing is to be kept.
    public let store: Store?
    public let eventLoop: any EventLoop
    public let logger: Logger

    public init(instance: String, store: Store?, eventLoop: any EventLoop, logger: Logger) {
        self.instance = instance
        self.store = store
        self.eventLoop = eventLoop
        self.logger = logger
    }
}

/// Makes a lock store at the start of `iii-cron`. Throws what keeps it from working.
public typealias FireClaimMaker = @Sendable (FireClaimSite) async throws -> any FireClaim
