/// The value of an attribute of a span or a metric.
public enum TelemetryValue: Sendable, Hashable, ExpressibleByStringInterpolation, ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral,
    ExpressibleByBooleanLiteral
{
    case string(String)
    case integer(Int64)
    case double(Double)
    case bool(Bool)

    public init(stringLiteral value: String) { self = .string(value) }
    public init(integerLiteral value: Int64) { self = .integer(value) }
    public init(floatLiteral value: Double) { self = .double(value) }
    public init(booleanLiteral value: Bool) { self = .bool(value) }
    /// A number.
    public init(_ value: Int) { self = .integer(Int64(value)) }

    /// Roughly what it costs to keep, in bytes.
    var cost: Int {
        if case .string(let text) = self { return text.utf8.count + 24 }
        return 24
    }

    /// Texts are cut to `maximum` bytes at a character's boundary.
    func limited(to maximum: Int) -> TelemetryValue {
        guard case .string(let text) = self, text.utf8.count > maximum else { return self }
        // An index inside a character counts as its beginning.
        return .string(String(text[..<text.utf8.index(text.startIndex, offsetBy: maximum)]) + "…")
    }
}
