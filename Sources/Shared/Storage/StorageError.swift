import CSQLite
import Glibc

/// Why a store could not do what was asked of it: what happened, to which file, and what cures it.
///
/// A caller can answer with it: `isRetryable` says whether the same request may succeed later without anybody's help in the code.
public struct StorageError: Error, Sendable, Equatable, CustomStringConvertible {
    /// What went wrong; stable, for programs.
    public enum Code: String, Sendable {
        /// The disk is full. Goes on by itself once there is room.
        case diskFull = "disk_full"
        /// The store has reached its own `quota`. Goes on once something has been deleted.
        case quotaExceeded = "quota_exceeded"
        /// The disk failed to read or write.
        case ioError = "io_error"
        /// The file or its file system does not take writes.
        case readOnly = "read_only"
        /// The file is damaged.
        case corrupt
        /// What stands at the path is no store of ours.
        case foreignFile = "foreign_file"
        /// A newer version of the program has written the file.
        case newerSchema = "newer_schema"
        /// Another process has the store open.
        case inUse = "in_use"
        /// The directory cannot be written; only when a store is opened.
        case notWritable = "not_writable"
        /// Too much waits to be written or read already.
        case overloaded
        /// A read took longer than `StoreSettings.readTimeout`, or was interrupted by the end of the store.
        case timedOut = "timed_out"
        /// The store is closed.
        case closed
        /// A rule of the schema was broken (unique, not null, check).
        case constraint
        /// A value is larger than SQLite can hold.
        case tooLarge = "too_large"
        /// The statement itself is wrong; a bug of whoever wrote it.
        case badStatement = "bad_statement"
    }

    /// What went wrong.
    public let code: Code
    /// One sentence without any of the stored data in it.
    public let message: String

    /// `message` must hold none of the stored data.
    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    /// Whether the same request may succeed later.
    public var isRetryable: Bool {
        switch code {
        case .diskFull, .quotaExceeded, .ioError, .overloaded, .timedOut, .closed, .inUse: true
        case .readOnly, .corrupt, .foreignFile, .newerSchema, .notWritable, .constraint, .tooLarge, .badStatement: false
        }
    }

    public var description: String { message }
}

extension StorageError {
    /// The error that a call of SQLite has answered on `connection`.
    init(result: Int32, on connection: OpaquePointer?, path: String) {
        let text = connection.map { String(cString: sqlite3_errmsg($0)) } ?? String(cString: sqlite3_errstr(result))
        let extended = connection.map { sqlite3_extended_errcode($0) } ?? result
        let number = connection.map { sqlite3_system_errno($0) } ?? 0
        let system = number == 0 ? "" : " (\(String(cString: strerror(number))))"
        switch result & 0xff {
        case _ where extended == SQLITE_IOERR | (19 << 8), SQLITE_FULL:
            // The shared index of the log could not be made larger: a full disk by another name.
            self.init(.diskFull, "'\(path)': the disk is full; free some space, the store goes on by itself")
        case SQLITE_IOERR:
            self.init(.ioError, "'\(path)': the disk failed, \(text)\(system), SQLite code \(extended); look at the system's log")
        case SQLITE_READONLY:
            self.init(.readOnly, "'\(path)' cannot be written: \(text); check the file system and the rights of user id \(geteuid())")
        case SQLITE_CORRUPT:
            self.init(.corrupt, "'\(path)' is damaged: \(text); restore a backup (iii-core store restore)")
        case SQLITE_NOTADB:
            self.init(.corrupt, "'\(path)' is not a readable store: \(text); restore a backup (iii-core store restore)")
        case SQLITE_CONSTRAINT: self.init(.constraint, text)
        case SQLITE_TOOBIG: self.init(.tooLarge, "'\(path)': the value is larger than a row can hold")
        case SQLITE_INTERRUPT: self.init(.timedOut, "'\(path)': the read was interrupted because it took too long")
        case SQLITE_BUSY, SQLITE_LOCKED: self.init(.inUse, "'\(path)' is locked by another process: \(text)")
        case SQLITE_NOMEM: self.init(.overloaded, "'\(path)': out of memory")
        case SQLITE_CANTOPEN, SQLITE_PERM, SQLITE_AUTH:
            self.init(.notWritable, "'\(path)' cannot be opened: \(text)\(system); check the rights of user id \(geteuid())")
        default: self.init(.badStatement, "'\(path)': \(text)")
        }
    }

    /// The error of a system call on a file.
    static func system(_ path: String, _ doing: String, number: Int32 = errno) -> StorageError {
        let reason = String(cString: strerror(number))
        switch number {
        case ENOSPC, EDQUOT: return StorageError(.diskFull, "'\(path)' cannot be \(doing): the disk is full; free some space")
        case EACCES, EPERM, EROFS, ENOENT, ENOTDIR:
            return StorageError(
                .notWritable,
                "'\(path)' cannot be \(doing) by user id \(geteuid()): \(reason); let that user write there, or name another path")
        default: return StorageError(.ioError, "'\(path)' cannot be \(doing): \(reason)")
        }
    }
}
