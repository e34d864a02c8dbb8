import CSQLite
import Glibc

/// One connection to a database file, used by one thread at a time, with its prepared statements.
final class SQLiteConnection {
    let path: String
    let pointer: OpaquePointer
    private var statements: [ObjectIdentifier: Prepared] = [:]
    /// Statements that changed something and succeeded, counted since the connection was opened.
    private(set) var completedWrites = 0
    /// Rows that have been put into quarantine since somebody has last looked, as texts for the log.
    var quarantined: Set<String> = []

    /// Most statements kept prepared; far above what one built-in has.
    private static let maximumStatements = 512

    private struct Prepared {
        /// Kept, so that its identity is not given to another.
        let source: SQL
        let statement: OpaquePointer
        let isWrite: Bool
    }

    enum Access {
        case readOnly
        case readWrite
        /// Also makes the file if it is not there.
        case create
    }

    init(path: String, access: Access, busyTimeout: Duration = .zero) throws(StorageError) {
        self.path = path
        let flags =
            switch access {
            case .readOnly: SQLITE_OPEN_READONLY
            case .readWrite: SQLITE_OPEN_READWRITE
            case .create: SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
            }
        var opened: OpaquePointer?
        let result = sqlite3_open_v2(path, &opened, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nil)
        guard result == SQLITE_OK, let opened else {
            let error = StorageError(result: result, on: opened, path: path)
            sqlite3_close_v2(opened)
            throw error
        }
        pointer = opened
        sqlite3_busy_timeout(
            opened, Int32(busyTimeout.components.seconds * 1000 + busyTimeout.components.attoseconds / 1_000_000_000_000_000))
    }

    deinit { close() }

    private var isClosed = false

    func close() {
        guard !isClosed else { return }
        isClosed = true
        for prepared in statements.values { sqlite3_finalize(prepared.statement) }
        statements = [:]
        sqlite3_close_v2(pointer)
    }

    /// No transaction is open. SQLite ends one by itself on some errors.
    var isOutsideTransaction: Bool { sqlite3_get_autocommit(pointer) != 0 }

    // MARK: Statements

    /// Runs a prepared statement to its end.
    func run(_ sql: SQL, _ bind: (inout Bindings) -> Void) throws {
        try query(sql, bind) { _ in }
    }

    /// Runs a prepared statement and hands each row to `body`.
    func query(_ sql: SQL, _ bind: (inout Bindings) -> Void, _ body: (borrowing Row) throws -> Void) throws {
        let prepared = try prepared(sql)
        defer {
            sqlite3_reset(prepared.statement)
            sqlite3_clear_bindings(prepared.statement)
        }
        var bindings = Bindings(prepared.statement)
        bind(&bindings)
        guard bindings.failure == SQLITE_OK else { throw error(bindings.failure) }
        var isCounted = !prepared.isWrite
        while true {
            let result = sqlite3_step(prepared.statement)
            guard result == SQLITE_ROW || result == SQLITE_DONE else { throw error(result) }
            // All changes are made before the first row is answered.
            if !isCounted {
                isCounted = true
                completedWrites += 1
            }
            guard result == SQLITE_ROW else { return }
            try body(Row(statement: prepared.statement))
        }
    }

    /// Runs any number of statements that are not worth keeping.
    func execute(_ text: String) throws(StorageError) {
        let result = sqlite3_exec(pointer, text, nil, nil, nil)
        guard result == SQLITE_OK else { throw error(result) }
        completedWrites += 1
    }

    /// The first column of the first row, as text: for PRAGMA and the like.
    func value(_ text: String) throws(StorageError) -> String? {
        try values(text, limit: 1).first
    }

    /// The first column of up to `limit` rows.
    func values(_ text: String, limit: Int) throws(StorageError) -> [String] {
        var statement: OpaquePointer?
        let result = sqlite3_prepare_v3(pointer, text, -1, 0, &statement, nil)
        guard result == SQLITE_OK, let statement else { throw error(result) }
        defer { sqlite3_finalize(statement) }
        var found: [String] = []
        while true {
            switch sqlite3_step(statement) {
            case SQLITE_DONE: return found
            case SQLITE_ROW:
                if found.count < limit { found.append(sqlite3_column_text(statement, 0).map { String(cString: $0) } ?? "") }
            case let failure: throw error(failure)
            }
        }
    }

    private func prepared(_ sql: SQL) throws(StorageError) -> Prepared {
        if let known = statements[ObjectIdentifier(sql)] { return known }
        if statements.count >= Self.maximumStatements {
            for prepared in statements.values where sqlite3_stmt_busy(prepared.statement) == 0 {
                sqlite3_finalize(prepared.statement)
                statements[ObjectIdentifier(prepared.source)] = nil
            }
        }
        var statement: OpaquePointer?
        let result = sqlite3_prepare_v3(pointer, sql.text, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &statement, nil)
        guard result == SQLITE_OK else { throw error(result) }
        guard let statement else { throw StorageError(.badStatement, "'\(path)': an empty statement") }
        let made = Prepared(source: sql, statement: statement, isWrite: sqlite3_stmt_readonly(statement) == 0)
        statements[ObjectIdentifier(sql)] = made
        return made
    }

    func error(_ result: Int32) -> StorageError { StorageError(result: result, on: pointer, path: path) }

    // MARK: Transactions

    private static let begin = SQL("BEGIN IMMEDIATE")
    private static let beginRead = SQL("BEGIN")
    private static let commitStatement = SQL("COMMIT")
    private static let rollbackStatement = SQL("ROLLBACK")
    private static let savepoint = SQL("SAVEPOINT one")
    private static let release = SQL("RELEASE one")
    private static let rollbackToSavepoint = SQL("ROLLBACK TO one")

    func beginWriting() throws { try run(Self.begin) { _ in } }
    func beginReading() throws { try run(Self.beginRead) { _ in } }
    func commit() throws { try run(Self.commitStatement) { _ in } }

    /// Ends whatever transaction is open, without effect.
    func rollBack() {
        guard !isOutsideTransaction else { return }
        try? run(Self.rollbackStatement) { _ in }
    }

    func beginItem() throws { try run(Self.savepoint) { _ in } }
    func endItem() throws { try run(Self.release) { _ in } }

    func undoItem() throws {
        try run(Self.rollbackToSavepoint) { _ in }
        try run(Self.release) { _ in }
    }
}
