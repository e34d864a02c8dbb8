import IIIProtocol

/// A configuration that has been checked: typed access by the constants of its declaration.
public struct SettingValues: Sendable {
    private let group: SettingGroup
    private let members: [String: JSONValue]
    let context: SettingContext
    /// What the check found worth saying; for the log.
    public internal(set) var warnings: [String] = []

    /// `json` has passed the check of `group`.
    init(group: SettingGroup, json: JSONValue, context: SettingContext) {
        self.group = group
        members = json.object ?? [:]
        self.context = context
    }

    /// The written value, else that of the environment, else the default.
    ///
    /// Asking for a setting that the group does not declare is a mistake in the program and ends it.
    public subscript<Value>(_ setting: Setting<Value>) -> Value {
        guard let value = setting.read(json(of: setting.declaration), context) else {
            preconditionFailure("the setting '\(setting.declaration.key)' is required or has an unusable default, or is not in this group")
        }
        return value
    }

    /// Whether the file names the key.
    public func isWritten<Value>(_ setting: Setting<Value>) -> Bool { members[setting.declaration.key].map { !$0.isNull } ?? false }

    private func json(of declaration: SettingDeclaration) -> JSONValue? {
        if let value = members[declaration.key], !value.isNull || declaration.shape.isNullable { return value }
        if let text = declaration.environment.flatMap(context.environment), !text.isEmpty {
            var check = SettingCheck(context: context)
            let value = check.normalise(LocatedValue(.string(text)), as: declaration.shape, at: declaration.key)
            if check.problems.isEmpty { return value }
        }
        return declaration.fallback
    }

    /// For rules and for what is passed on; as written, without defaults.
    public var json: JSONValue { .object(members) }
}
