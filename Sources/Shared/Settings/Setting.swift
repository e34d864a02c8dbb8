import IIIProtocol

/// One key of a configuration, stated once: name, type, unit, range, default, text, secret or not, changeable live or not.
///
/// A worker keeps its settings as constants, lists them in a `SettingGroup`, and reads them out of `SettingValues`:
///
/// ```swift
/// enum TickerSettings {
///     static let interval = Setting("interval_ms", .milliseconds(10...60_000), default: 1000, change: .live, "Time between two ticks.")
///     static let label = Setting("label", .text, "Goes into every tick.")         // Setting<String?>: absent is nil
///     static let group = SettingGroup {
///         interval
///         label
///     }
/// }
/// let values = try TickerSettings.group.read(json)
/// values[TickerSettings.interval]    // Duration, within its range
/// ```
///
/// Check, default and reading come from here, so there is no second range check anywhere. `default` is written as in the file.
public struct Setting<Value: Sendable>: Sendable {
    /// The same without its Swift type.
    public let declaration: SettingDeclaration
    let read: @Sendable (JSONValue?, SettingContext) -> Value?

    /// With a default.
    public init(
        _ key: String, _ type: SettingType<Value>, default fallback: JSONValue, change: SettingChange? = nil, secret: Bool = false,
        environment: String? = nil, inert: String? = nil, _ text: String
    ) {
        declaration = SettingDeclaration(
            key: key, shape: type.shape, unit: type.unit, fallback: fallback, text: text, isSecret: secret, change: change,
            environment: environment, inert: inert)
        read = { [read = type.read] json, context in json.flatMap { read($0, context) } }
    }

    /// Without a default: absent means nil. `absent` says what that does, `example` is what an example file shows.
    public init<Wrapped>(
        _ key: String, _ type: SettingType<Wrapped>, absent: String? = nil, example: JSONValue? = nil, change: SettingChange? = nil,
        secret: Bool = false, environment: String? = nil, inert: String? = nil, _ text: String
    ) where Value == Wrapped? {
        declaration = SettingDeclaration(
            key: key, shape: type.shape, unit: type.unit, text: text, isSecret: secret, change: change, environment: environment,
            inert: inert, example: example, absence: absent)
        read = { [read = type.read] json, context in .some(json.flatMap { $0.isNull ? nil : read($0, context) }) }
    }

    /// Must be there.
    public init(
        required key: String, _ type: SettingType<Value>, example: JSONValue? = nil, change: SettingChange? = nil, secret: Bool = false,
        _ text: String
    ) {
        declaration = SettingDeclaration(
            key: key, shape: type.shape, unit: type.unit, isRequired: true, text: text, isSecret: secret, change: change, example: example)
        read = { [read = type.read] json, context in json.flatMap { read($0, context) } }
    }
}

extension Setting {
    /// The value of an absent key. For settings with a default.
    package var defaultValue: Value {
        guard let value = read(declaration.fallback, SettingContext()) else {
            preconditionFailure("the setting '\(declaration.key)' has no usable default")
        }
        return value
    }
}

/// What it takes for a changed value to come into force.
public enum SettingChange: String, Sendable {
    /// Saving the file is enough; nothing is interrupted.
    case live
    /// The entry is restarted.
    case restart
}

/// A setting without its Swift type.
public struct SettingDeclaration: Sendable {
    /// As it stands in the file.
    public var key: String
    /// What its value may be.
    public var shape: SettingShape
    /// E.g. `ms`, `bytes`; nil for what has none.
    public var unit: String?
    /// The default, as it would be written; nil where there is none.
    public var fallback: JSONValue?
    /// Absent is an error.
    public var isRequired = false
    /// What it does, for the reference page and the example file.
    public var text: String
    /// Never shown in listings and logs.
    public var isSecret = false
    /// nil: as the group says.
    public var change: SettingChange?
    /// The environment variable that is read when the key is absent.
    public var environment: String?
    /// Why the key is accepted and acts on nothing; whoever writes it is warned.
    public var inert: String?
    /// What an example file shows where there is no default.
    public var example: JSONValue?
    /// What an absent key means, where that is not a value.
    public var absence: String?
}
