import Glibc

/// A piece of work inside the writer's transaction: it happens as a whole or not at all.
public struct Transaction: ~Copyable {
    let connection: SQLiteConnection

    /// Runs a statement to its end.
    public func run(_ sql: SQL, _ bind: (inout Bindings) -> Void = { _ in }) throws { try connection.run(sql, bind) }

    /// Runs a statement and hands each row to `body`. A statement that changes something (`RETURNING`) has changed all of it before the
    /// first row.
    public func query(_ sql: SQL, _ bind: (inout Bindings) -> Void = { _ in }, _ body: (borrowing Row) throws -> Void) throws {
        try connection.query(sql, bind, body)
    }

    /// The first row's value, or nil without one.
    public func first<Value>(
        _ sql: SQL, _ bind: (inout Bindings) -> Void = { _ in }, _ read: (borrowing Row) throws -> Value
    ) throws -> Value? {
        try connection.first(sql, bind, read)
    }

    /// Rows that the last INSERT, UPDATE or DELETE has touched.
    public var changes: Int { connection.changes }

    /// The rowid of the last INSERT.
    public var lastInsertedRow: Int { connection.lastInsertedRow }

    /// Runs statements that are not worth keeping: for migrations.
    public func execute(_ text: String) throws { try connection.execute(text) }

    /// Takes a damaged row out of `table` into the store's quarantine, where an operator finds it as an INSERT statement
    /// (`SELECT * FROM iii_quarantine`). Counted in `StoreStatus.quarantinedRows`; never served again. Answers whether the row was there.
    @discardableResult
    public func quarantine(table: String, row: Int, reason: String) throws -> Bool {
        try Quarantine.take(table: table, row: row, reason: reason, on: connection)
    }
}

/// A piece of reading: everything it sees is of one moment.
public struct Snapshot: ~Copyable {
    let connection: SQLiteConnection

    /// Calls `body` with each row in order. What it throws ends the query and is thrown on; else `StorageError`.
    public func query(_ sql: SQL, _ bind: (inout Bindings) -> Void = { _ in }, _ body: (borrowing Row) throws -> Void) throws {
        try connection.query(sql, bind, body)
    }

    /// The first row's value, or nil without one.
    public func first<Value>(
        _ sql: SQL, _ bind: (inout Bindings) -> Void = { _ in }, _ read: (borrowing Row) throws -> Value
    ) throws -> Value? {
        try connection.first(sql, bind, read)
    }
}
