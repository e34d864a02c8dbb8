import IIIProtocol

/// The shape of a configuration value: types, ranges, defaults, known keys. A null value always counts as absent.
package indirect enum ConfigurationSchema: Sendable {
    case any
    case bool
    case integer(ClosedRange<Int64>)
    case number(ClosedRange<Double>)
    case string
    case choice([String])
    /// A string with its own rule; the text says what was expected.
    case checkedString(expected: String, isValid: @Sendable (String) -> Bool)
    case list(ConfigurationSchema)
    /// A map with free keys and values of one shape.
    case map(ConfigurationSchema)
    case object(Object)
    /// The first alternative whose outermost kind fits decides.
    case either([ConfigurationSchema])

    package struct Field: Sendable {
        package var schema: ConfigurationSchema
        /// The value an absent key stands for; nil when absence means something of its own.
        package var fallback: JSONValue?
        package var isRequired: Bool

        package init(_ schema: ConfigurationSchema, default fallback: JSONValue? = nil, required: Bool = false) {
            self.schema = schema
            self.fallback = fallback
            self.isRequired = required
        }
    }

    package struct Object: Sendable {
        package var fields: [String: Field]
        /// Whether unknown keys are accepted, as the tables of spec §16 say for some objects.
        package var isOpen: Bool

        package init(_ fields: [String: Field], open isOpen: Bool = false) {
            self.fields = fields
            self.isOpen = isOpen
        }
    }

    package static func object(_ fields: [String: Field], open: Bool = false) -> ConfigurationSchema {
        .object(Object(fields, open: open))
    }

    package static let port = ConfigurationSchema.integer(0...65535)
    package static let count = ConfigurationSchema.integer(0...Int64(Int32.max))
    package static let bytes = ConfigurationSchema.integer(0...(1 << 50))
    package static let milliseconds = ConfigurationSchema.integer(0...(1 << 40))

    /// What the schema wants, in words.
    package var expectation: String {
        switch self {
        case .any: "any value"
        case .bool: "true or false"
        case .integer(let range): "an integer from \(range.lowerBound) to \(range.upperBound)"
        case .number(let range): "a number from \(range.lowerBound) to \(range.upperBound)"
        case .string: "a string"
        case .choice(let words): "one of " + words.map { "`\($0)`" }.joined(separator: ", ")
        case .checkedString(let expected, _): expected
        case .list: "a list"
        case .map, .object: "a map"
        case .either(let alternatives): alternatives.map(\.expectation).joined(separator: " or ")
        }
    }

    /// `value` with the defaults of absent keys filled in, recursively.
    package func fillingDefaults(_ value: JSONValue) -> JSONValue {
        switch (self, value) {
        case (.object(let object), .object(var members)):
            for (key, field) in object.fields {
                if let member = members[key], !member.isNull {
                    members[key] = field.schema.fillingDefaults(member)
                } else if let fallback = field.fallback {
                    members[key] = field.schema.fillingDefaults(fallback)
                }
            }
            return .object(members)
        case (.list(let element), .array(let elements)): return .array(elements.map(element.fillingDefaults))
        case (.map(let element), .object(let members)): return .object(members.mapValues(element.fillingDefaults))
        default: return value
        }
    }
}
