import CSQLite
import IIITelemetry
import Logging
import Synchronization

/// A durable embedded store: one SQLite file, one thread that writes, a few that read.
///
/// All writes that arrive while the disk syncs are committed together afterwards, so throughput grows with load and an idle store answers after
/// one sync. A completion that says success means what `StoreSettings.durability` says; after `kill -9` at any moment
/// the next `open` finds it. Bounded: `maximumPendingWrites`, `maximumPendingBytes`, `maximumPendingReads`; more is refused at
/// once (`overloaded`). A full disk fails the writes that need room and nothing else; once there is room it goes on.
public final class Store: Sendable {
    package let files: StoreFiles
    /// The schema version the file had when it was opened; 0 for a new one.
    public let foundSchemaVersion: Int
    /// Whether this `open` has made the file.
    public let isNew: Bool
    private let writer: Writer
    private let writerThread: StoreThread
    private let readers: ReaderPool
    private let logger: Logger
    private let lock: LockHolder
    private let integrity: Mutex<StoreStatus.Integrity>
    private let check: Mutex<IntegrityCheck?>

    /// A database up to this size is checked at every start; a larger one after an unclean end.
    private static let alwaysCheckedBytes = 64 << 20

    /// Keeps the kernel's lock until the store is closed.
    private struct LockHolder: @unchecked Sendable {
        let lock: StoreLock
    }

    /// Opens the store of `settings.directory`, makes it if there never was one, and brings its schema to the newest of `migrations`.
    ///
    /// Blocks for as long as recovery and migrations take. Throws rather than begin an empty store where there was another: the message
    /// names the file and the cure.
    public static func open(_ settings: StoreSettings, migrations: [Migration], logger: Logger) throws(StorageError) -> Store {
        let files = StoreFiles(directory: settings.directory)
        let opened = try StoreOpening(files: files, settings: settings, migrations: migrations).open()
        return try Store(opened, files, settings, logger)
    }

    private init(_ opened: StoreOpening.Opened, _ files: StoreFiles, _ settings: StoreSettings, _ logger: Logger) throws(StorageError) {
        self.files = files
        self.logger = logger
        foundSchemaVersion = opened.foundVersion
        isNew = opened.isNew
        lock = LockHolder(lock: opened.lock)
        var watermark = CommitWatermark(files: files, lock: opened.lock, durability: settings.durability)
        let left = try Self.checkpoint(opened.connection, SQLITE_CHECKPOINT_PASSIVE)
        if left > 0 {
            logger.warning(
                .storeCheckpointDelayed, "store: the log cannot be brought into the database now", metadata: ["path": "\(files.database)"])
            watermark.committed(frames: left)
        }
        try watermark.opened()
        // Only once nothing is owed by the log: killed in between, the next start must not miss what is in the database.
        if left == 0 { _ = try Self.checkpoint(opened.connection, SQLITE_CHECKPOINT_TRUNCATE) }
        let readers = try ReaderPool(path: files.database, settings: settings)
        self.readers = readers
        let writer = Writer(connection: opened.connection, watermark: watermark, settings: settings, logger: logger) { reads in
            for read in reads {
                guard let refusal = readers.submit(read, isPromised: true) else { continue }
                read.failure = refusal
                read.complete()
            }
        }
        self.writer = writer
        writerThread = try StoreThread(name: "iii-store-write") { writer.run() }
        let isChecked = opened.wasUnclean || (!opened.isNew && StoreFiles.size(of: files.database) ?? 0 <= Self.alwaysCheckedBytes)
        integrity = Mutex(isChecked ? .running : .notNeeded)
        check = Mutex(nil)
        if isChecked { startCheck() }
    }

    /// What was recovered from the log goes into the database, so that the count of acknowledged frames begins at 0. Answers how many frames
    /// stay in the log because the disk has no room; that must not keep what is stored from being read.
    private static func checkpoint(_ connection: SQLiteConnection, _ mode: Int32) throws(StorageError) -> Int {
        var inLog: Int32 = 0
        var moved: Int32 = 0
        let result = sqlite3_wal_checkpoint_v2(connection.pointer, nil, mode, &inLog, &moved)
        guard result != SQLITE_OK else { return inLog == moved ? 0 : max(0, Int(inLog)) }
        let error = connection.error(result)
        guard error.code == .diskFull || error.code == .inUse else { throw error }
        return max(0, Int(inLog))
    }

    // MARK: Writing

    /// Has `work` done in the next transaction and tells `completion` once that is stored.
    ///
    /// - `cost`: bytes it brings along, for the bound on what waits.
    /// - `work`: runs on the writer's thread and must not wait for anything. It **may run again** when a neighbour's failure or a full disk has
    ///   undone the transaction, so it has no effects outside of the transaction but its result. Throwing undoes what it did, and nothing of
    ///   its neighbours; throwing *before the first change* costs nothing, so check first.
    /// - `completion`: runs on `executor`, or without one on the writer's thread, which it then holds up. Writes complete in their order.
    ///   A failure is what `work` threw, or a `StorageError`. After an `ioError` of the sync itself the outcome is unknown until the next
    ///   successful write or start.
    public func write<Value: Sendable>(
        cost: Int = 256, on executor: StoreExecutor? = nil, _ work: @escaping @Sendable (borrowing Transaction) throws -> Value,
        completion: @escaping @Sendable (Result<Value, any Error>) -> Void
    ) {
        let write = Write(cost: cost, executor: executor, work: work, completion: completion)
        guard let refusal = writer.submit(write) else { return }
        write.failure = refusal
        if let executor { executor.submit { write.complete() } } else { write.complete() }
    }

    /// The same, waiting for it.
    public func write<Value: Sendable>(
        cost: Int = 256, _ work: @escaping @Sendable (borrowing Transaction) throws -> Value
    ) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            write(cost: cost, work) { continuation.resume(with: $0) }
        }
    }

    // MARK: Reading

    /// Has `work` read from one moment of the store, at or after everything that was answered before; `completion` as for a write.
    public func read<Value: Sendable>(
        on executor: StoreExecutor? = nil, _ work: @escaping @Sendable (borrowing Snapshot) throws -> Value,
        completion: @escaping @Sendable (Result<Value, any Error>) -> Void
    ) {
        let read = Read(executor: executor, work: work, completion: completion)
        if writer.holds(read) { return }
        guard let refusal = readers.submit(read) else { return }
        read.failure = refusal
        if let executor { executor.submit { read.complete() } } else { read.complete() }
    }

    /// The same, waiting for it.
    public func read<Value: Sendable>(_ work: @escaping @Sendable (borrowing Snapshot) throws -> Value) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            read(work) { continuation.resume(with: $0) }
        }
    }

    // MARK: State

    /// How it is doing now. From any thread; looks at the files' sizes.
    public func status() -> StoreStatus {
        let (numbers, count, bytes) = writer.mailbox.withLock { ($0.numbers, $0.count, $0.bytes) }
        return StoreStatus(
            numbers: numbers, pendingWrites: count, pendingBytes: bytes, databaseBytes: StoreFiles.size(of: files.database) ?? 0,
            logBytes: StoreFiles.size(of: files.log) ?? 0, integrity: integrity.withLock { $0 })
    }

    private func startCheck() {
        do {
            let check = try IntegrityCheck(path: files.database) { [weak self, logger, path = files.database] findings in
                if findings.isEmpty {
                    logger.debug("store: intact", metadata: ["path": "\(path)"])
                } else {
                    logger.error(
                        .storeDamaged, "store: damaged; restore a backup (iii-core store restore)",
                        metadata: ["path": "\(path)", "findings": "\(findings.joined(separator: "; "))"])
                }
                self?.integrity.withLock { $0 = findings.isEmpty ? .intact : .damaged(findings) }
            }
            self.check.withLock { $0 = check }
        } catch {
            integrity.withLock { $0 = .damaged([error.message]) }
            logger.error(.storeCheckFailed, "store: cannot be checked", metadata: ["reason": "\(error.message)"])
        }
    }

    /// Copies the store as it is now into a new file, while it goes on running. Blocks the caller for as long as that takes.
    public func backUp(to path: String) throws(StorageError) {
        try StoreCopy.copy(from: SQLiteConnection(path: files.database, access: .readOnly, busyTimeout: .seconds(5)), to: path)
    }

    /// Commits what was taken, answers it, and closes the files; blocks until then. Later calls are refused as `closed`.
    ///
    /// Not to be called on an executor that completions need.
    public func close() {
        check.withLock { $0 }?.cancel()
        writer.beginClosing()
        // Reads first: the log can be emptied only when nobody reads it. Those that wait for a commit are handed over by the writer.
        readers.close()
        writerThread.waitForEnd()
        lock.lock.release()
    }
}
