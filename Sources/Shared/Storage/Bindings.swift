import CSQLite

/// The values of one use of a statement, given in the order of its question marks.
public struct Bindings {
    let statement: OpaquePointer
    private var position: Int32 = 0
    private var sum = RowChecksum()
    /// The first refusal of SQLite.
    private(set) var failure: Int32 = SQLITE_OK

    init(_ statement: OpaquePointer) { self.statement = statement }

    /// The next value: an integer.
    public mutating func int(_ value: Int) { int64(Int64(value)) }

    /// The next value: an integer, or NULL.
    public mutating func int(_ value: Int?) {
        if let value { int64(Int64(value)) } else { null() }
    }

    /// The next value: 1 or 0.
    public mutating func bool(_ value: Bool) { int64(value ? 1 : 0) }

    /// The next value: an integer.
    public mutating func int64(_ value: Int64) {
        sum.add(value)
        note(sqlite3_bind_int64(statement, next(), value))
    }

    /// The next value; NaN becomes NULL in SQLite.
    public mutating func double(_ value: Double) {
        sum.add(value)
        note(sqlite3_bind_double(statement, next(), value))
    }

    /// The next value: a text.
    public mutating func text(_ value: String) {
        var value = value
        let position = next()
        let (result, added) = value.withUTF8 { utf8 in
            let bytes = UnsafeRawBufferPointer(utf8)
            var added = sum
            added.add(text: bytes)
            // An empty string still needs an address, or it becomes NULL.
            let result = withUnsafePointer(to: 0 as UInt8) { empty in
                sqlite3_bind_text64(
                    statement, position, (bytes.baseAddress ?? UnsafeRawPointer(empty)).assumingMemoryBound(to: CChar.self),
                    sqlite3_uint64(bytes.count), iii_sqlite_transient(), UInt8(SQLITE_UTF8))
            }
            return (result, added)
        }
        sum = added
        note(result)
    }

    /// The next value: a text, or NULL.
    public mutating func text(_ value: String?) {
        if let value { text(value) } else { null() }
    }

    /// The next value: bytes, copied.
    public mutating func bytes(_ value: UnsafeRawBufferPointer) {
        sum.add(blob: value)
        let position = next()
        note(
            withUnsafePointer(to: 0 as UInt8) { empty in
                sqlite3_bind_blob64(
                    statement, position, value.baseAddress ?? UnsafeRawPointer(empty), sqlite3_uint64(value.count), iii_sqlite_transient())
            })
    }

    /// The next value: bytes.
    public mutating func bytes(_ value: [UInt8]) { value.withUnsafeBytes { bytes($0) } }

    /// The next value: bytes, or NULL.
    public mutating func bytes(_ value: [UInt8]?) {
        if let value { bytes(value) } else { null() }
    }

    /// The next value: NULL.
    public mutating func null() {
        sum.addNull()
        note(sqlite3_bind_null(statement, next()))
    }

    /// Gives the CRC-32C of everything that was given so far. On reading, `Row.isIntact(columns:)` takes the same columns in the same
    /// order. The columns must keep the types they are given (a STRICT table, or none declared).
    public mutating func checksum() { note(sqlite3_bind_int64(statement, next(), Int64(sum.value))) }

    private mutating func next() -> Int32 {
        position += 1
        return position
    }

    private mutating func note(_ result: Int32) {
        if result != SQLITE_OK, failure == SQLITE_OK { failure = result }
    }
}
