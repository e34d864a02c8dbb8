import CSQLite
import Glibc

/// Opens a database for writing after everything that speaks against it has been ruled out. Never begins an empty one where there was
/// another, and changes nothing before it is sure.
struct StoreOpening {
    /// `iii1` in the head of the database: a file of this engine.
    static let applicationID = 0x6969_6931
    private static let header = Array("SQLite format 3\0".utf8)

    let files: StoreFiles
    let settings: StoreSettings
    let migrations: [Migration]

    struct Opened {
        let connection: SQLiteConnection
        let lock: StoreLock
        /// The process before did not close it.
        let wasUnclean: Bool
        let isNew: Bool
        /// The schema version it was found with.
        let foundVersion: Int
    }

    func open() throws(StorageError) -> Opened {
        try files.makeDirectory()
        let lock = try StoreLock(path: files.lock)
        let isNew = try inspect(lock.found)
        let hadLog = (StoreFiles.size(of: files.log) ?? 0) > 0
        let connection = try SQLiteConnection(path: files.database, access: isNew ? .create : .readWrite, busyTimeout: .seconds(2))
        // Whatever is found, its log stays what it is until the store has been accepted.
        iii_sqlite_keep_log_on_close(connection.pointer)
        let version: Int
        do throws(StorageError) {
            if !isNew { try checkOwner(connection, lock.found) }
            try configure(connection, isNew: isNew)
            try checkLog(connection, owed: CommitWatermark.owedFrames(lock.found))
            version = try migrate(connection)
            if isNew { try files.syncDirectory() }
        } catch {
            connection.close()
            throw error
        }
        let wasUnclean = !isNew && (lock.found.map { $0.isClean == 0 } ?? hadLog)
        return Opened(connection: connection, lock: lock, wasUnclean: wasUnclean, isNew: isNew, foundVersion: version)
    }

    /// The database of a store that nobody runs, for looking at it: with all the refusals of `open`, but nothing is changed or made.
    func openAsFound() throws(StorageError) -> (connection: SQLiteConnection, lock: StoreLock) {
        let lock = try StoreLock(path: files.lock)
        guard try !inspect(lock.found) else {
            throw StorageError(.notWritable, "there is no store in '\(files.directory)'")
        }
        let connection = try SQLiteConnection(path: files.database, access: .readWrite, busyTimeout: .seconds(2))
        iii_sqlite_keep_log_on_close(connection.pointer)
        try checkOwner(connection, lock.found)
        try checkLog(connection, owed: CommitWatermark.owedFrames(lock.found))
        return (connection, lock)
    }

    // MARK: Before the file is opened

    /// Whether there is no database yet, which is fine only where there never was one.
    private func inspect(_ found: StoreLock.Record?) throws(StorageError) -> Bool {
        let owed = CommitWatermark.owedFrames(found)
        guard let size = StoreFiles.size(of: files.database), size > 0 else {
            if found?.isInitialised == 1 || StoreFiles.size(of: files.log) ?? 0 > 0 {
                throw StorageError(
                    .corrupt,
                    "the store '\(files.database)' was here and is gone or empty; restore a backup (iii-core store restore), "
                        + "or remove '\(files.lock)' and '\(files.log)' to begin with an empty store")
            }
            return true
        }
        let head = try StoreFiles.head(of: files.database, count: 100)
        guard head.starts(with: Self.header) else {
            // A store of ours whose head is damaged, or a file that never was one.
            if found?.isInitialised == 1 { throw damagedHead }
            throw StorageError(
                .foreignFile, "'\(files.database)' is not a store of this engine; move it away, or name another directory (file_path)")
        }
        guard head.count == 100 else {
            throw StorageError(.corrupt, "'\(files.database)' is cut short; restore a backup (iii-core store restore)")
        }
        if owed > 0, files.logSalts() != found?.logSalts { throw lostLog(owed: owed, intact: 0) }
        return false
    }

    private var damagedHead: StorageError {
        StorageError(.corrupt, "the head of '\(files.database)' is damaged; restore a backup (iii-core store restore)")
    }

    private func lostLog(owed: Int, intact: Int) -> StorageError {
        StorageError(
            .corrupt,
            "'\(files.log)' is damaged: \(owed) pages of acknowledged writes were in it, \(intact) are intact; restore a backup "
                + "(iii-core store restore), or remove '\(files.lock)' to go on with what is intact")
    }

    // MARK: Once it is open

    private func checkOwner(_ connection: SQLiteConnection, _ found: StoreLock.Record?) throws(StorageError) {
        let identifier = Int(try connection.value("PRAGMA application_id") ?? "") ?? 0
        guard identifier != Self.applicationID else { return }
        let tables = Int(try connection.value("SELECT count(*) FROM sqlite_schema") ?? "") ?? 0
        // A start that was killed before its first commit has left a file without anything in it.
        guard identifier == 0, tables == 0 else {
            if found?.isInitialised == 1 { throw damagedHead }
            throw StorageError(
                .foreignFile,
                "'\(files.database)' is an SQLite database of another program; move it away, or name another directory (file_path)")
        }
    }

    private func configure(_ connection: SQLiteConnection, isNew: Bool) throws(StorageError) {
        if try connection.value("SELECT count(*) FROM sqlite_schema") == "0" {
            // Before the first page is written, or never.
            try connection.execute("PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL")
        }
        guard try connection.value("PRAGMA journal_mode = WAL") == "wal" else {
            throw StorageError(
                .notWritable, "'\(files.database)': this file system cannot share memory between threads; use a local disk")
        }
        let level = settings.durability == .full ? 2 : 1
        try connection.execute(
            """
            PRAGMA synchronous = \(level); PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = 67108864;
            PRAGMA cache_size = -16384; PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;
            PRAGMA cell_size_check = ON
            """)
        guard try connection.value("PRAGMA synchronous") == "\(level)" else {
            throw StorageError(.badStatement, "'\(files.database)': SQLite does not take synchronous = \(level)")
        }
        if let quota = settings.quota {
            let pageSize = Int(try connection.value("PRAGMA page_size") ?? "") ?? 4096
            _ = try connection.value("PRAGMA max_page_count = \(max(1, quota / pageSize))")
        }
    }

    private func checkLog(_ connection: SQLiteConnection, owed: Int) throws(StorageError) {
        guard owed > 0 else { return }
        _ = try connection.value("SELECT count(*) FROM sqlite_schema")
        var inLog: Int32 = 0
        var moved: Int32 = 0
        // The cheapest way to ask how many frames SQLite has found good.
        let result = sqlite3_wal_checkpoint_v2(connection.pointer, nil, SQLITE_CHECKPOINT_PASSIVE, &inLog, &moved)
        guard result == SQLITE_OK || inLog >= 0 else { throw connection.error(result) }
        if Int(inLog) < owed { throw lostLog(owed: owed, intact: max(0, Int(inLog))) }
    }

    /// Brings the schema to the newest version; answers which it was.
    private func migrate(_ connection: SQLiteConnection) throws(StorageError) -> Int {
        let found = Int(try connection.value("PRAGMA user_version") ?? "") ?? 0
        guard found <= migrations.count else {
            throw StorageError(
                .newerSchema,
                "'\(files.database)' has schema version \(found), this build knows \(migrations.count) at the most; start the newer build, "
                    + "or restore a backup made before the upgrade (iii-core store restore)")
        }
        do {
            if found == 0 {
                try connection.beginWriting()
                try connection.execute("PRAGMA application_id = \(Self.applicationID)")
                try connection.execute(Quarantine.schema)
                try connection.commit()
            }
            for version in found..<migrations.count {
                try connection.beginWriting()
                try migrations[version].apply(Transaction(connection: connection))
                try connection.execute("PRAGMA user_version = \(version + 1)")
                try connection.commit()
            }
        } catch let error as StorageError {
            connection.rollBack()
            throw error
        } catch {
            connection.rollBack()
            throw StorageError(.badStatement, "'\(files.database)': the schema cannot be brought to version \(migrations.count): \(error)")
        }
        return found
    }
}
