import CSQLite
import Glibc

/// Copies a database, as of one moment, into a file that stands for itself: no log beside it, checked, synced.
enum StoreCopy {
    private static let pagesPerStep: Int32 = 1024

    /// Writes `path`, which must not exist, by way of `path.part`: what has the name is whole.
    static func copy(from source: SQLiteConnection, to path: String) throws(StorageError) {
        guard StoreFiles.size(of: path) == nil else {
            throw StorageError(.notWritable, "'\(path)' exists already; name a new file")
        }
        let part = path + ".part"
        unlink(part)
        do throws(StorageError) {
            try copyPages(from: source, to: part)
            try sync(part)
            guard rename(part, path) == 0 else { throw .system(path, "written") }
            try sync(directory(of: path), isDirectory: true)
        } catch {
            unlink(part)
            throw error
        }
    }

    static func copyPages(from source: SQLiteConnection, to path: String) throws(StorageError) {
        let target = try SQLiteConnection(path: path, access: .create)
        defer { target.close() }
        // One reading transaction over all steps: the copy is of its beginning, however much is written meanwhile.
        try source.execute("BEGIN")
        _ = try source.value("SELECT count(*) FROM sqlite_schema")
        defer { source.rollBack() }
        guard let backup = sqlite3_backup_init(target.pointer, "main", source.pointer, "main") else {
            throw target.error(sqlite3_errcode(target.pointer))
        }
        var result = SQLITE_OK
        repeat { result = sqlite3_backup_step(backup, pagesPerStep) } while result == SQLITE_OK
        sqlite3_backup_finish(backup)
        guard result == SQLITE_DONE else {
            throw result & 0xff == SQLITE_CORRUPT ? source.error(result) : StorageError(result: result, on: target.pointer, path: path)
        }
        _ = try target.value("PRAGMA journal_mode = DELETE")
        if let findings = IntegrityCheck.findings(target), !findings.isEmpty {
            throw StorageError(.corrupt, "'\(source.path)' is damaged: \(findings.joined(separator: "; "))")
        }
    }

    static func sync(_ path: String, isDirectory: Bool = false) throws(StorageError) {
        let descriptor = open(path, (isDirectory ? O_RDONLY | O_DIRECTORY : O_RDWR) | O_CLOEXEC)
        guard descriptor >= 0 else { throw .system(path, "opened") }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw .system(path, "synced") }
    }

    static func directory(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }
}
