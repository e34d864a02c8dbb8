/// A number as the update operations reckon with it: integers of 64 bits, signed or not, exactly, and finite doubles.
package enum JSONNumber: Sendable, Hashable {
    /// Within Int64.min ... UInt64.max.
    case integer(Int128)
    case double(Double)

    /// nil for what is neither.
    package init?(_ text: ArraySlice<UInt8>) {
        let isInteger = text.allSatisfy { $0 == UInt8(ascii: "-") || (0x30...0x39).contains($0) }
        let text = String(decoding: text, as: UTF8.self)
        if isInteger, text != "-0", let value = Int128(text), Self.isInRange(value) {
            self = .integer(value)
        } else {
            guard let value = Double(text), value.isFinite else { return nil }
            self = .double(value)
        }
    }

    /// JSON text: of a double the shortest that reads back as the same.
    package var text: [UInt8] {
        switch self {
        case .integer(let value): Array(value.description.utf8)
        case .double(let value): Array(value.description.utf8)
        }
    }

    /// nil when the sum is neither an integer in range nor a finite double. A whole double added to an integer counts as an integer.
    package func adding(_ other: JSONNumber) -> JSONNumber? {
        switch (self, other) {
        case (.integer(let left), .integer(let right)): return Self.isInRange(left + right) ? .integer(left + right) : nil
        case (.integer(let left), .double(let right)):
            if let whole = Int64(exactly: right) {
                return Self.isInRange(left + Int128(whole)) ? .integer(left + Int128(whole)) : nil
            }
            return Self.finite(Double(left) + right)
        case (.double(let left), .integer(let right)): return Self.finite(left + Double(right))
        case (.double(let left), .double(let right)): return Self.finite(left + right)
        }
    }

    private static func isInRange(_ value: Int128) -> Bool { value >= Int128(Int64.min) && value <= Int128(UInt64.max) }
    private static func finite(_ value: Double) -> JSONNumber? { value.isFinite ? .double(value) : nil }
}
