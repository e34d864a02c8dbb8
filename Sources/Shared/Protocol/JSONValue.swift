/// A decoded JSON document, for everything that is not on the hot path: registrations, configuration, listings.
///
/// Integers in the `Int64` range stay integers and keep apart from doubles (`1` and `1.0` differ); larger ones become
/// doubles. Duplicate keys: the last one wins. A lone surrogate escape reads as U+FFFD: whatever passes text on keeps the bytes
/// instead of decoding them. Objects are written with their keys in order of code points.
public enum JSONValue: Sendable, Hashable {
    case null
    case bool(Bool)
    case integer(Int64)
    case double(Double)
    case string(String)
    case array([JSONValue])
    case object([String: JSONValue])
}

/// Why a text is not JSON, with the byte offset at which that was noticed.
public struct JSONError: Error, Sendable, Hashable, CustomStringConvertible {
    /// Where reading stopped, in bytes.
    public let offset: Int
    public var description: String { "invalid JSON at byte \(offset)" }
}

extension JSONValue {
    /// Parses one complete document; anything but white space after it is an error.
    public init(parsing bytes: UnsafeRawBufferPointer) throws(JSONError) {
        var check = JSONCursor(bytes)
        guard check.skipValue() else { throw JSONError(offset: check.position) }
        check.skipWhitespace()
        guard check.position == check.end else { throw JSONError(offset: check.position) }
        // The text is known to be well formed from here on, so building the value cannot fail.
        var builder = JSONBuilder(cursor: JSONCursor(bytes))
        self = builder.value()
    }

    /// The same from bytes that are held.
    public init(parsing bytes: [UInt8]) throws(JSONError) {
        let result: Result<JSONValue, JSONError> = bytes.withUnsafeBytes { buffer in
            do throws(JSONError) { return .success(try JSONValue(parsing: buffer)) } catch { return .failure(error) }
        }
        self = try result.get()
    }

    /// The same from text.
    public init(parsing text: String) throws(JSONError) {
        try self.init(parsing: Array(text.utf8))
    }

    // MARK: Reading

    /// A member of an object; nil for an absent one and for what is no object.
    public subscript(key: String) -> JSONValue? {
        if case .object(let members) = self { return members[key] }
        return nil
    }

    /// The text of a string; nil for any other value.
    public var string: String? {
        if case .string(let value) = self { return value }
        return nil
    }

    /// nil for any other value.
    public var bool: Bool? {
        if case .bool(let value) = self { return value }
        return nil
    }

    /// A number without a fraction, within Int64; nil for any other value.
    public var integer: Int64? {
        if case .integer(let value) = self { return value }
        return nil
    }

    /// The number as a double, whichever way it was written.
    public var number: Double? {
        switch self {
        case .integer(let value): Double(value)
        case .double(let value): value
        default: nil
        }
    }

    /// nil for any other value.
    public var array: [JSONValue]? {
        if case .array(let value) = self { return value }
        return nil
    }

    /// nil for any other value.
    public var object: [String: JSONValue]? {
        if case .object(let value) = self { return value }
        return nil
    }

    /// Whether it is JSON's `null`; an absent member is nil instead.
    public var isNull: Bool { self == .null }
}

extension JSONValue: ExpressibleByNilLiteral, ExpressibleByBooleanLiteral, ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral,
    ExpressibleByStringInterpolation, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
    public init(nilLiteral: ()) { self = .null }
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    public init(integerLiteral value: Int64) { self = .integer(value) }
    public init(floatLiteral value: Double) { self = .double(value) }
    public init(stringLiteral value: String) { self = .string(value) }
    public init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
    public init(dictionaryLiteral elements: (String, JSONValue)...) {
        self = .object(Dictionary(elements, uniquingKeysWith: { _, last in last }))
    }

    /// `null` for nil, else the wrapped text: the form most listings want.
    public init(_ text: String?) { self = text.map(JSONValue.string) ?? .null }
    /// A number.
    public init(_ value: Int) { self = .integer(Int64(value)) }
}

/// Builds a value from text that `JSONCursor` has already accepted.
private struct JSONBuilder {
    var cursor: JSONCursor

    mutating func value() -> JSONValue {
        cursor.skipWhitespace()
        switch cursor.peek {
        case UInt8(ascii: "{"): return object()
        case UInt8(ascii: "["): return array()
        case UInt8(ascii: "\""): return .string(string())
        case UInt8(ascii: "t"):
            cursor.position &+= 4
            return .bool(true)
        case UInt8(ascii: "f"):
            cursor.position &+= 5
            return .bool(false)
        case UInt8(ascii: "n"):
            cursor.position &+= 4
            return .null
        default: return number()
        }
    }

    private mutating func object() -> JSONValue {
        var members: [String: JSONValue] = [:]
        cursor.position &+= 1
        cursor.skipWhitespace()
        while !cursor.consume(UInt8(ascii: "}")) {
            cursor.skipWhitespace()
            let key = string()
            cursor.skipWhitespace()
            _ = cursor.consume(UInt8(ascii: ":"))
            members[key] = value()
            cursor.skipWhitespace()
            _ = cursor.consume(UInt8(ascii: ","))
        }
        return .object(members)
    }

    private mutating func array() -> JSONValue {
        var elements: [JSONValue] = []
        cursor.position &+= 1
        cursor.skipWhitespace()
        while !cursor.consume(UInt8(ascii: "]")) {
            elements.append(value())
            cursor.skipWhitespace()
            _ = cursor.consume(UInt8(ascii: ","))
            cursor.skipWhitespace()
        }
        return .array(elements)
    }

    private mutating func string() -> String {
        let start = cursor.position
        _ = cursor.skipString()
        return JSONText.decodeString(UnsafeRawBufferPointer(start: cursor.base + start, count: cursor.position - start)) ?? ""
    }

    private mutating func number() -> JSONValue {
        let start = cursor.position
        _ = cursor.skipValue()
        let text = String(decoding: UnsafeBufferPointer(start: cursor.base + start, count: cursor.position - start), as: UTF8.self)
        if let integer = Int64(text), text != "-0" { return .integer(integer) }
        return .double(Double(text) ?? 0)
    }
}
