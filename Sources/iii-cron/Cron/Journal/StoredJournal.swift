import IIIProtocol
import IIIStorage
import IIITelemetry
import Logging
import Synchronization

/// The journal in the embedded store. Every row has a checksum; a damaged one goes to quarantine and is never served.
final class StoredJournal: RunJournal {
    private struct State {
        var limits: HistoryLimits
        var writes = 0
        var isInTrouble = false
        /// Runs that have begun and are not written: of a short one there is only its end to write.
        var begun: [String: RunRecord] = [:]
        var isFlushDue = false
    }

    private let store: Store
    private let logger: Logger
    private let state: Mutex<State>

    /// Writes between two rounds of throwing out what is too old or too much, and rows per round.
    private static let sweepEvery = 256
    private static let sweepLimit = 1_024
    /// How long a run may go on before its beginning is written. Until then its claim is what a crash leaves of it.
    private static let beginningDelay = Duration.milliseconds(100)
    private static let maximumBegun = 512
    /// Memories of jobs that nobody has registered for so long are dropped.
    private static let memoryAge = 400 * 86_400

    init(store: Store, limits: HistoryLimits, logger: Logger) {
        self.store = store
        self.logger = logger
        state = Mutex(State(limits: limits))
    }

    private static let columns = "owner, trigger_id, identity, function_id, kind, tick, attempt, started, ended, status, error, crc"
    private static let put = SQL(
        """
        INSERT INTO runs(\(columns)) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT(owner) DO UPDATE SET ended = excluded.ended, status = excluded.status, error = excluded.error, started = excluded.started,
        attempt = excluded.attempt, crc = excluded.crc
        """)
    private static let putNew = SQL("INSERT OR IGNORE INTO runs(\(columns)) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
    private static let open = SQL("SELECT \(columns), id FROM runs WHERE ended IS NULL")
    private static let putMemory: SQL = """
        INSERT OR REPLACE INTO memories(identity, signature, since, through, crc) VALUES(?, ?, ?, ?, ?)
        """
    private static let dropMemory: SQL = "DELETE FROM memories WHERE identity = ?"
    private static let memories: SQL = "SELECT identity, signature, since, through, crc, rowid FROM memories"
    private static let sweepAge: SQL = "DELETE FROM runs WHERE id IN (SELECT id FROM runs WHERE started < ? ORDER BY id LIMIT ?)"
    private static let sweepCount: SQL = """
        DELETE FROM runs WHERE id IN (SELECT id FROM runs WHERE id <= (SELECT max(id) FROM runs) - ? ORDER BY id LIMIT ?)
        """
    private static let sweepMemories: SQL = "DELETE FROM memories WHERE through < ?"

    func load(now: Int) async throws -> (memories: [String: JobMemory], lost: Int) {
        try await store.write { transaction in
            var damaged: [Int] = []
            var memories: [String: JobMemory] = [:]
            try transaction.run(Self.sweepMemories) { $0.int(now / 1_000 - Self.memoryAge) }
            try transaction.query(Self.memories) { _ in
            } _: { row in
                guard row.isIntact(columns: 0..<4) else { return damaged.append(row.int(5)) }
                memories[row.text(0)] = JobMemory(signature: row.text(1), since: row.int(2), through: row.int(3))
            }
            for row in damaged { try transaction.quarantine(table: "memories", row: row, reason: "checksum") }
            damaged = []
            var left: [RunRecord] = []
            try transaction.query(Self.open) { _ in
            } _: { row in
                guard let run = Self.run(row) else { return damaged.append(row.int(12)) }
                left.append(run)
            }
            for row in damaged { try transaction.quarantine(table: "runs", row: row, reason: "checksum") }
            for var run in left {
                run.status = .lost
                run.ended = now
                try transaction.run(Self.put) { Self.bind(run, to: &$0) }
            }
            return (memories, left.count)
        }
    }

    func remember(_ identity: String, _ memory: JobMemory?) {
        write { transaction in
            guard let memory else { return try transaction.run(Self.dropMemory) { $0.text(identity) } }
            try transaction.run(Self.putMemory) {
                $0.text(identity)
                $0.text(memory.signature)
                $0.int(memory.since)
                $0.int(memory.through)
                $0.checksum()
            }
        }
    }

    func began(_ run: RunRecord) {
        let (isFirst, isFull) = state.withLock { state in
            state.begun[run.owner] = run
            defer { state.isFlushDue = true }
            return (!state.isFlushDue, state.begun.count >= Self.maximumBegun)
        }
        if isFull { return writeBegun() }
        guard isFirst else { return }
        Task {
            try? await Task.sleep(for: Self.beginningDelay)
            state.withLock { $0.isFlushDue = false }
            writeBegun()
        }
    }

    private func writeBegun() {
        let runs = state.withLock { state in
            defer { state.begun = [:] }
            return state.begun.values.sorted { $0.started < $1.started }
        }
        for run in runs { record(run) }
    }

    func ended(_ run: RunRecord) {
        state.withLock { _ = $0.begun.removeValue(forKey: run.owner) }
        record(run)
    }

    func lost(_ run: RunRecord) {
        write { transaction in try transaction.run(Self.putNew) { Self.bind(run, to: &$0) } }
    }

    private func record(_ run: RunRecord) {
        let limits = state.withLock { state -> HistoryLimits? in
            state.writes += 1
            return state.writes % Self.sweepEvery == 0 ? state.limits : nil
        }
        write { transaction in
            try transaction.run(Self.put) { Self.bind(run, to: &$0) }
            guard let limits else { return }
            try transaction.run(Self.sweepAge) {
                $0.int(run.started - limits.maximumAge)
                $0.int(Self.sweepLimit)
            }
            try transaction.run(Self.sweepCount) {
                $0.int(limits.maximumRuns)
                $0.int(Self.sweepLimit)
            }
        }
    }

    private func write(_ work: @escaping @Sendable (borrowing Transaction) throws -> Void) {
        store.write(work) { [self] result in
            let failure: String? = if case .failure(let error) = result { "\(error)" } else { nil }
            // Once per trouble, not once per run.
            let wasInTrouble = state.withLock { state in
                defer { state.isInTrouble = failure != nil }
                return state.isInTrouble
            }
            if let failure, !wasInTrouble {
                logger.error(.cronJournalFailed, "the history of runs cannot be written; runs go on", metadata: ["reason": "\(failure)"])
            }
        }
    }

    func history(_ query: HistoryQuery) async throws -> [RunRecord] {
        // What was written before the question belongs to the answer.
        await flush()
        let oldest = WallClock.milliseconds() - state.withLock { $0.limits.maximumAge }
        var conditions = ["started >= ?"]
        if query.triggerID != nil { conditions.append("trigger_id = ?") }
        if query.identity != nil { conditions.append("identity = ?") }
        if query.functionID != nil { conditions.append("function_id = ?") }
        if query.status != nil { conditions.append("status = ?") }
        // One object per shape, as connections remember statements by it.
        let sql = Self.queries.withLock { queries in
            let text = "SELECT \(Self.columns), id FROM runs WHERE \(conditions.joined(separator: " AND ")) ORDER BY id DESC LIMIT ?"
            let known = queries[text] ?? SQL(text)
            queries[text] = known
            return known
        }
        let (runs, damaged) = try await store.read { snapshot in
            var runs: [RunRecord] = []
            var damaged: [Int] = []
            try snapshot.query(sql) {
                $0.int(oldest)
                for text in [query.triggerID, query.identity, query.functionID, query.status?.rawValue] {
                    if let text { $0.text(text) }
                }
                $0.int(query.limit)
            } _: { row in
                if let run = Self.run(row) { runs.append(run) } else { damaged.append(row.int(12)) }
            }
            return (runs, damaged)
        }
        if !damaged.isEmpty {
            write { transaction in
                for row in damaged { try transaction.quarantine(table: "runs", row: row, reason: "checksum") }
            }
        }
        return runs
    }

    private static let queries = Mutex<[String: SQL]>([:])

    func setLimits(_ limits: HistoryLimits) { state.withLock { $0.limits = limits } }

    func flush() async {
        writeBegun()
        _ = try? await store.write { _ in }
    }

    // MARK: Rows

    private static func bind(_ run: RunRecord, to bindings: inout Bindings) {
        bindings.text(run.owner)
        bindings.text(run.triggerID)
        bindings.text(run.identity)
        bindings.text(run.functionID)
        bindings.text(run.kind.rawValue)
        bindings.int(run.tick)
        bindings.int(run.attempt)
        bindings.int(run.started)
        bindings.int(run.ended)
        bindings.text(run.status.rawValue)
        bindings.text(run.error)
        bindings.checksum()
    }

    /// nil for a row that is not what was written.
    private static func run(_ row: borrowing Row) -> RunRecord? {
        guard row.isIntact(columns: 0..<11), let kind = RunRecord.Kind(rawValue: row.text(4)), let status = RunStatus(rawValue: row.text(9))
        else { return nil }
        return RunRecord(
            owner: row.text(0), triggerID: row.text(1), identity: row.text(2), functionID: row.text(3), kind: kind, tick: row.int(5),
            attempt: row.int(6), started: row.int(7), ended: row.optionalInt(8), status: status, error: row.optionalText(10))
    }
}
