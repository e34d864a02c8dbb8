import CSQLite

/// CRC-32C over the values of a row, with their types and lengths, so that no value can pass for another.
///
/// What SQLite does not notice, it does: a changed byte inside a value. Written by `Bindings.checksum()`, verified by
/// `Row.isIntact(columns:)`.
public struct RowChecksum: Sendable, Equatable {
    private var sum: UInt32 = .max

    /// Of no values yet.
    public init() {}

    /// The checksum of what has been added.
    public var value: UInt32 { ~sum }

    /// Goes on with an integer.
    public mutating func add(_ value: Int64) { add(tag: 1, word: UInt64(bitPattern: value)) }
    /// Goes on with a floating-point number, by its bits.
    public mutating func add(_ value: Double) { add(tag: 2, word: value.bitPattern) }

    /// Goes on with a text, by its length and UTF-8.
    public mutating func add(text bytes: UnsafeRawBufferPointer) {
        add(tag: 3, word: UInt64(bytes.count))
        update(bytes)
    }

    /// Goes on with bytes, by their length and content.
    public mutating func add(blob bytes: UnsafeRawBufferPointer) {
        add(tag: 4, word: UInt64(bytes.count))
        update(bytes)
    }

    /// Goes on with NULL.
    public mutating func addNull() { add(tag: 5, word: 0) }

    private mutating func add(tag: UInt8, word: UInt64) {
        withUnsafeBytes(of: tag) { update($0) }
        withUnsafeBytes(of: word.littleEndian) { update($0) }
    }

    /// Goes on with `bytes` as they are.
    mutating func update(_ bytes: UnsafeRawBufferPointer) {
        guard let base = bytes.baseAddress, bytes.count > 0 else { return }
        if Self.isFast {
            sum = iii_crc32c_by_processor(sum, base.assumingMemoryBound(to: UInt8.self), bytes.count)
        } else {
            updateByTable(bytes)
        }
    }

    mutating func updateByTable(_ bytes: UnsafeRawBufferPointer) {
        for byte in bytes { sum = Self.table[Int(UInt8(truncatingIfNeeded: sum) ^ byte)] ^ (sum >> 8) }
    }

    private static let isFast = iii_crc32c_has_processor() != 0

    private static let table: [UInt32] = (0..<256).map { index in
        (0..<8).reduce(UInt32(index)) { value, _ in value & 1 == 1 ? 0x82F6_3B78 ^ (value >> 1) : value >> 1 }
    }
}
