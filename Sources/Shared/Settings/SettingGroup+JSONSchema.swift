import IIIProtocol

extension SettingGroup {
    /// The declaration as a JSON Schema (draft 2020-12). What that cannot say stands under `x-unit`, `x-secret`, `x-change`,
    /// `x-environment` and `x-rules`.
    public var jsonSchema: JSONValue {
        var schema = schema(change: .restart).object ?? [:]
        schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
        return .object(schema)
    }

    fileprivate func schema(change outer: SettingChange) -> JSONValue {
        let change = self.change ?? outer
        var schema: [String: JSONValue] = [
            "type": "object", "additionalProperties": .bool(isOpen),
            "properties": .object(Dictionary(settings.map { ($0.key, $0.schema(change: change)) }, uniquingKeysWith: { $1 })),
        ]
        let required = settings.filter(\.isRequired).map { JSONValue.string($0.key) }
        if !required.isEmpty { schema["required"] = .array(required) }
        if !rules.isEmpty { schema["x-rules"] = .array(rules.map { .string($0.text) }) }
        return .object(schema)
    }
}

extension SettingDeclaration {
    fileprivate func schema(change outer: SettingChange) -> JSONValue {
        let change = self.change ?? outer
        var schema = shape.schema(change: change).object ?? [:]
        schema["description"] = .string(text)
        schema["x-change"] = .string(change.rawValue)
        if let fallback { schema["default"] = fallback }
        if let example { schema["examples"] = [example] }
        if let unit { schema["x-unit"] = .string(unit) }
        if let environment { schema["x-environment"] = .string(environment) }
        if isSecret { schema["x-secret"] = true }
        if inert != nil { schema["deprecated"] = true }
        return .object(schema)
    }
}

extension SettingShape {
    fileprivate func schema(change: SettingChange) -> JSONValue {
        switch self {
        case .anything: return [:]
        case .boolean: return ["type": "boolean"]
        case .integer(let range): return ["type": "integer", "minimum": .integer(range.lowerBound), "maximum": .integer(range.upperBound)]
        case .number(let range):
            var schema: [String: JSONValue] = ["type": "number"]
            if range.lowerBound.isFinite { schema["minimum"] = .double(range.lowerBound) }
            if range.upperBound.isFinite { schema["maximum"] = .double(range.upperBound) }
            return .object(schema)
        case .text(let rule): return ["type": "string", "title": .string(rule.expected)]
        case .choice(let words): return ["type": "string", "enum": .array(words.map(JSONValue.string))]
        case .list(let element): return ["type": "array", "items": element.schema(change: change)]
        case .map(let element): return ["type": "object", "additionalProperties": element.schema(change: change)]
        case .object(let group): return group.schema(change: change)
        case .adapter(let adapters):
            let alternatives = adapters.map { adapter -> JSONValue in
                [
                    "type": "object", "required": ["name"], "additionalProperties": false, "description": .string(adapter.text),
                    "properties": ["name": ["const": .string(adapter.name)], "config": adapter.settings.schema(change: change)],
                ]
            }
            return ["oneOf": .array(alternatives)]
        case .oneOf(let alternatives): return ["anyOf": .array(alternatives.map { $0.schema(change: change) })]
        case .nullable(let shape): return ["anyOf": [shape.schema(change: change), ["type": "null"]]]
        }
    }
}
