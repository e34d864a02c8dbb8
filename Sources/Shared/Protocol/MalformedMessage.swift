/// What can be learned of a message that is not JSON, or of the beginning of one that is too long: who waits for it, and what is
/// wrong with it.
///
/// Only for messages that `Envelope.scan` has refused. Nothing is routed by what is found here; it serves to answer with an
/// error, and to write a log line, instead of letting somebody wait in vain.
package struct MalformedMessage {
    package private(set) var type = MessageType.unknown
    package private(set) var invocationID: UUIDBits?
    package private(set) var functionID: String?
    package private(set) var id: String?
    package private(set) var triggerType: String?

    /// Longest text that is taken for an id.
    private static let longestID = 1_024

    /// Reads the top-level members as far as they can be told apart.
    package init(_ bytes: UnsafeRawBufferPointer) {
        var cursor = LenientCursor(bytes)
        cursor.skipUntil(UInt8(ascii: "{"))
        guard cursor.consume(UInt8(ascii: "{")) else { return }
        while let key = cursor.nextKey() {
            guard cursor.peek == UInt8(ascii: "\"") else {
                cursor.skipValue()
                continue
            }
            guard let range = cursor.string() else { return }
            record(key, UnsafeRawBufferPointer(rebasing: bytes[range]))
        }
    }

    private mutating func record(_ key: String, _ value: UnsafeRawBufferPointer) {
        guard value.count <= Self.longestID else { return }
        func text() -> String { LenientCursor.decode(value) }
        switch key {
        case "type": type = MessageType(name: text())
        case "invocation_id": invocationID = UUIDBits(text())
        case "function_id": functionID = text()
        case "id": id = text()
        case "trigger_type": triggerType = text()
        default: break
        }
    }

    // MARK: What is wrong

    /// Why the strict scan refused the text. Holds nothing of its content but single bytes.
    package static func reason(_ bytes: UnsafeRawBufferPointer) -> String {
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { return "it starts with a byte order mark" }
        var cursor = JSONCursor(bytes)
        if cursor.skipValue() {
            cursor.skipWhitespace()
            return cursor.position < cursor.end ? "more text follows the object, at byte \(cursor.position)" : "it is not an object"
        }
        let place = cursor.position
        guard place < cursor.end else { return "it ends in the middle" }
        switch bytes[place] {
        case UInt8(ascii: "N"), UInt8(ascii: "I"):
            return "NaN and Infinity are not JSON (at byte \(place))"
        case UInt8(ascii: "{"), UInt8(ascii: "["):
            if LenientCursor.depth(bytes, before: place) >= JSONCursor.maximumDepth {
                return "it is nested deeper than \(JSONCursor.maximumDepth) levels"
            }
        case UInt8(ascii: "\\"): return "a malformed escape at byte \(place)"
        case 0..<0x20: return "a raw control character (\(bytes[place])) in a string at byte \(place)"
        case 0x80...: return "it is not UTF-8 at byte \(place)"
        default: break
        }
        return "it is not well-formed JSON at byte \(place)"
    }
}

/// Walks text that only resembles JSON. Never fails, always advances.
private struct LenientCursor {
    private let bytes: UnsafeRawBufferPointer
    private var position = 0

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    var peek: UInt8? { position < bytes.count ? bytes[position] : nil }

    mutating func consume(_ byte: UInt8) -> Bool {
        guard peek == byte else { return false }
        position += 1
        return true
    }

    mutating func skipUntil(_ byte: UInt8) {
        while let next = peek, next != byte { position += 1 }
    }

    /// The next member's name, with its value ahead; nil at the end of the object or of the text.
    mutating func nextKey() -> String? {
        while let next = peek, next != UInt8(ascii: "\""), next != UInt8(ascii: "}") { position += 1 }
        guard peek == UInt8(ascii: "\""), let range = string() else { return nil }
        while let next = peek, next <= 0x20 || next == UInt8(ascii: ":") { position += 1 }
        return peek == nil ? nil : Self.decode(UnsafeRawBufferPointer(rebasing: bytes[range]))
    }

    /// Consumes a string; the range between its quotes. nil when it is cut off.
    mutating func string() -> Range<Int>? {
        guard consume(UInt8(ascii: "\"")) else { return nil }
        let start = position
        while let next = peek {
            if next == UInt8(ascii: "\"") {
                position += 1
                return start..<(position - 1)
            }
            position += next == UInt8(ascii: "\\") ? 2 : 1
        }
        return nil
    }

    /// Consumes one value, however deep, without looking at its grammar.
    mutating func skipValue() {
        var depth = 0
        while let next = peek {
            switch next {
            case UInt8(ascii: "\""):
                guard string() != nil else { return }
                continue
            case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
            case UInt8(ascii: "}"), UInt8(ascii: "]"):
                // The bracket of the object around it is not this value's.
                guard depth > 0 else { return }
                depth -= 1
            case UInt8(ascii: ","): if depth == 0 { return }
            default: break
            }
            position += 1
        }
    }

    /// How many brackets are open at `place`.
    static func depth(_ bytes: UnsafeRawBufferPointer, before place: Int) -> Int {
        var cursor = LenientCursor(UnsafeRawBufferPointer(rebasing: bytes[..<place]))
        var depth = 0
        while let next = cursor.peek {
            switch next {
            case UInt8(ascii: "\""):
                guard cursor.string() != nil else { return depth }
                continue
            case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
            case UInt8(ascii: "}"), UInt8(ascii: "]"): depth -= 1
            default: break
            }
            cursor.position += 1
        }
        return depth
    }

    /// The text between two quotes: unescaped if that works, else as it is.
    static func decode(_ inner: UnsafeRawBufferPointer) -> String {
        let literal = [UInt8(ascii: "\"")] + Array(inner) + [UInt8(ascii: "\"")]
        return literal.withUnsafeBytes(JSONText.decodeString) ?? String(decoding: inner, as: UTF8.self)
    }
}
