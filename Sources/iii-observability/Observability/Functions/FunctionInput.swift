import IIIProtocol

/// The input of an observability function: unknown members are passed over, and what cannot be read is a `deserialization_error` that
/// names the function and the member. `null` counts as absent.
struct FunctionInput {
    private let members: [String: JSONValue]
    private let functionID: String

    init(_ json: JSONValue, of functionID: String) throws(InvocationError) {
        self.functionID = functionID
        guard let object = json.object else { throw Self.problem("expected an object", functionID) }
        members = object
    }

    private static func problem(_ reason: String, _ functionID: String) -> InvocationError {
        InvocationError(.deserializationError, "Failed to deserialize input for \(functionID): \(reason)")
    }

    subscript(key: String) -> JSONValue? {
        guard let value = members[key], !value.isNull else { return .none }
        return value
    }

    /// What was written, or null.
    func echo(_ key: String) -> JSONValue { members[key] ?? .null }

    private func read<Value>(_ key: String, _ what: String, _ convert: (JSONValue) -> Value?) throws(InvocationError) -> Value? {
        guard let value = self[key] else { return nil }
        guard let converted = convert(value) else { throw Self.problem("`\(key)` must be \(what)", functionID) }
        return converted
    }

    func text(_ key: String) throws(InvocationError) -> String? { try read(key, "a string") { $0.string } }
    func flag(_ key: String) throws(InvocationError) -> Bool? { try read(key, "true or false") { $0.bool } }
    func number(_ key: String) throws(InvocationError) -> Double? { try read(key, "a number") { $0.number } }

    func required(_ key: String) throws(InvocationError) -> String {
        guard members[key] != nil else { throw Self.problem("missing field `\(key)`", functionID) }
        guard let text = members[key]?.string else { throw Self.problem("`\(key)` must be a string", functionID) }
        return text
    }

    /// A whole number from 0; one beyond 2⁶³ reads as the greatest there is.
    func unsigned(_ key: String) throws(InvocationError) -> UInt64? {
        try read(key, "a whole number that is not negative") { value in
            switch value {
            case .integer(let number): UInt64(exactly: number)
            case .double(let number) where number >= 0x1p63 && number == number.rounded(): number < 0x1p64 ? UInt64(number) : .max
            default: nil
            }
        }
    }

    func integer(_ key: String) throws(InvocationError) -> Int? {
        try read(key, "a whole number") { $0.integer.flatMap { Int(exactly: $0) } }
    }

    func list(_ key: String) throws(InvocationError) -> [JSONValue]? { try read(key, "an array") { $0.array } }
}

/// The JSON Schema of an input, as it is published with a function.
enum InputSchema {
    /// `members` with the JSON type of each; all may be null but the `required`.
    static func object(_ members: KeyValuePairs<String, String>, required: [String] = []) -> JSONValue {
        var properties: [String: JSONValue] = [:]
        for (name, type) in members {
            let names = type.split(separator: "|").map { JSONValue.string(String($0)) }
            properties[name] = ["type": required.contains(name) ? names[0] : .array(names + ["null"])]
        }
        var schema: [String: JSONValue] = [
            "$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "properties": .object(properties),
        ]
        if !required.isEmpty { schema["required"] = .array(required.map { .string($0) }) }
        return .object(schema)
    }
}
