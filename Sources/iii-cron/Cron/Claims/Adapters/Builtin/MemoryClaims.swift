import IIITelemetry

/// The lock store of `store_method: in_memory`: a restart forgets every claim.
actor MemoryClaims: FireClaim {
    private var claims: [ClaimTable.Key: ClaimTable.Claim] = [:]
    private var runs: [String: Int] = [:]
    private var paused: [String: Bool] = [:]
    private var fence = 0
    private var sizeAtNextSweep = 1_024

    nonisolated var lease: Int? { nil }

    func recover() -> [HeldClaim] { [] }

    func claim(_ request: ClaimRequest) -> ClaimOutcome {
        let now = WallClock.milliseconds()
        let key = ClaimTable.Key(identity: request.identity, ordinal: request.ordinal, tick: request.tick)
        let lane = "\(request.identity)#\(request.ordinal)"
        let decision = ClaimTable.decide(
            request, found: claims[key], runs: runs[lane] ?? 0, pause: paused[request.identity], nextFence: fence + 1, now: now)
        switch decision {
        case .answer(let outcome): return outcome
        case .claim(let claim, let outcome):
            fence += 1
            claims[key] = claim
            if request.maximumRuns != nil, request.intent == .run, claim.attempt == 1 { runs[lane, default: 0] += 1 }
            sweep(now)
            return outcome
        }
    }

    private func sweep(_ now: Int) {
        guard claims.count >= sizeAtNextSweep else { return }
        claims = claims.filter { $0.value.expires > now }
        sizeAtNextSweep = max(1_024, claims.count * 2)
    }

    func renew(_ claims: [HeldClaim]) -> [String] { [] }

    func finish(_ claim: HeldClaim) {
        let key = ClaimTable.Key(identity: claim.identity, ordinal: claim.ordinal, tick: claim.tick)
        if claims[key]?.owner == claim.owner { claims[key]?.isOpen = false }
    }

    func setPaused(_ identity: String, _ isPaused: Bool?) { paused[identity] = isPaused }
    func pauses() -> [String: Bool] { paused }
    func close() {}
}
