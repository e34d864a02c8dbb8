import IIIProtocol
import NIOCore

/// Writes a handler's headers as header lines and notes what decides about the body
/// (docs/reference/http.md#what-a-function-returns).
///
/// Array form: every string is split at its first colon and duplicates are all sent. Object form: string values, and beyond
/// the baseline numbers, booleans and arrays of strings. Names go out in lower case. What would break the framing
/// (hop-by-hop fields, `content-length`), names that are no tokens and values with control characters are left out.
struct ResponseHeaders {
    /// What a content type says about the body.
    enum ContentKind {
        case json, text, other
    }

    private let cors: CORSPolicy
    /// A header that the gateway sets itself; lower case.
    private let reserved: [UInt8]
    /// The first content type decides how the body is written.
    private(set) var hasContentType = false
    private(set) var contentKind = ContentKind.json
    private(set) var hasDate = false
    private(set) var hasEntityTag = false
    /// The body is encoded already, is a part of one, must not be changed, or has a validator of its bytes.
    private(set) var forbidsCompression = false

    init(cors: CORSPolicy, reserved: [UInt8]) {
        self.cors = cors
        self.reserved = reserved
    }

    /// `text` is the JSON of the `headers` member; a value of another kind than array or object means no headers.
    mutating func write(_ text: UnsafeRawBufferPointer, to buffer: inout ByteBuffer) {
        if text.first == UInt8(ascii: "[") {
            JSONMembers.forEachElement(in: text) { range in
                Self.withString(UnsafeRawBufferPointer(rebasing: text[range])) { line in
                    guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else { return }
                    let name = ASCII.trimmed(UnsafeRawBufferPointer(rebasing: line[..<colon]))
                    write(name, UnsafeRawBufferPointer(rebasing: line[(colon + 1)...]), to: &buffer)
                }
            }
            return
        }
        JSONMembers.forEach(in: text) { name, range in
            let value = UnsafeRawBufferPointer(rebasing: text[range])
            switch value.first {
            case UInt8(ascii: "\""): Self.withString(value) { write(name, $0, to: &buffer) }
            case UInt8(ascii: "["):
                JSONMembers.forEachElement(in: value) { element in
                    Self.withString(UnsafeRawBufferPointer(rebasing: value[element])) { write(name, $0, to: &buffer) }
                }
            case UInt8(ascii: "{"), UInt8(ascii: "n"), nil: break
            default: write(name, value, to: &buffer)
            }
        }
    }

    private mutating func write(_ name: UnsafeRawBufferPointer, _ rawValue: UnsafeRawBufferPointer, to buffer: inout ByteBuffer) {
        let value = ASCII.trimmed(rawValue)
        guard HTTPFieldName.isToken(name), Self.isFieldValue(value), !HTTPFieldName.belongsToFraming(name), !cors.overrides(name) else {
            return
        }
        if name.count == reserved.count, reserved.withUnsafeBytes({ ASCII.equalIgnoringCase(name, $0) }) { return }
        note(name, value)
        buffer.writeLowercased(name)
        buffer.writeStaticString(": ")
        buffer.writeBytes(value)
        buffer.writeStaticString("\r\n")
    }

    private mutating func note(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
        switch name.count {
        case 4:
            if ASCII.equals(name, "date") { hasDate = true }
            if ASCII.equals(name, "etag") {
                hasEntityTag = true
                if !ASCII.contains(value, "w/") { forbidsCompression = true }
            }
        case 12 where ASCII.equals(name, "content-type"):
            if !hasContentType { contentKind = Self.kind(value) }
            hasContentType = true
        case 13:
            if ASCII.equals(name, "content-range") { forbidsCompression = true }
            if ASCII.equals(name, "cache-control"), ASCII.contains(value, "no-transform") { forbidsCompression = true }
        case 16 where ASCII.equals(name, "content-encoding"): forbidsCompression = true
        default: break
        }
    }

    /// `text` stands for everything readable that gains from compression; event streams do not, they must not wait.
    private static func kind(_ value: UnsafeRawBufferPointer) -> ContentKind {
        if ASCII.contains(value, "json") { return .json }
        if ASCII.contains(value, "text/event-stream") { return .other }
        if ASCII.contains(value, "text/") || ASCII.contains(value, "xml") || ASCII.contains(value, "javascript") { return .text }
        return .other
    }

    /// Calls `body` with the text of a JSON string; nil, uncalled, for other values.
    @inline(__always) @discardableResult
    static func withString<Value>(_ literal: UnsafeRawBufferPointer, _ body: (UnsafeRawBufferPointer) -> Value) -> Value? {
        guard literal.count >= 2, literal[0] == UInt8(ascii: "\"") else { return nil }
        let inner = UnsafeRawBufferPointer(rebasing: literal[1..<(literal.count - 1)])
        guard inner.contains(UInt8(ascii: "\\")) else { return body(inner) }
        guard var text = JSONText.decodeString(literal) else { return nil }
        return text.withUTF8 { body(UnsafeRawBufferPointer($0)) }
    }

    private static func isFieldValue(_ bytes: UnsafeRawBufferPointer) -> Bool {
        for byte in bytes where byte < 0x20 && byte != 0x09 || byte == 0x7F { return false }
        return true
    }
}
