import IIIProtocol

/// A value of an attribute or a log body with its exact type, as OTLP's `AnyValue` has it.
public indirect enum AttributeValue: Sendable, Hashable {
    /// A value that says nothing: `{}`, or of a kind that is not known.
    case empty
    case string(String)
    case bool(Bool)
    case integer(Int64)
    case double(Double)
    case bytes([UInt8])
    case array([AttributeValue])
    case map([Attribute])

    /// Deepest nesting that is kept; what lies deeper reads as `cutMark`.
    public static let maximumDepth = 64
    /// Stands for what was nested deeper than `maximumDepth`.
    public static let cutMark = AttributeValue.string("[nested too deeply]")

    /// As spans show it: always a text. Lists and maps are compact JSON, what is empty is the empty text, bytes are base64.
    public var text: String {
        switch self {
        case .empty: ""
        case .string(let value): value
        case .bool(let value): value ? "true" : "false"
        case .integer(let value): value.description
        case .double(let value): Self.text(value)
        case .bytes(let value): Base64.encode(value)
        case .array, .map: json.text
        }
    }

    /// As log records show it: the natural JSON type. What JSON has no number for is text.
    public var json: JSONValue {
        switch self {
        case .empty: .null
        case .string(let value): .string(value)
        case .bool(let value): .bool(value)
        case .integer(let value): .integer(value)
        case .double(let value): value.isFinite ? .double(value) : .string(Self.text(value))
        case .bytes(let value): .string(Base64.encode(value))
        case .array(let values): .array(values.map(\.json))
        case .map(let attributes): attributes.json
        }
    }

    /// From JSON: of a function's input.
    public init(json: JSONValue, depth: Int = AttributeValue.maximumDepth) {
        switch json {
        case .null: self = .empty
        case .bool(let value): self = .bool(value)
        case .integer(let value): self = .integer(value)
        case .double(let value): self = .double(value)
        case .string(let value): self = .string(value)
        case .array(let values): self = depth > 0 ? .array(values.map { AttributeValue(json: $0, depth: depth - 1) }) : Self.cutMark
        case .object(let members):
            self =
                depth > 0
                ? .map(
                    members.sorted { $0.key < $1.key }.map { Attribute($0.key, AttributeValue(json: $0.value, depth: depth - 1)) })
                : Self.cutMark
        }
    }

    /// The shortest text that reads back as the same number, without an exponent; `NaN`, `Infinity` and `-Infinity` for what is none.
    static func text(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value < 0 ? "-Infinity" : "Infinity" }
        if value == value.rounded(), abs(value) < 1e15 { return value.sign == .minus && value == 0 ? "-0" : Int64(value).description }
        let text = value.description
        guard let exponent = text.firstIndex(of: "e") else { return text }
        return withoutExponent(text[..<exponent], Int(text[text.index(after: exponent)...]) ?? 0)
    }

    private static func withoutExponent(_ mantissa: Substring, _ exponent: Int) -> String {
        let isNegative = mantissa.first == "-"
        let parts = (isNegative ? mantissa.dropFirst() : mantissa).split(separator: ".")
        let fraction = parts.count > 1 && parts[1] != "0" ? String(parts[1]) : ""
        let digits = String(parts.first ?? "0") + fraction
        let point = (parts.first?.count ?? 1) + exponent
        let body: String
        if point <= 0 {
            body = "0." + String(repeating: "0", count: -point) + digits
        } else if point >= digits.count {
            body = digits + String(repeating: "0", count: point - digits.count)
        } else {
            body = digits.prefix(point) + "." + digits.dropFirst(point)
        }
        return isNegative ? "-" + body : body
    }

    /// Roughly what it costs to keep, in bytes.
    public var cost: Int {
        switch self {
        case .empty, .bool, .integer, .double: 16
        case .string(let value): 16 + (value.utf8.count > 15 ? value.utf8.count + 32 : 0)
        case .bytes(let value): 48 + value.count
        case .array(let values): values.reduce(48) { $0 + $1.cost }
        case .map(let attributes): attributes.cost + 16
        }
    }
}

/// A key with its value. A list of them keeps its order and may have a key twice.
public struct Attribute: Sendable, Hashable {
    /// Not necessarily unique in its list.
    public var key: String
    /// With its exact type.
    public var value: AttributeValue

    /// `key` and `value` as they came.
    public init(_ key: String, _ value: AttributeValue) {
        self.key = key
        self.value = value
    }
}

extension [Attribute] {
    /// The last value of a key counts.
    public subscript(key: String) -> AttributeValue? { last { $0.key == key }?.value }

    /// An object; the last value of a key counts.
    public var json: JSONValue { .object(Dictionary(map { ($0.key, $0.value.json) }) { $1 }) }

    /// `[[key, text]]`, in order, duplicates included.
    public var pairs: JSONValue { .array(map { [.string($0.key), .string($0.value.text)] }) }

    /// Roughly what they cost to keep, in bytes.
    public var cost: Int { reduce(32) { $0 + 16 + ($1.key.utf8.count > 15 ? $1.key.utf8.count : 0) + $1.value.cost } }
}
