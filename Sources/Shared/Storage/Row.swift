import CSQLite

/// One row of an answer, readable only while the closure that was given it runs. Columns count from 0.
///
/// Values are converted as SQLite does; NULL reads as 0, an empty string or no bytes unless asked for as an optional.
public struct Row: ~Copyable {
    let statement: OpaquePointer

    /// Whether the value is NULL.
    public func isNull(_ column: Int) -> Bool { sqlite3_column_type(statement, Int32(column)) == SQLITE_NULL }
    /// The value as an integer; 0 for NULL.
    public func int(_ column: Int) -> Int { Int(sqlite3_column_int64(statement, Int32(column))) }
    /// The value as an integer; nil for NULL.
    public func optionalInt(_ column: Int) -> Int? { isNull(column) ? nil : int(column) }
    /// Whether the value is another number than 0.
    public func bool(_ column: Int) -> Bool { int(column) != 0 }
    /// The value as a floating-point number; 0 for NULL.
    public func double(_ column: Int) -> Double { sqlite3_column_double(statement, Int32(column)) }

    /// The value as text; empty for NULL.
    public func text(_ column: Int) -> String {
        guard let start = sqlite3_column_text(statement, Int32(column)) else { return "" }
        let count = Int(sqlite3_column_bytes(statement, Int32(column)))
        return String(decoding: UnsafeBufferPointer(start: start, count: count), as: UTF8.self)
    }

    /// The value as text; nil for NULL.
    public func optionalText(_ column: Int) -> String? { isNull(column) ? nil : text(column) }

    /// A copy of the value's bytes; none for NULL.
    public func bytes(_ column: Int) -> [UInt8] { withBytes(column) { Array($0) } }
    /// A copy of the value's bytes; nil for NULL.
    public func optionalBytes(_ column: Int) -> [UInt8]? { isNull(column) ? nil : bytes(column) }

    /// The bytes of a blob or text without a copy, for as long as `body` runs.
    public func withBytes<Result>(_ column: Int, _ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        let start = sqlite3_column_blob(statement, Int32(column))
        return try body(UnsafeRawBufferPointer(start: start, count: Int(sqlite3_column_bytes(statement, Int32(column)))))
    }

    /// Whether `columns` still are what was written: the column right behind them holds their checksum (`Bindings.checksum()`).
    ///
    /// A row that is not intact must not be served: hand it to `Transaction.quarantine`.
    public func isIntact(columns: Range<Int>) -> Bool {
        var sum = RowChecksum()
        for column in columns {
            switch sqlite3_column_type(statement, Int32(column)) {
            case SQLITE_INTEGER: sum.add(sqlite3_column_int64(statement, Int32(column)))
            case SQLITE_FLOAT: sum.add(sqlite3_column_double(statement, Int32(column)))
            case SQLITE_TEXT: withBytes(column) { sum.add(text: $0) }
            case SQLITE_BLOB: withBytes(column) { sum.add(blob: $0) }
            default: sum.addNull()
            }
        }
        return Int64(sum.value) == sqlite3_column_int64(statement, Int32(columns.upperBound))
    }
}
