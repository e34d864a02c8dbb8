import IIIProtocol

/// The YAML 1.2 core schema: which plain words are null, booleans and numbers.
package enum YAMLScalar {
    /// `tag` is the tag as written, empty when there is none. Only plain, untagged scalars are anything but strings.
    package static func value(_ text: String, tag: String, isPlain: Bool) -> JSONValue {
        switch tag {
        case "": return isPlain ? plain(text) : .string(text)
        case "tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:bool", "tag:yaml.org,2002:null": return plain(text)
        default: return .string(text)
        }
    }

    private static func plain(_ text: String) -> JSONValue {
        switch text {
        case "", "~", "null", "Null", "NULL": return .null
        case "true", "True", "TRUE": return .bool(true)
        case "false", "False", "FALSE": return .bool(false)
        case ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF": return .double(.infinity)
        case "-.inf", "-.Inf", "-.INF": return .double(-.infinity)
        case ".nan", ".NaN", ".NAN": return .double(.nan)
        default: return number(text) ?? .string(text)
        }
    }

    private static func number(_ text: String) -> JSONValue? {
        let bytes = Array(text.utf8)
        guard let first = bytes.first, isDigit(first) || first == minus || first == plus || first == dot else { return nil }
        if text.hasPrefix("0x"), let value = Int64(text.dropFirst(2), radix: 16) { return .integer(value) }
        if text.hasPrefix("0o"), let value = Int64(text.dropFirst(2), radix: 8) { return .integer(value) }
        if let value = Int64(text) { return .integer(value) }
        // Swift's Double also reads words and hexadecimal floats, so the letters are checked first.
        let allowed = bytes.allSatisfy { isDigit($0) || [minus, plus, dot, UInt8(ascii: "e"), UInt8(ascii: "E")].contains($0) }
        guard allowed, bytes.contains(where: isDigit) else { return nil }
        var candidate = text
        if let last = bytes.last, last == dot { candidate += "0" }
        return Double(candidate).map(JSONValue.double)
    }

    private static let minus = UInt8(ascii: "-")
    private static let plus = UInt8(ascii: "+")
    private static let dot = UInt8(ascii: ".")
    private static func isDigit(_ byte: UInt8) -> Bool { byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9") }
}
