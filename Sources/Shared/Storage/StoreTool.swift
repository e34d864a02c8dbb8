import CSQLite
import Glibc
import IIITelemetry

/// What an operator does to a store from outside of its process: `iii-core store check|backup|restore`.
package struct StoreTool {
    private let files: StoreFiles

    package init(directory: String) { files = StoreFiles(directory: directory) }

    /// What `check` has found.
    package struct Report: Equatable {
        package var schemaVersion = 0
        package var databaseBytes = 0
        package var logBytes = 0
        package var quarantinedRows = 0
        /// Empty = intact.
        package var findings: [String] = []
        /// The process that runs the store, if one does.
        package var holder: String?

        package var text: String {
            var lines = [
                "schema version  \(schemaVersion)", "database        \(databaseBytes) bytes", "log             \(logBytes) bytes",
                "quarantine      \(quarantinedRows) rows" + (quarantinedRows > 0 ? " (table iii_quarantine)" : ""),
                "in use by       \(holder.map { "process \($0)" } ?? "nobody")",
            ]
            lines.append(findings.isEmpty ? "integrity       ok" : "integrity       DAMAGED; restore a backup (iii-core store restore)")
            return (lines + findings.map { "                \($0)" }).joined(separator: "\n")
        }
    }

    /// Reads the whole database and verifies its structure; also while it is in use.
    package func check() throws(StorageError) -> Report {
        try withDatabase { connection, holder throws(StorageError) in
            var report = Report(holder: holder)
            report.findings = IntegrityCheck.findings(connection, isFull: true) ?? []
            report.databaseBytes = StoreFiles.size(of: files.database) ?? 0
            report.logBytes = StoreFiles.size(of: files.log) ?? 0
            report.schemaVersion = Int(try connection.value("PRAGMA user_version") ?? "") ?? 0
            report.quarantinedRows = Int(((try? connection.value(Quarantine.count.text)) ?? nil) ?? "") ?? 0
            return report
        }
    }

    /// Copies the store as of now into the new file `path`; also while it is in use.
    package func backUp(to path: String) throws(StorageError) {
        try withDatabase { connection, _ throws(StorageError) in try StoreCopy.copy(from: connection, to: path) }
    }

    /// Puts the backup `path` in the store's place; refused while a process runs the store. What was there is kept; answers under which
    /// name, nil when there was nothing.
    package func restore(from path: String) throws(StorageError) -> String? {
        try files.makeDirectory()
        let lock = try StoreLock(path: files.lock)
        let incoming = files.database + ".restoring"
        unlink(incoming)
        try Self.withBackup(path) { connection throws(StorageError) in try StoreCopy.copyPages(from: connection, to: incoming) }
        try StoreCopy.sync(incoming)
        let kept = try setAside()
        guard rename(incoming, files.database) == 0 else { throw .system(files.database, "replaced") }
        try files.syncDirectory()
        // Last: until here a crash leaves a record that the files do not match, and the start is refused.
        var record = StoreLock.Record()
        record.isInitialised = 1
        record.isClean = 1
        try lock.write(record)
        try lock.sync()
        return kept
    }

    private static func withBackup(_ path: String, _ body: (SQLiteConnection) throws(StorageError) -> Void) throws(StorageError) {
        guard let size = StoreFiles.size(of: path) else { throw .system(path, "read", number: ENOENT) }
        guard size > 0 else { throw StorageError(.foreignFile, "'\(path)' is empty, and no backup of a store") }
        let connection = try SQLiteConnection(path: path, access: .readOnly, busyTimeout: .seconds(2))
        defer { connection.close() }
        do throws(StorageError) {
            guard try connection.value("PRAGMA application_id") == "\(StoreOpening.applicationID)" else {
                throw StorageError(.foreignFile, "'\(path)' is not a backup of a store of this engine")
            }
        } catch  where error.code == .corrupt {
            throw StorageError(.foreignFile, "'\(path)' is not a readable backup: \(error.message)")
        }
        try body(connection)
    }

    /// Keeps the database of now, with its log, under another name.
    private func setAside() throws(StorageError) -> String? {
        guard StoreFiles.size(of: files.database) != nil || StoreFiles.size(of: files.log) != nil else { return nil }
        let kept = "\(files.database).before-restore-\(WallClock.milliseconds())"
        if let size = StoreFiles.size(of: files.log) {
            // A log may never meet a database that it does not belong to.
            guard size > 0 ? rename(files.log, kept + "-wal") == 0 : unlink(files.log) == 0 else { throw .system(files.log, "moved") }
        }
        unlink(files.sharedMemory)
        guard StoreFiles.size(of: files.database) != nil else { return kept }
        guard link(files.database, kept) == 0 else { throw .system(kept, "made") }
        return kept
    }

    private func withDatabase<Result>(
        _ body: (SQLiteConnection, _ holder: String?) throws(StorageError) -> Result
    ) throws(StorageError) -> Result {
        guard StoreFiles.size(of: files.database) != nil || StoreFiles.size(of: files.lock) != nil else {
            throw StorageError(.notWritable, "there is no store in '\(files.directory)'")
        }
        if let holder = StoreLock.holder(path: files.lock) {
            let connection = try SQLiteConnection(path: files.database, access: .readOnly, busyTimeout: .seconds(5))
            defer { connection.close() }
            return try body(connection, holder)
        }
        let opening = StoreOpening(files: files, settings: StoreSettings(directory: files.directory), migrations: [])
        let (connection, lock) = try opening.openAsFound()
        // The lock is held to the end: nobody starts the store meanwhile.
        return try withExtendedLifetime(lock) { () throws(StorageError) in
            defer { connection.close() }
            return try body(connection, nil)
        }
    }
}
