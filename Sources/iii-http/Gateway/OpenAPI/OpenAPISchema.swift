import IIIProtocol

/// Turns what a worker registered as a function's format into a JSON Schema that an OpenAPI 3.1 document may hold.
///
/// Formats are never validated at registration, so what could make the whole document invalid is left out here: keywords of
/// the wrong kind, references to other documents, and nesting beyond `maximumDepth`. Field-descriptor lists of older SDKs
/// (`{name, type, required, body}`) become object schemas.
enum OpenAPISchema {
    static let maximumDepth = 16

    /// nil when `format` says nothing. `pointer` is where the schema will stand, e.g. `#/components/schemas/a.request`: local
    /// references are rewritten to it.
    static func schema(_ format: JSONValue?, at pointer: String) -> JSONValue? {
        switch format {
        case .object(let members) where !members.isEmpty: convert(.object(members), pointer, depth: 0)
        case .array(let fields): descriptors(fields, pointer, depth: 0)
        default: nil
        }
    }

    private static func convert(_ value: JSONValue, _ pointer: String, depth: Int) -> JSONValue {
        guard depth < maximumDepth else { return [:] }
        switch value {
        case .bool: return value
        case .object(let members):
            if members["properties"] == nil, members["name"]?.string != nil, let fields = members["body"]?.array {
                return descriptors(fields, pointer, depth: depth + 1) ?? [:]
            }
            var result: [String: JSONValue] = [:]
            for (key, member) in members { result[key] = keyword(key, member, pointer, depth: depth) }
            return .object(result)
        default: return [:]
        }
    }

    /// The value of one keyword, or nil when it is not what JSON Schema (2020-12) allows.
    private static func keyword(_ key: String, _ value: JSONValue, _ pointer: String, depth: Int) -> JSONValue? {
        func schema(_ value: JSONValue) -> JSONValue { convert(value, pointer, depth: depth + 1) }
        // `nil` alone would be read as JSON's null.
        func kept(_ isLegal: Bool) -> JSONValue? { isLegal ? .some(value) : .none }
        switch key {
        case "$ref":
            guard let reference = value.string, reference == "#" || reference.hasPrefix("#/") else { return nil }
            return .string(pointer + reference.dropFirst())
        case "$schema", "$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$vocabulary":
            return nil
        case "properties", "patternProperties", "$defs", "definitions", "dependentSchemas":
            guard let members = value.object else { return nil }
            return .object(members.mapValues(schema))
        case "items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames", "unevaluatedItems",
            "unevaluatedProperties":
            return value.object != nil || value.bool != nil ? .some(schema(value)) : .none
        case "allOf", "anyOf", "oneOf", "prefixItems":
            guard let elements = value.array, !elements.isEmpty else { return nil }
            return .array(elements.map(schema))
        case "required":
            guard let names = value.array, names.allSatisfy({ $0.string != nil }), Set(names).count == names.count else { return nil }
            return value
        case "type": return kept(isType(value))
        case "enum", "examples": return kept(value.array != nil)
        case "title", "description", "format", "pattern", "$comment", "contentEncoding", "contentMediaType":
            return kept(value.string != nil)
        case "deprecated", "readOnly", "writeOnly", "uniqueItems": return kept(value.bool != nil)
        case "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum": return kept(value.number != nil)
        case "multipleOf": return kept((value.number ?? 0) > 0)
        case "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "minContains", "maxContains":
            return kept((value.integer ?? -1) >= 0)
        case "const", "default": return value
        default: return kept(key.hasPrefix("x-"))
        }
    }

    private static let typeNames: Set<String> = ["null", "boolean", "object", "array", "number", "string", "integer"]

    private static func isType(_ value: JSONValue) -> Bool {
        if let name = value.string { return typeNames.contains(name) }
        guard let names = value.array, !names.isEmpty, Set(names).count == names.count else { return false }
        return names.allSatisfy { $0.string.map(typeNames.contains) ?? false }
    }

    /// `[{name, type, description?, required?, body?, items?}]` as an object schema.
    private static func descriptors(_ fields: [JSONValue], _ pointer: String, depth: Int) -> JSONValue? {
        var properties: [String: JSONValue] = [:]
        var required: [JSONValue] = []
        for field in fields {
            guard let name = field["name"]?.string, !name.isEmpty else { continue }
            properties[name] = descriptor(field, pointer, depth: depth)
            if field["required"]?.bool == true, !required.contains(.string(name)) { required.append(.string(name)) }
        }
        guard !properties.isEmpty else { return nil }
        var schema: [String: JSONValue] = ["type": "object", "properties": .object(properties)]
        if !required.isEmpty { schema["required"] = .array(required) }
        return .object(schema)
    }

    private static func descriptor(_ field: JSONValue, _ pointer: String, depth: Int) -> JSONValue {
        guard depth < maximumDepth else { return [:] }
        var schema: [String: JSONValue] = [:]
        if let type = field["type"], isType(type) { schema["type"] = type }
        if let description = field["description"], description.string != nil { schema["description"] = description }
        if let items = field["items"], items.object != nil { schema["items"] = descriptor(items, pointer, depth: depth + 1) }
        if let body = field["body"]?.array, case .object(let nested)? = descriptors(body, pointer, depth: depth + 1) {
            schema.merge(nested) { $1 }
        }
        return .object(schema)
    }
}
