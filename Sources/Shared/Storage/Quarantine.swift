import CSQLite
import Glibc
import IIITelemetry

/// Where rows go that are not what was written (decision: a bad row is named and counted, never served, never a reason to start empty).
enum Quarantine {
    /// Part of every store's schema.
    static let schema = """
        CREATE TABLE IF NOT EXISTS iii_quarantine(
            source TEXT NOT NULL, row INTEGER NOT NULL, reason TEXT NOT NULL, found_at_ms INTEGER NOT NULL, content TEXT NOT NULL)
        """

    static let count = SQL("SELECT count(*) FROM iii_quarantine")

    static func take(table: String, row: Int, reason: String, on connection: SQLiteConnection) throws -> Bool {
        let name = quoted(table)
        let columns = try connection.values("SELECT name FROM pragma_table_info(\(literal(table)))", limit: 2000)
        guard !columns.isEmpty else { throw StorageError(.badStatement, "'\(connection.path)' has no table \(table)") }
        let list = columns.map(quoted).joined(separator: ", ")
        let values = columns.map { "quote(\(quoted($0)))" }.joined(separator: " || ', ' || ")
        let content = literal("INSERT INTO \(name)(\(list)) VALUES(") + " || \(values) || ')'"
        try connection.execute(
            """
            INSERT INTO iii_quarantine SELECT \(literal(table)), \(row), \(literal(reason)), \(WallClock.milliseconds()), \(content)
            FROM \(name) WHERE rowid = \(row);
            DELETE FROM \(name) WHERE rowid = \(row)
            """)
        guard connection.changes > 0 else { return false }
        connection.quarantined.insert("row \(row) of \(table): \(reason)")
        return true
    }

    private static func quoted(_ name: String) -> String { "\"" + name.doubling("\"") + "\"" }
    private static func literal(_ text: String) -> String { "'" + text.doubling("'") + "'" }
}

extension String {
    fileprivate func doubling(_ mark: Character) -> String {
        reduce(into: "") { result, character in
            result.append(character)
            if character == mark { result.append(character) }
        }
    }
}

extension SQLiteConnection {
    var changes: Int { Int(sqlite3_changes64(pointer)) }
    var lastInsertedRow: Int { Int(sqlite3_last_insert_rowid(pointer)) }

    func first<Value>(_ sql: SQL, _ bind: (inout Bindings) -> Void, _ read: (borrowing Row) throws -> Value) throws -> Value? {
        var found: Value?
        try query(sql, bind) { row in
            if found == nil { found = try read(row) }
        }
        return found
    }
}
