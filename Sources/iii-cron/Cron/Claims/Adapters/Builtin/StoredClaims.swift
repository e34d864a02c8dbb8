import IIIStorage
import IIITelemetry

/// The lock store in the embedded store: claims survive `kill -9` and, with `durability: full`, loss of power.
final class StoredClaims: FireClaim {
    private let store: Store

    init(store: Store) { self.store = store }

    var lease: Int? { nil }

    /// Claims that are thrown out in one go, so that no write takes long.
    private static let sweepLimit = 200

    private static let find: SQL =
        "SELECT owner, open, attempt, fence, expires FROM claims WHERE identity = ? AND ordinal = ? AND tick = ?"
    private static let put: SQL = """
        INSERT OR REPLACE INTO claims(identity, ordinal, tick, owner, open, attempt, fence, expires) VALUES(?, ?, ?, ?, ?, ?, ?, ?)
        """
    private static let close: SQL = "UPDATE claims SET open = 0 WHERE identity = ? AND ordinal = ? AND tick = ? AND owner = ?"
    private static let sweep: SQL = """
        DELETE FROM claims WHERE rowid IN (SELECT rowid FROM claims WHERE expires <= ? ORDER BY expires LIMIT ?)
        """
    private static let left: SQL = "SELECT identity, ordinal, tick, owner FROM claims WHERE open = 1 ORDER BY tick, identity, ordinal"
    private static let pause: SQL = "SELECT paused FROM pauses WHERE identity = ?"
    private static let allPauses: SQL = "SELECT identity, paused FROM pauses"
    private static let putPause: SQL = "INSERT OR REPLACE INTO pauses(identity, paused) VALUES(?, ?)"
    private static let dropPause: SQL = "DELETE FROM pauses WHERE identity = ?"
    private static let runs: SQL = "SELECT runs FROM run_counts WHERE identity = ? AND ordinal = ?"
    private static let countRun: SQL = """
        INSERT INTO run_counts(identity, ordinal, runs, asked) VALUES(?, ?, 1, ?)
        ON CONFLICT(identity, ordinal) DO UPDATE SET runs = runs + 1, asked = excluded.asked
        """
    private static let stillAsked: SQL = "UPDATE run_counts SET asked = ? WHERE identity = ? AND ordinal = ?"
    private static let sweepCounts: SQL = """
        DELETE FROM run_counts WHERE (identity, ordinal) IN (SELECT identity, ordinal FROM run_counts WHERE asked < ? LIMIT ?)
        """
    /// What nobody has asked about for so long is forgotten: 400 days, in milliseconds.
    private static let countAge = 34_560_000_000
    private static let fence: SQL = "UPDATE counters SET value = value + 1 WHERE name = 'fence' RETURNING value"

    func recover() async throws -> [HeldClaim] {
        try await store.read { snapshot in
            var found: [HeldClaim] = []
            try snapshot.query(Self.left) { _ in
            } _: { row in
                found.append(
                    HeldClaim(identity: row.text(0), ordinal: row.int(1), tick: row.int(2), owner: row.text(3), lease: .tick))
            }
            return found
        }
    }

    func claim(_ request: ClaimRequest) async throws -> ClaimOutcome {
        let now = WallClock.milliseconds()
        return try await store.write { transaction in
            let found = try transaction.first(Self.find) {
                $0.text(request.identity)
                $0.int(request.ordinal)
                $0.int(request.tick)
            } _: { row in
                ClaimTable.Claim(
                    owner: row.text(0), isOpen: row.bool(1), attempt: row.int(2), fence: row.int(3), expires: row.int(4))
            }
            let pause = try transaction.first(Self.pause) {
                $0.text(request.identity)
            } _: {
                $0.bool(0)
            }
            let runs =
                request.maximumRuns == nil
                ? nil
                : try transaction.first(Self.runs) {
                    $0.text(request.identity)
                    $0.int(request.ordinal)
                } _: {
                    $0.int(0)
                }
            let preview = ClaimTable.decide(request, found: found, runs: runs ?? 0, pause: pause, nextFence: 0, now: now)
            if case .answer(let outcome) = preview {
                if outcome == .exhausted {
                    try transaction.run(Self.stillAsked) {
                        $0.int(now)
                        $0.text(request.identity)
                        $0.int(request.ordinal)
                    }
                }
                return outcome
            }
            let fence =
                try transaction.first(Self.fence) { _ in
                } _: {
                    $0.int(0)
                } ?? 0
            let decision = ClaimTable.decide(request, found: found, runs: runs ?? 0, pause: pause, nextFence: fence, now: now)
            guard case .claim(let claim, let outcome) = decision else { return .taken(isOpen: false) }
            try transaction.run(Self.put) {
                $0.text(request.identity)
                $0.int(request.ordinal)
                $0.int(request.tick)
                $0.text(claim.owner)
                $0.bool(claim.isOpen)
                $0.int(claim.attempt)
                $0.int(claim.fence)
                $0.int(claim.expires)
            }
            if request.maximumRuns != nil, request.intent == .run, claim.attempt == 1 {
                try transaction.run(Self.countRun) {
                    $0.text(request.identity)
                    $0.int(request.ordinal)
                    $0.int(now)
                }
            }
            if claim.fence % 64 == 0 {
                try transaction.run(Self.sweep) {
                    $0.int(now)
                    $0.int(Self.sweepLimit)
                }
                try transaction.run(Self.sweepCounts) {
                    $0.int(now - Self.countAge)
                    $0.int(Self.sweepLimit)
                }
            }
            return outcome
        }
    }

    func renew(_ claims: [HeldClaim]) async throws -> [String] { [] }

    func finish(_ claim: HeldClaim) async throws {
        try await store.write { transaction in
            try transaction.run(Self.close) {
                $0.text(claim.identity)
                $0.int(claim.ordinal)
                $0.int(claim.tick)
                $0.text(claim.owner)
            }
        }
    }

    func setPaused(_ identity: String, _ isPaused: Bool?) async throws {
        try await store.write { transaction in
            guard let isPaused else { return try transaction.run(Self.dropPause) { $0.text(identity) } }
            try transaction.run(Self.putPause) {
                $0.text(identity)
                $0.bool(isPaused)
            }
        }
    }

    func pauses() async throws -> [String: Bool] {
        try await store.read { snapshot in
            var found: [String: Bool] = [:]
            try snapshot.query(Self.allPauses) { _ in
            } _: { row in
                found[row.text(0)] = row.bool(1)
            }
            return found
        }
    }

    /// The store belongs to the worker.
    func close() async {}
}
