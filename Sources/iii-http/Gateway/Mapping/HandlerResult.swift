import IIIProtocol

/// Where status, headers and body stand in the JSON text that a handler returned
/// (docs/reference/http.md#what-a-function-returns). Nothing is decoded yet.
struct HandlerResult {
    /// nil: not deliverable as final status.
    private(set) var status: Int?
    /// Whether there is a status that counts as absent because it is no integer.
    private(set) var ignoresStatus = false
    /// A JSON object or array, in whole.
    private(set) var headers: Range<Int>?
    /// nil: the member is missing, which means `{}`.
    private(set) var body: Range<Int>?

    /// Whether it has any of the three members.
    private(set) var isEnvelope = false

    /// `text` is one JSON value. Anything but an object means the default status with body `{}`: a plain return value is no body.
    init(_ text: UnsafeRawBufferPointer, defaultStatus: Int) {
        status = defaultStatus
        JSONMembers.forEach(in: text) { key, value in
            switch key.count {
            case 4 where key.elementsEqual("body".utf8): body = value
            case 7 where key.elementsEqual("headers".utf8): headers = value
            case 11 where key.elementsEqual("status_code".utf8):
                let literal = UnsafeRawBufferPointer(rebasing: text[value])
                ignoresStatus = !Self.isInteger(literal) && !literal.elementsEqual("null".utf8)
                status = Self.status(literal, defaultStatus)
            default: return
            }
            isEnvelope = true
        }
    }

    /// Baseline rules but one: only an integer counts, other values mean the default (200). An integer outside 200…599 cannot be
    /// sent and is not passed over in silence.
    private static func status(_ text: UnsafeRawBufferPointer, _ fallback: Int) -> Int? {
        guard isInteger(text) else { return fallback }
        guard text.count == 3, text.first != UInt8(ascii: "-") else { return nil }
        let value = text.reduce(0) { $0 * 10 + Int($1 &- 0x30) }
        return (200...599).contains(value) ? value : nil
    }

    private static func isInteger(_ text: UnsafeRawBufferPointer) -> Bool {
        let digits = text.first == UInt8(ascii: "-") ? UnsafeRawBufferPointer(rebasing: text.dropFirst()) : text
        return !digits.isEmpty && digits.allSatisfy { $0 &- 0x30 < 10 }
    }
}

/// Walks the members of a JSON object without decoding values.
enum JSONMembers {
    /// Calls `body` with the unescaped key and the byte range of the value. A text that is not an object has no members.
    @inline(__always)
    static func forEach(in text: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer, Range<Int>) -> Void) {
        var cursor = JSONCursor(text)
        cursor.skipWhitespace()
        guard cursor.consume(UInt8(ascii: "{")) else { return }
        cursor.skipWhitespace()
        while cursor.position < cursor.end, cursor.peek != UInt8(ascii: "}") {
            let keyStart = cursor.position
            guard let hasEscape = cursor.skipString() else { return }
            let literal = UnsafeRawBufferPointer(rebasing: text[keyStart..<cursor.position])
            cursor.skipWhitespace()
            guard cursor.consume(UInt8(ascii: ":")) else { return }
            cursor.skipWhitespace()
            let start = cursor.position
            guard cursor.skipValue() else { return }
            let value = start..<cursor.position
            if hasEscape, var key = JSONText.decodeString(literal) {
                key.withUTF8 { body(UnsafeRawBufferPointer($0), value) }
            } else {
                body(UnsafeRawBufferPointer(rebasing: literal[1..<(literal.count - 1)]), value)
            }
            cursor.skipWhitespace()
            _ = cursor.consume(UInt8(ascii: ","))
            cursor.skipWhitespace()
        }
    }

    /// Calls `body` with the byte range of every element. A text that is not an array has none.
    static func forEachElement(in text: UnsafeRawBufferPointer, _ body: (Range<Int>) -> Void) {
        var cursor = JSONCursor(text)
        cursor.skipWhitespace()
        guard cursor.consume(UInt8(ascii: "[")) else { return }
        cursor.skipWhitespace()
        while cursor.position < cursor.end, cursor.peek != UInt8(ascii: "]") {
            let start = cursor.position
            guard cursor.skipValue() else { return }
            body(start..<cursor.position)
            cursor.skipWhitespace()
            _ = cursor.consume(UInt8(ascii: ","))
            cursor.skipWhitespace()
        }
    }
}
