import CSQLite
import Glibc
import IIITelemetry
import Logging

/// The one thread that writes: takes everything that has arrived while the last transaction was being synced, commits it as one, answers.
final class Writer: @unchecked Sendable {
    struct Mailbox {
        var waiting: [PendingWrite] = []
        /// Reads that must see what has been answered and not committed (`Durability.relaxed`).
        var readsAfterCommit: [PendingRead] = []
        /// Waiting and being committed.
        var count = 0
        var bytes = 0
        var isIdle = false
        var isClosing = false
        /// Writes were answered that are not committed yet (`Durability.relaxed`).
        var hasUncommitted = false
        var numbers = StoreNumbers()
    }

    /// Most writes of one transaction; more would let the first of them wait too long.
    private static let maximumBatch = 512
    private static let maximumBatchBytes = 8 << 20
    /// Frames of the log (4 KiB each) at which it is brought into the database, and at which readers are not waited for any longer.
    private static let checkpointFrames = 4000
    private static let restartFrames = 16_384
    private static let relaxedInterval = Duration.milliseconds(50)
    private static let relaxedMaximum = 4096
    private static let idleInterval = Duration.seconds(1)
    private static let pagesPerVacuum = 256

    let mailbox = Monitor(Mailbox())
    private let connection: SQLiteConnection
    private let batches: BatchCommit
    private let settings: StoreSettings
    private let logger: Logger
    private let runReads: @Sendable ([PendingRead]) -> Void
    private var watermark: CommitWatermark
    /// Frames in the log, told by SQLite after every commit.
    private let frames: UnsafeMutablePointer<Int32>
    private var nextCheckpoint = Writer.checkpointFrames
    private var previousFrames = 0
    private var mayHaveFreePages = true
    private var isInTrouble = false
    private var uncommitted: [PendingWrite] = []
    private var uncommittedSince = ContinuousClock.now

    init(
        connection: SQLiteConnection, watermark: CommitWatermark, settings: StoreSettings, logger: Logger,
        runReads: @escaping @Sendable ([PendingRead]) -> Void
    ) {
        self.connection = connection
        self.watermark = watermark
        self.settings = settings
        self.logger = logger
        self.runReads = runReads
        batches = BatchCommit(connection: connection, quotaPages: settings.quota.map { max(1, $0 / 4096) })
        frames = .allocate(capacity: 1)
        frames.initialize(to: 0)
        sqlite3_wal_hook(
            connection.pointer,
            { context, _, _, count in
                context?.assumingMemoryBound(to: Int32.self).pointee = count
                return SQLITE_OK
            }, frames)
        countQuarantine()
    }

    deinit { frames.deallocate() }

    // MARK: From any thread

    /// nil, or why the write was not taken.
    func submit(_ write: PendingWrite) -> StorageError? {
        let (refusal, wakes) = mailbox.withLock { box -> (StorageError?, Bool) in
            if box.isClosing { return (StorageError(.closed, "the store '\(connection.path)' is closed"), false) }
            guard box.count < settings.maximumPendingWrites, box.bytes + write.cost <= settings.maximumPendingBytes || box.count == 0 else {
                box.numbers.refusedWrites += 1
                return (
                    StorageError(.overloaded, "\(box.count) writes of \(box.bytes) bytes wait for the disk already; try again later"), false
                )
            }
            box.waiting.append(write)
            box.count += 1
            box.bytes += write.cost
            return (nil, box.isIdle)
        }
        if wakes { mailbox.wakeAll() }
        return refusal
    }

    /// Whether `read` has to wait for a commit, and does.
    func holds(_ read: PendingRead) -> Bool {
        guard settings.durability == .relaxed else { return false }
        let isHeld = mailbox.withLock { box in
            guard box.hasUncommitted, !box.isClosing else { return false }
            box.readsAfterCommit.append(read)
            return true
        }
        if isHeld { mailbox.wakeAll() }
        return isHeld
    }

    func beginClosing() {
        mailbox.withLock { $0.isClosing = true }
        mailbox.wakeAll()
    }

    // MARK: The thread

    private enum Turn {
        case writes([PendingWrite])
        case commit
        case idle
        case close
    }

    func run() {
        while true {
            switch nextTurn() {
            case .writes(let writes):
                var rest = writes[...]
                while !rest.isEmpty {
                    let batch = Self.nextBatch(&rest)
                    if settings.durability == .relaxed { runRelaxed(batch) } else { commit(batch) }
                }
            case .commit: commitRelaxed()
            case .idle: keepHouse()
            case .close: return close()
            }
        }
    }

    private func nextTurn() -> Turn {
        let timeout: Duration? =
            if !uncommitted.isEmpty {
                max(.zero, Self.relaxedInterval - uncommittedSince.duration(to: .now))
            } else if mayHaveFreePages || previousFrames > 0 {
                Self.idleInterval
            } else { nil }
        let turn = mailbox.wait(timeout: timeout) { box -> Turn? in
            box.isIdle = false
            if !box.readsAfterCommit.isEmpty { return .commit }
            if !box.waiting.isEmpty {
                defer { box.waiting = [] }
                return .writes(box.waiting)
            }
            if box.isClosing { return .close }
            box.isIdle = true
            return nil
        }
        return turn ?? (uncommitted.isEmpty ? .idle : .commit)
    }

    private static func nextBatch(_ rest: inout ArraySlice<PendingWrite>) -> ArraySlice<PendingWrite> {
        var bytes = 0
        let end = rest.prefix(maximumBatch).firstIndex { write in
            defer { bytes += write.cost }
            return bytes > maximumBatchBytes
        }
        let batch = end.map { rest[rest.startIndex..<$0] } ?? rest.prefix(maximumBatch)
        rest = rest.dropFirst(batch.count)
        return batch
    }

    private func commit(_ batch: ArraySlice<PendingWrite>) {
        batches.commit(batch)
        noteCommit()
        watchTrouble(batch)
        answer(batch, commits: 1)
        checkpointIfDue()
    }

    private func noteCommit() {
        let count = Int(frames.pointee)
        if count < previousFrames { nextCheckpoint = Self.checkpointFrames }
        previousFrames = count
        mayHaveFreePages = true
        if count > 0 { watermark.committed(frames: count) }
        if !connection.quarantined.isEmpty { countQuarantine() }
    }

    private func answer(_ batch: ArraySlice<PendingWrite>, commits: Int, isUncommitted: Bool = false) {
        let bytes = batch.reduce(0) { $0 + $1.cost }
        let failed = batch.reduce(0) { $0 + ($1.failure == nil ? 0 : 1) }
        mailbox.withLock { box in
            box.count -= batch.count
            box.bytes -= bytes
            box.numbers.commits += commits
            box.numbers.writes += batch.count - failed
            box.numbers.failedWrites += failed
            box.numbers.logFrames = previousFrames
            if isUncommitted { box.hasUncommitted = true }
        }
        var rest = batch
        while let first = rest.first {
            let same = rest.prefix { $0.executor === first.executor }
            rest = rest.dropFirst(same.count)
            guard let executor = first.executor else {
                for write in same { write.complete() }
                continue
            }
            executor.submit { for write in same { write.complete() } }
        }
    }

    /// One line when the disk begins to fail, one when it is over.
    private func watchTrouble(_ batch: ArraySlice<PendingWrite>) {
        let failure = batch.lazy.compactMap { $0.failure as? StorageError }.first {
            [.diskFull, .quotaExceeded, .ioError, .readOnly, .corrupt].contains($0.code)
        }
        guard (failure != nil) != isInTrouble else { return }
        if let failure {
            isInTrouble = true
            logger.error(
                .storeWritesFailing, "store: writes fail", metadata: ["error": "\(failure.code.rawValue)", "reason": "\(failure.message)"])
        } else if batch.contains(where: { $0.failure == nil }) {
            isInTrouble = false
            logger.notice("store: writes succeed again", metadata: ["path": "\(connection.path)"])
        }
        let trouble = isInTrouble
        mailbox.withLock { $0.numbers.isInTrouble = trouble }
    }

    // MARK: Relaxed

    private func runRelaxed(_ batch: ArraySlice<PendingWrite>) {
        do {
            if connection.isOutsideTransaction {
                try connection.beginWriting()
                uncommittedSince = .now
            }
            for write in batch {
                write.failure = nil
                try batches.runIsolated(write)
                if connection.isOutsideTransaction {
                    // SQLite gave the transaction up: what was answered out of it is done again below.
                    break
                }
            }
        } catch {
            connection.rollBack()
        }
        guard !connection.isOutsideTransaction else {
            redoUncommitted()
            return commit(batch)
        }
        uncommitted += batch.filter { $0.failure == nil }
        answer(batch, commits: 0, isUncommitted: !uncommitted.isEmpty)
        if uncommitted.count >= Self.relaxedMaximum || uncommittedSince.duration(to: .now) >= Self.relaxedInterval { commitRelaxed() }
    }

    private func commitRelaxed() {
        if !connection.isOutsideTransaction {
            do {
                try connection.commit()
                uncommitted = []
            } catch {
                connection.rollBack()
            }
        }
        redoUncommitted()
        noteCommit()
        let reads = mailbox.withLock { box in
            box.hasUncommitted = false
            box.numbers.commits += 1
            box.numbers.logFrames = previousFrames
            defer { box.readsAfterCommit = [] }
            return box.readsAfterCommit
        }
        if !reads.isEmpty { runReads(reads) }
        checkpointIfDue()
    }

    /// Writes that were answered and whose transaction is lost are tried once more; what fails again is lost, counted and said.
    private func redoUncommitted() {
        guard !uncommitted.isEmpty else { return }
        let again = uncommitted
        uncommitted = []
        batches.commit(again[...])
        watchTrouble(again[...])
        let lost = again.filter { $0.failure != nil }
        guard let failure = lost.first?.failure else { return }
        mailbox.withLock { $0.numbers.lostWrites += lost.count }
        logger.error(
            .storeWritesLost, "store: writes that were answered are lost (durability: relaxed)",
            metadata: ["count": "\(lost.count)", "reason": "\(failure)"])
    }

    // MARK: Housekeeping

    private func checkpointIfDue() {
        guard previousFrames >= nextCheckpoint else { return }
        checkpoint(previousFrames >= Self.restartFrames ? SQLITE_CHECKPOINT_RESTART : SQLITE_CHECKPOINT_PASSIVE)
        // Readers may keep the log from beginning anew; asking after every commit would not change that.
        nextCheckpoint = previousFrames + Self.checkpointFrames
    }

    private func checkpoint(_ mode: Int32) {
        var inLog: Int32 = 0
        var moved: Int32 = 0
        let result = sqlite3_wal_checkpoint_v2(connection.pointer, nil, mode, &inLog, &moved)
        if result == SQLITE_OK, inLog == moved { watermark.checkpointed() }
        guard result != SQLITE_OK, result & 0xff != SQLITE_BUSY else { return }
        logger.warning(
            .storeCheckpointDelayed, "store: the log cannot be brought into the database now",
            metadata: ["reason": "\(connection.error(result).message)"])
    }

    /// After a second without work: the log into the database, and free pages back to the disk in small pieces.
    private func keepHouse() {
        if previousFrames > 0 {
            checkpoint(SQLITE_CHECKPOINT_PASSIVE)
            previousFrames = 0
            frames.pointee = 0
        }
        guard mayHaveFreePages else { return }
        mayHaveFreePages = false
        guard let free = (try? connection.value("PRAGMA freelist_count")).flatMap({ Int($0) }),
            let all = (try? connection.value("PRAGMA page_count")).flatMap({ Int($0) }), free > 1000, free > all / 4
        else { return }
        while mailbox.withLock({ $0.waiting.isEmpty && !$0.isClosing }) {
            guard (try? connection.execute("PRAGMA incremental_vacuum(\(Self.pagesPerVacuum))")) != nil else { return }
            noteCommit()
            checkpointIfDue()
            guard let left = (try? connection.value("PRAGMA freelist_count")).flatMap({ Int($0) }), left > 0 else { return }
        }
    }

    private func countQuarantine() {
        let count = (try? connection.first(Quarantine.count, { _ in }) { $0.int(0) }) ?? 0
        if !connection.quarantined.isEmpty {
            logger.error(
                .storeRowsQuarantined, "store: damaged rows are in quarantine (table iii_quarantine)",
                metadata: [
                    "path": "\(connection.path)", "count": "\(count)", "rows": "\(connection.quarantined.sorted().joined(separator: "; "))",
                ])
            connection.quarantined = []
        }
        mailbox.withLock { $0.numbers.quarantinedRows = count }
    }

    private func close() {
        if !connection.isOutsideTransaction || !uncommitted.isEmpty { commitRelaxed() }
        // Readers have gone by now. Into the database first, and written down that it is there: a log that was emptied while the record
        // still counts on it would look damaged to the next start.
        checkpoint(SQLITE_CHECKPOINT_PASSIVE)
        var inLog: Int32 = 0
        var moved: Int32 = 0
        let result = sqlite3_wal_checkpoint_v2(connection.pointer, nil, SQLITE_CHECKPOINT_TRUNCATE, &inLog, &moved)
        connection.close()
        if result == SQLITE_OK { watermark.closed() }
    }
}
