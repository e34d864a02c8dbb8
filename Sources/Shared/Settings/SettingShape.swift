import IIIProtocol

/// What a value of a configuration may be, without its Swift type: what the check, the reference page and the JSON Schema see.
public indirect enum SettingShape: Sendable {
    /// Free form: passed on as it is.
    case anything
    case boolean
    case integer(ClosedRange<Int64>)
    case number(ClosedRange<Double>)
    /// Any scalar counts as text, as it is written: `1.50` is `1.50`.
    case text(TextRule)
    case choice([String])
    case list(SettingShape)
    /// Free keys, values of one shape: named queues, environment variables.
    case map(SettingShape)
    case object(SettingGroup)
    /// `{name, config}`: one of several implementations, each with keys of its own.
    case adapter([AdapterDeclaration])
    /// The first alternative whose outermost kind fits decides.
    case oneOf([SettingShape])
    /// An explicit null is a value of its own instead of counting as absent.
    case nullable(SettingShape)

    /// What is wanted, in words.
    public var expectation: String {
        switch self {
        case .anything: "any value"
        case .boolean: "true or false"
        case .integer(let range): "an integer from \(range.lowerBound) to \(range.upperBound)"
        case .number(let range):
            range.upperBound.isFinite ? "a number from \(Self.plain(range.lowerBound)) to \(Self.plain(range.upperBound))" : "a number"
        case .text(let rule): rule.expected
        case .choice(let words): (words.count == 1 ? "" : "one of ") + words.map { "`\($0)`" }.joined(separator: ", ")
        case .list: "a list"
        case .map, .object: "a map"
        case .adapter(let adapters): "a map with `name` (" + adapters.map { "`\($0.name)`" }.joined(separator: ", ") + ") and `config`"
        case .oneOf(let alternatives): alternatives.map(\.expectation).joined(separator: " or ")
        case .nullable(let shape): "\(shape.expectation), or null"
        }
    }

    package static func plain(_ number: Double) -> String {
        Int64(exactly: number).map(String.init) ?? JSONValue.double(number).text
    }
}

/// One implementation that an `adapter` key may name.
public struct AdapterDeclaration: Sendable {
    /// What `name` says in the file.
    public let name: String
    /// What it is, for the reference page.
    public let text: String
    /// The keys of its `config`.
    public let settings: SettingGroup

    /// `settings` are the keys of its `config`.
    public init(_ name: String, _ text: String, _ settings: SettingGroup = .empty) {
        self.name = name
        self.text = text
        self.settings = settings
    }
}

/// The adapter a configuration names, and its checked `config`.
public struct AdapterChoice: Sendable {
    /// Of the adapter that was chosen.
    public let name: String
    /// Checked against the settings of that adapter.
    public let config: SettingValues
}
