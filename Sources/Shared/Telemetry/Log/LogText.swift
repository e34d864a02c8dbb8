import IIIProtocol

/// What every log line goes through before it reaches a terminal, a journal or a file: one escaping, one cap.
///
/// Texts of a line come from workers and clients too. Control characters could forge lines or drive a terminal, so they are
/// written as escapes: C0, DEL and C1. What is too long is cut, and says how long it was.
package enum LogText {
    /// Longest message and longest value of a field, in bytes.
    package static let maximumMessageBytes = 8_192
    package static let maximumValueBytes = 1_024

    /// `text` cut to `limit` bytes at a character's boundary.
    package static func capped(_ text: String, _ limit: Int) -> String {
        let count = text.utf8.count
        guard count > limit else { return text }
        return "\(text[..<text.utf8.index(text.startIndex, offsetBy: limit)])…[\(count) bytes]"
    }

    /// One line without control characters.
    ///
    /// With `keepsColour` sequences that only set colours and weights (SGR) stay: processes of the user may write them to a
    /// terminal that shows colours.
    package static func singleLine(_ text: String, keepsColour: Bool = false) -> String {
        guard text.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F || $0 == 0xC2 }) else { return text }
        var output: [UInt8] = []
        let bytes = Array(text.utf8)
        output.reserveCapacity(bytes.count + 16)
        var index = 0
        while index < bytes.count {
            let byte = bytes[index]
            switch byte {
            case 0x09: output.append(byte)
            case 0x0A: output += Array("\\n".utf8)
            case 0x0D: output += Array("\\r".utf8)
            case 0x1B where keepsColour:
                if let end = endOfColour(bytes, from: index) {
                    output += bytes[index...end]
                    index = end
                } else {
                    appendEscape(UInt32(byte), to: &output)
                }
            case 0..<0x20, 0x7F: appendEscape(UInt32(byte), to: &output)
            case 0xC2 where index + 1 < bytes.count && bytes[index + 1] < 0xA0:
                index += 1
                appendEscape(UInt32(bytes[index]), to: &output)
            default: output.append(byte)
            }
            index += 1
        }
        return String(decoding: output, as: UTF8.self)
    }

    /// A JSON text whose strings hold no DEL and no C1 characters; C0 is escaped by JSON itself.
    package static func json(_ value: JSONValue) -> [UInt8] {
        let bytes = value.bytes
        guard bytes.contains(where: { $0 == 0x7F || $0 == 0xC2 }) else { return bytes }
        var output: [UInt8] = []
        output.reserveCapacity(bytes.count + 16)
        var index = 0
        while index < bytes.count {
            if bytes[index] == 0x7F {
                output += Array("\\u007f".utf8)
            } else if bytes[index] == 0xC2, index + 1 < bytes.count, bytes[index + 1] < 0xA0 {
                index += 1
                output += Array("\\u00".utf8) + hex(UInt32(bytes[index]))
            } else {
                output.append(bytes[index])
            }
            index += 1
        }
        return output
    }

    /// `value`, quoted like a JSON string where a reader could not tell where it ends.
    package static func quoted(_ value: String) -> String {
        let needsQuotes = value.isEmpty || value.utf8.contains { $0 <= 0x20 || $0 == UInt8(ascii: "\"") || $0 == UInt8(ascii: "=") }
        return needsQuotes ? String(decoding: JSONText.string(value), as: UTF8.self) : value
    }

    /// The index of the `m` that ends `ESC [ digits and semicolons m`.
    private static func endOfColour(_ bytes: [UInt8], from start: Int) -> Int? {
        guard start + 2 < bytes.count, bytes[start + 1] == UInt8(ascii: "[") else { return nil }
        var index = start + 2
        while index < bytes.count, index - start < 32 {
            switch bytes[index] {
            case UInt8(ascii: "m"): return index
            case 0x30...0x39, UInt8(ascii: ";"), UInt8(ascii: ":"): index += 1
            default: return nil
            }
        }
        return nil
    }

    private static func appendEscape(_ scalar: UInt32, to output: inout [UInt8]) {
        output += Array("\\x".utf8) + hex(scalar)
    }

    private static func hex(_ scalar: UInt32) -> [UInt8] {
        [JSONText.hexDigits[Int(scalar >> 4 & 15)], JSONText.hexDigits[Int(scalar & 15)]]
    }
}
