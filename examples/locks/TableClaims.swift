import IIICron

/// A lock store of one's own, for one process: a table, and what `FireClaimContract` asks for. For several instances the table lies where
/// all of them reach it, and runs have leases.
public actor TableClaims: FireClaim {
    private struct Claim {
        var owner: String
        var isOpen: Bool
        var attempt: Int
        var fence: Int
        var end: ContinuousClock.Instant
    }

    private var claims: [String: Claim] = [:]
    private var sizeAtNextSweep = 1_024
    private var runs: [String: Int] = [:]
    private var paused: [String: Bool] = [:]
    private var fence = 0

    public init() {}

    public nonisolated var lease: Int? { nil }
    public func recover() -> [HeldClaim] { [] }
    public func renew(_ claims: [HeldClaim]) -> [String] { [] }
    public func setPaused(_ identity: String, _ isPaused: Bool?) { paused[identity] = isPaused }
    public func pauses() -> [String: Bool] { paused }
    public func close() {}

    public func claim(_ request: ClaimRequest) -> ClaimOutcome {
        let now = ContinuousClock.now
        let (job, tick) = ("\(request.identity)#\(request.ordinal)", "\(request.identity)#\(request.ordinal)@\(request.tick)")
        let found = claims[tick].flatMap { $0.end > now ? $0 : nil }
        if let found {
            if found.owner == request.owner { return .granted(fence: found.fence, attempt: found.attempt) }
            guard found.isOpen, request.takesOverLost else { return .taken(isOpen: found.isOpen) }
        } else {
            if paused[request.identity] ?? request.isInitiallyPaused { return .paused }
            if let maximum = request.maximumRuns, runs[job, default: 0] >= maximum { return .exhausted }
            if request.maximumRuns != nil, request.intent == .run { runs[job, default: 0] += 1 }
        }
        fence += 1
        let claim = Claim(
            owner: request.owner, isOpen: request.intent == .run, attempt: (found?.attempt ?? 0) + 1, fence: fence,
            end: now + .milliseconds(request.timeToLive))
        claims[tick] = claim
        if claims.count > sizeAtNextSweep {
            claims = claims.filter { $0.value.end > now }
            sizeAtNextSweep = max(1_024, 2 * claims.count)
        }
        return .granted(fence: claim.fence, attempt: claim.attempt)
    }

    public func finish(_ claim: HeldClaim) {
        let tick = "\(claim.identity)#\(claim.ordinal)@\(claim.tick)"
        if claims[tick]?.owner == claim.owner { claims[tick]?.isOpen = false }
    }
}
