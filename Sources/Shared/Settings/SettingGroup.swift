import IIIProtocol

/// The keys of one map of a configuration, and the rules across them.
public struct SettingGroup: Sendable {
    /// In the order in which the reference page shows them.
    public let settings: [SettingDeclaration]
    /// Asked when every key is sound by itself.
    public let rules: [SettingRule]
    /// Keys of other releases that are refused, and what to write instead.
    public let refused: [RefusedSetting]
    /// What holds for settings that do not say it themselves; nil: as the group around this one.
    public let change: SettingChange?
    /// Whether unknown keys are passed over with a warning instead of being errors.
    public let isOpen: Bool
    /// Why nothing in here acts in this build; whoever writes a key is warned.
    public let inert: String?

    /// The parts are settings, rules, refused keys, and other groups.
    public init(
        change: SettingChange? = nil, open isOpen: Bool = false, inert: String? = nil, @SettingBuilder _ parts: () -> [SettingBuilder.Part]
    ) {
        var settings: [SettingDeclaration] = []
        var rules: [SettingRule] = []
        var refused: [RefusedSetting] = []
        for part in parts() {
            switch part {
            case .setting(let setting): settings.append(setting)
            case .rule(let rule): rules.append(rule)
            case .refused(let setting): refused.append(setting)
            }
        }
        self.settings = settings
        self.rules = rules
        self.refused = refused
        self.change = change
        self.isOpen = isOpen
        self.inert = inert
    }

    /// No keys at all.
    public static let empty = SettingGroup {}

    /// nil for a key that is not declared.
    public subscript(key: String) -> SettingDeclaration? { settings.first { $0.key == key } }

    /// Checks `json` (null counts as empty) against everything declared and gives typed access to it.
    public func read(_ json: JSONValue, context: SettingContext = .process) throws(InvalidSettings) -> SettingValues {
        var check = SettingCheck(context: context)
        let normalised = check.normalise(
            json.isNull ? LocatedValue(line: 0, content: .map([])) : LocatedValue(json), as: .object(self), at: "config")
        guard check.problems.isEmpty else { throw InvalidSettings(problems: check.problems) }
        var values = SettingValues(group: self, json: normalised, context: context)
        values.warnings = check.warnings.map(\.message)
        return values
    }

    /// Typed access to what has been checked already, e.g. the `config` of a loaded entry.
    package func values(ofChecked json: JSONValue, context: SettingContext = .process) -> SettingValues {
        SettingValues(group: self, json: json, context: context)
    }

    /// Everything at its default. For groups without required settings.
    public var defaults: SettingValues { SettingValues(group: self, json: .object([:]), context: SettingContext()) }

    /// `json` with the defaults of absent keys filled in, recursively: what is in force.
    package func fillingDefaults(_ json: JSONValue) -> JSONValue { SettingShape.object(self).fillingDefaults(json) }
}

/// Collects settings and rules into a group.
@resultBuilder public enum SettingBuilder {
    public enum Part: Sendable {
        case setting(SettingDeclaration)
        case rule(SettingRule)
        case refused(RefusedSetting)
    }

    public static func buildExpression<Value>(_ setting: Setting<Value>) -> [Part] { [.setting(setting.declaration)] }
    public static func buildExpression(_ rule: SettingRule) -> [Part] { [.rule(rule)] }
    public static func buildExpression(_ setting: RefusedSetting) -> [Part] { [.refused(setting)] }
    /// The settings of another group beside the own ones, under the change and the inert reason of that group.
    public static func buildExpression(_ group: SettingGroup) -> [Part] {
        let settings = group.settings.map { setting in
            var setting = setting
            setting.change = setting.change ?? group.change
            setting.inert = setting.inert ?? group.inert
            return Part.setting(setting)
        }
        return settings + group.rules.map(Part.rule) + group.refused.map(Part.refused)
    }
    public static func buildBlock(_ parts: [Part]...) -> [Part] { parts.flatMap { $0 } }
}

/// A key that means something elsewhere, and what to write here in its place.
public struct RefusedSetting: Sendable {
    /// As other releases write it.
    public let key: String
    /// What to write instead, as a sentence.
    public let cure: String

    /// `cure` follows the key in the error.
    public init(_ key: String, _ cure: String) {
        self.key = key
        self.cure = cure
    }
}

/// A condition across the keys of one group, checked once each of them is sound by itself.
public struct SettingRule: Sendable {
    /// What a rule found, at a key of its group or below it.
    public struct Finding: Sendable {
        var path: [String]
        var message: String
        var isWarning: Bool

        /// The configuration is refused. `path` leads to the key, below the group.
        public static func problem(_ path: String..., message: String) -> Finding {
            Finding(path: path, message: message, isWarning: false)
        }
        /// The configuration is accepted with a WARN.
        public static func warning(_ path: String..., message: String) -> Finding { Finding(path: path, message: message, isWarning: true) }
    }

    /// The rule in a sentence, for the reference page.
    public let text: String
    let check: @Sendable (SettingValues) -> [Finding]

    /// `check` answers what is wrong; nothing where the rule holds.
    public init(_ text: String, _ check: @escaping @Sendable (SettingValues) -> [Finding]) {
        self.text = text
        self.check = check
    }
}

extension SettingShape {
    func fillingDefaults(_ value: JSONValue) -> JSONValue {
        switch (self, value) {
        case (.object(let group), .object(var members)):
            for setting in group.settings {
                if let member = members[setting.key], !member.isNull {
                    members[setting.key] = setting.shape.fillingDefaults(member)
                } else if members[setting.key] == nil || !setting.shape.isNullable, let fallback = setting.fallback {
                    members[setting.key] = setting.shape.fillingDefaults(fallback)
                }
            }
            return .object(members)
        case (.adapter(let adapters), .object(var members)):
            guard let adapter = adapters.first(where: { $0.name == members["name"]?.string }) else { return value }
            let config = adapter.settings.fillingDefaults(members["config"] ?? .object([:]))
            if config.object?.isEmpty == false { members["config"] = config }
            return .object(members)
        case (.list(let element), .array(let elements)): return .array(elements.map(element.fillingDefaults))
        case (.map(let element), .object(let members)): return .object(members.mapValues(element.fillingDefaults))
        case (.nullable(let shape), _) where !value.isNull: return shape.fillingDefaults(value)
        default: return value
        }
    }

    var isNullable: Bool {
        if case .nullable = self { return true }
        return false
    }
}
