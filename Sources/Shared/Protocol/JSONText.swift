/// Writing JSON text, and reading single JSON strings in place.
public enum JSONText {
    /// Appends `text` as a JSON string, quotes included.
    ///
    /// Only what the grammar demands is escaped: quote, backslash and control characters.
    @inlinable
    public static func appendString(_ text: String, to output: inout [UInt8]) {
        var text = text
        text.withUTF8 { appendString(UnsafeRawBufferPointer($0), to: &output) }
    }

    /// Appends UTF-8 bytes as a JSON string. Bytes that are not UTF-8 must be repaired by the caller.
    public static func appendString(_ bytes: UnsafeRawBufferPointer, to output: inout [UInt8]) {
        output.append(UInt8(ascii: "\""))
        var start = 0
        for index in 0..<bytes.count {
            let byte = bytes[index]
            guard byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") else { continue }
            output.append(contentsOf: bytes[start..<index])
            appendEscape(byte, to: &output)
            start = index + 1
        }
        output.append(contentsOf: bytes[start..<bytes.count])
        output.append(UInt8(ascii: "\""))
    }

    private static func appendEscape(_ byte: UInt8, to output: inout [UInt8]) {
        output.append(UInt8(ascii: "\\"))
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"): output.append(byte)
        case 0x08: output.append(UInt8(ascii: "b"))
        case 0x09: output.append(UInt8(ascii: "t"))
        case 0x0A: output.append(UInt8(ascii: "n"))
        case 0x0C: output.append(UInt8(ascii: "f"))
        case 0x0D: output.append(UInt8(ascii: "r"))
        default:
            output.append(contentsOf: [UInt8(ascii: "u"), UInt8(ascii: "0"), UInt8(ascii: "0")])
            output.append(hexDigits[Int(byte >> 4)])
            output.append(hexDigits[Int(byte & 15)])
        }
    }

    /// The JSON string literal of `text`, quotes included.
    public static func string(_ text: String) -> [UInt8] {
        var output: [UInt8] = []
        output.reserveCapacity(text.utf8.count + 2)
        appendString(text, to: &output)
        return output
    }

    /// Whether `bytes` is exactly one well-formed JSON value, white space around it allowed.
    public static func isValid(_ bytes: UnsafeRawBufferPointer) -> Bool {
        var cursor = JSONCursor(bytes)
        guard cursor.skipValue() else { return false }
        cursor.skipWhitespace()
        return cursor.position == cursor.end
    }

    /// Decodes the JSON string literal that `bytes` holds, quotes included; nil when it is not a single string.
    package static func decodeString(_ bytes: UnsafeRawBufferPointer) -> String? {
        var cursor = JSONCursor(bytes)
        guard let hasEscape = cursor.skipString(), cursor.position == cursor.end else { return nil }
        let inner = UnsafeRawBufferPointer(rebasing: bytes[1..<(bytes.count - 1)])
        return hasEscape ? unescape(inner) : String(decoding: inner, as: UTF8.self)
    }

    /// Removes the escapes of a string that the cursor has accepted. A lone surrogate, which no `String` can hold, becomes U+FFFD.
    private static func unescape(_ bytes: UnsafeRawBufferPointer) -> String {
        let cursor = JSONCursor(bytes)
        var output: [UInt8] = []
        output.reserveCapacity(bytes.count)
        var index = 0
        while index < bytes.count {
            guard bytes[index] == UInt8(ascii: "\\") else {
                output.append(bytes[index])
                index += 1
                continue
            }
            let kind = bytes[index + 1]
            index += 2
            switch kind {
            case UInt8(ascii: "b"): output.append(0x08)
            case UInt8(ascii: "f"): output.append(0x0C)
            case UInt8(ascii: "n"): output.append(0x0A)
            case UInt8(ascii: "r"): output.append(0x0D)
            case UInt8(ascii: "t"): output.append(0x09)
            case UInt8(ascii: "u"):
                var scalar = cursor.hexUnit(at: index) ?? 0xFFFD
                index += 4
                if (0xD800...0xDBFF).contains(scalar), let low = lowSurrogate(cursor, at: index) {
                    scalar = 0x10000 + (scalar - 0xD800) << 10 + (low - 0xDC00)
                    index += 6
                }
                output.append(contentsOf: String(Unicode.Scalar(scalar) ?? "\u{FFFD}").utf8)
            default: output.append(kind)
            }
        }
        return String(decoding: output, as: UTF8.self)
    }

    /// The second half of a surrogate pair, if its escape stands at `index`.
    private static func lowSurrogate(_ cursor: JSONCursor, at index: Int) -> UInt32? {
        guard index &+ 6 <= cursor.end, cursor.base[index] == UInt8(ascii: "\\"), cursor.base[index &+ 1] == UInt8(ascii: "u"),
            let unit = cursor.hexUnit(at: index &+ 2), (0xDC00...0xDFFF).contains(unit)
        else { return nil }
        return unit
    }

    package static let hexDigits: [UInt8] = Array("0123456789abcdef".utf8)
}

extension JSONValue {
    /// Appends the compact JSON text. Doubles that JSON cannot express (NaN, infinities) are written as `null`.
    public func write(to output: inout [UInt8]) {
        switch self {
        case .null: output.append(contentsOf: "null".utf8)
        case .bool(let value): output.append(contentsOf: (value ? "true" : "false").utf8)
        case .integer(let value): output.append(contentsOf: value.description.utf8)
        case .double(let value): output.append(contentsOf: (value.isFinite ? value.description : "null").utf8)
        case .string(let value): JSONText.appendString(value, to: &output)
        case .array(let elements):
            output.append(UInt8(ascii: "["))
            for (index, element) in elements.enumerated() {
                if index > 0 { output.append(UInt8(ascii: ",")) }
                element.write(to: &output)
            }
            output.append(UInt8(ascii: "]"))
        case .object(let members):
            output.append(UInt8(ascii: "{"))
            for (index, key) in members.keys.sorted().enumerated() {
                if index > 0 { output.append(UInt8(ascii: ",")) }
                JSONText.appendString(key, to: &output)
                output.append(UInt8(ascii: ":"))
                (members[key] ?? .null).write(to: &output)
            }
            output.append(UInt8(ascii: "}"))
        }
    }

    /// The compact JSON text as bytes.
    public var bytes: [UInt8] {
        var output: [UInt8] = []
        write(to: &output)
        return output
    }

    /// The compact JSON text.
    public var text: String { String(decoding: bytes, as: UTF8.self) }

    /// The JSON text indented by two spaces a level, keys in order.
    public func pretty(indent: Int = 0) -> String {
        let inner = String(repeating: "  ", count: indent + 1)
        let outer = String(repeating: "  ", count: indent)
        switch self {
        case .array(let elements) where !elements.isEmpty:
            return "[\n" + elements.map { inner + $0.pretty(indent: indent + 1) }.joined(separator: ",\n") + "\n\(outer)]"
        case .object(let members) where !members.isEmpty:
            let rows = members.keys.sorted().map { key in
                inner + String(decoding: JSONText.string(key), as: UTF8.self) + ": " + (members[key] ?? .null).pretty(indent: indent + 1)
            }
            return "{\n" + rows.joined(separator: ",\n") + "\n\(outer)}"
        default: return text
        }
    }
}

extension JSONValue: CustomStringConvertible {
    public var description: String { text }
}
