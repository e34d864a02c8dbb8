import IIIProtocol

/// Writes JSON values as block-style YAML that reads back as the same values.
package enum YAMLText {
    package static func lines(_ value: JSONValue, indent: Int) -> [String] {
        let margin = String(repeating: " ", count: indent)
        switch value {
        case .object(let members):
            return members.keys.sorted().flatMap { key -> [String] in
                let member = members[key] ?? .null
                let head = "\(margin)\(scalar(.string(key))):"
                return isBlock(member) ? [head] + lines(member, indent: indent + 2) : ["\(head) \(scalar(member))"]
            }
        case .array(let elements):
            return elements.flatMap { element -> [String] in
                guard isBlock(element) else { return ["\(margin)- \(scalar(element))"] }
                var inner = lines(element, indent: indent + 2)
                inner[0] = "\(margin)- " + inner[0].dropFirst(indent + 2)
                return inner
            }
        default: return ["\(margin)\(scalar(value))"]
        }
    }

    /// Any value on one line: lists and maps in flow form, which JSON is.
    package static func inline(_ value: JSONValue) -> String { value.string == nil ? value.text : scalar(value) }

    /// One value on one line; strings are quoted when a parser would take them for something else.
    package static func scalar(_ value: JSONValue) -> String {
        guard case .string(let text) = value else { return value.text }
        let isPlainWord = !text.isEmpty && text.utf8.allSatisfy { isPlain($0) } && !text.hasPrefix("-")
        let staysString = YAMLScalar.value(text, tag: "", isPlain: true) == .string(text)
        let isYAML11Word = ["yes", "no", "on", "off", "y", "n"].contains(text.lowercased())
        return isPlainWord && staysString && !isYAML11Word ? text : String(decoding: JSONText.string(text), as: UTF8.self)
    }

    private static func isBlock(_ value: JSONValue) -> Bool {
        switch value {
        case .object(let members): !members.isEmpty
        case .array(let elements): !elements.isEmpty
        default: false
        }
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
            UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "/"):
            true
        default: false
        }
    }
}
