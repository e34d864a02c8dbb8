/// The claims of one process, as a value: the rules of the embedded lock store.
///
/// Nobody else can have the store, so there are no leases: what this process runs it knows by itself, and what an earlier one ran has ended
/// with it.
struct ClaimTable {
    struct Key: Hashable {
        let identity: String
        let ordinal: Int
        let tick: Int
    }

    struct Claim: Equatable {
        var owner: String
        /// Neither finished nor skipped.
        var isOpen: Bool
        var attempt: Int
        var fence: Int
        /// Milliseconds since the epoch.
        var expires: Int
    }

    /// What has to change in the store.
    enum Decision: Equatable {
        case answer(ClaimOutcome)
        /// Write the claim, count a run where the trigger limits them, then answer.
        case claim(Claim, ClaimOutcome)
    }

    /// What follows from a request, given the claim that is there, how often the job has run, and what was said by hand about pausing.
    static func decide(_ request: ClaimRequest, found: Claim?, runs: Int, pause: Bool?, nextFence: Int, now: Int) -> Decision {
        if let found, found.expires > now {
            if found.owner == request.owner {
                return .answer(found.isOpen || request.intent == .skip ? .granted(fence: found.fence, attempt: found.attempt) : .overlaps)
            }
            guard found.isOpen, request.takesOverLost else { return .answer(.taken(isOpen: found.isOpen)) }
            let claim = Claim(
                owner: request.owner, isOpen: true, attempt: found.attempt + 1, fence: nextFence, expires: now + request.timeToLive)
            return .claim(claim, .granted(fence: nextFence, attempt: claim.attempt))
        }
        if pause ?? request.isInitiallyPaused { return .answer(.paused) }
        if let maximum = request.maximumRuns, runs >= maximum { return .answer(.exhausted) }
        let claim = Claim(
            owner: request.owner, isOpen: request.intent == .run, attempt: 1, fence: nextFence, expires: now + request.timeToLive)
        return .claim(claim, .granted(fence: nextFence, attempt: 1))
    }
}
