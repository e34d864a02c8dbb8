import Synchronization

/// Claims of runs that are over, which the lock store has not heard yet: said again until it has, since an open claim counts as lost.
///
/// Bounded: beyond, the oldest are left to their leases, which end by themselves.
final class UnfinishedClaims: Sendable {
    private struct State {
        var waiting: [HeldClaim] = []
        var isTrying = false
    }

    private let claims: any FireClaim
    private let state = Mutex(State())

    private static let maximum = 16_000
    private static let firstPause = Duration.milliseconds(200)
    private static let longestPause = Duration.seconds(5)

    init(_ claims: any FireClaim) { self.claims = claims }

    func add(_ claim: HeldClaim) {
        let isFirst = state.withLock { state in
            // In pieces, so that a full list does not move with every claim.
            if state.waiting.count >= Self.maximum { state.waiting.removeFirst(Self.maximum / 8) }
            state.waiting.append(claim)
            defer { state.isTrying = true }
            return !state.isTrying
        }
        if isFirst { Task { await work() } }
    }

    private func work() async {
        var pause = Self.firstPause
        while true {
            try? await Task.sleep(for: pause)
            let batch = state.withLock { state in
                defer { state.waiting = [] }
                return state.waiting
            }
            let heard = await finish(batch)
            let rest = batch.dropFirst(heard)
            let isDone = state.withLock { state in
                state.waiting = rest + state.waiting
                state.isTrying = !state.waiting.isEmpty
                return state.waiting.isEmpty
            }
            if isDone { return }
            pause = heard > 0 ? Self.firstPause : min(pause * 2, Self.longestPause)
        }
    }

    /// How many of them, from the first on, the lock store has heard.
    private func finish(_ batch: [HeldClaim]) async -> Int {
        for (index, claim) in batch.enumerated() where (try? await claims.finish(claim)) == nil { return index }
        return batch.count
    }
}
