import IIIProtocol

/// Why an input cannot be read, in the reference's vocabulary: ``missing field `key` ``, ``invalid type: null, expected a string``.
package struct InputProblem: Error, Sendable, Equatable {
    package let message: String
    package init(_ message: String) { self.message = message }

    package static func missing(_ member: String) -> InputProblem { InputProblem("missing field `\(member)`") }
    package static func mismatch(_ value: ArraySlice<UInt8>, expected: String) -> InputProblem {
        InputProblem("invalid type: \(describe(value)), expected \(expected)")
    }

    /// What stands there, never with more of it than a number or a word.
    private static func describe(_ value: ArraySlice<UInt8>) -> String {
        let text = String(decoding: value.prefix(40), as: UTF8.self)
        switch JSONNode.text(value).kind {
        case .null: return "null"
        case .boolean: return "boolean `\(text)`"
        case .number: return (text.contains { ".eE".contains($0) } ? "floating point" : "integer") + " `\(text)`"
        case .string: return "string"
        case .array: return "sequence"
        case .object: return "map"
        }
    }
}

/// The members of an object that a call brought, still as text, so that absent and `null` stay apart and values stay as they were written.
package struct InputObject {
    private let text: ArraySlice<UInt8>
    private let members: [(name: String, value: Range<Int>)]

    /// `what` is the object's name in the message about anything else.
    package init(_ text: ArraySlice<UInt8>, as what: String = "an object") throws(InputProblem) {
        let text = text.drop { $0 <= 0x20 }
        guard text.first == UInt8(ascii: "{") else { throw .mismatch(text, expected: what) }
        self.text = text
        members = JSONLevel.members(of: text).map { key, value in
            (text[key].withUnsafeBytes { JSONText.decodeString($0) } ?? "", value)
        }
    }

    /// The input of a function without required members: nothing and `null` stand for `{}`.
    package init(optional payload: [UInt8]) throws(InputProblem) {
        let isNull = payload.drop { $0 <= 0x20 }.starts(with: Array("null".utf8))
        try self.init(isNull || payload.isEmpty ? Array("{}".utf8)[...] : payload[...])
    }

    /// The member's text, `null` included; nil when it is absent.
    package func raw(_ name: String) throws(InputProblem) -> ArraySlice<UInt8>? {
        var found: ArraySlice<UInt8>?
        for member in members where member.name == name {
            guard found == nil else { throw InputProblem("duplicate field `\(name)`") }
            found = text[member.value]
        }
        return found
    }

    /// The member's text; nil when it is absent or `null`.
    package func optional(_ name: String) throws(InputProblem) -> ArraySlice<UInt8>? {
        guard let value = try raw(name), value.first != UInt8(ascii: "n") else { return nil }
        return value
    }

    /// Any value, which must be there; without white space.
    package func value(_ name: String) throws(InputProblem) -> ArraySlice<UInt8> {
        guard let value = try raw(name) else { throw .missing(name) }
        return JSONLevel.compact(value)
    }

    package func string(_ name: String) throws(InputProblem) -> String {
        guard let value = try raw(name) else { throw .missing(name) }
        return try Self.string(value)
    }

    package func optionalString(_ name: String) throws(InputProblem) -> String? {
        guard let value = try optional(name) else { return nil }
        return try Self.string(value)
    }

    package func flag(_ name: String) throws(InputProblem) -> Bool {
        guard let value = try optional(name) else { return false }
        guard JSONNode.text(value).kind == .boolean else { throw .mismatch(value, expected: "a boolean") }
        return value.first == UInt8(ascii: "t")
    }

    package func optionalInteger(_ name: String, in range: ClosedRange<Int>) throws(InputProblem) -> Int? {
        guard let value = try optional(name) else { return nil }
        guard let number = Int(String(decoding: value, as: UTF8.self)) else { throw .mismatch(value, expected: "an integer") }
        guard range.contains(number) else {
            throw InputProblem("`\(name)` is \(number), expected \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    /// The texts of an array's elements, which must be there.
    package func array(_ name: String) throws(InputProblem) -> [ArraySlice<UInt8>] {
        guard let value = try raw(name) else { throw .missing(name) }
        guard value.first == UInt8(ascii: "[") else { throw .mismatch(value, expected: "a sequence") }
        return JSONLevel.elements(of: value).map { value[$0] }
    }

    package static func string(_ value: ArraySlice<UInt8>) throws(InputProblem) -> String {
        guard let text = value.withUnsafeBytes({ JSONText.decodeString($0) }) else { throw .mismatch(value, expected: "a string") }
        return text
    }
}
