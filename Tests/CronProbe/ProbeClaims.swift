import IIICron

/// A lock store of somebody else's, as docs/extending.md has it: the least that keeps the rules for one process.
actor ProbeClaims: FireClaim {
    nonisolated var lease: Int? { nil }
    private var owners: [String: String] = [:]
    private var fence = 0
    private var paused: [String: Bool] = [:]

    func recover() -> [HeldClaim] { [] }

    func claim(_ request: ClaimRequest) -> ClaimOutcome {
        if paused[request.identity] ?? request.isInitiallyPaused { return .paused }
        let key = "\(request.identity)/\(request.ordinal)/\(request.tick)"
        guard owners[key, default: request.owner] == request.owner else { return .taken(isOpen: true) }
        owners[key] = request.owner
        fence += 1
        return .granted(fence: fence, attempt: 1)
    }

    func renew(_ claims: [HeldClaim]) -> [String] { [] }
    func finish(_ claim: HeldClaim) {}
    func setPaused(_ identity: String, _ isPaused: Bool?) { paused[identity] = isPaused }
    func pauses() -> [String: Bool] { paused }
    func close() {}
}
