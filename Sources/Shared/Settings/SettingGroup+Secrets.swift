import IIIProtocol

extension SettingGroup {
    /// `json`, checked against this group, without its secrets: those that are declared, and in free-form values what looks like one.
    package func masked(_ json: JSONValue) -> JSONValue { SettingShape.object(self).masked(json) }

    /// Where in `json`, checked against this group, declared secrets stand: dotted paths such as `targets.0.key`.
    public func secretPaths(in json: JSONValue) -> [String] { SettingShape.object(self).secretPaths(in: json, at: "") }
}

extension SettingShape {
    fileprivate func masked(_ value: JSONValue) -> JSONValue {
        switch (self, value) {
        case (.object(let group), .object(let members)):
            let pairs = members.map { key, member -> (String, JSONValue) in
                guard let setting = group[key] else { return (key, SecretMask.masked([key: member])[key] ?? .null) }
                return (key, setting.isSecret && !member.isNull ? .string(SecretMask.replacement) : setting.shape.masked(member))
            }
            return .object(Dictionary(pairs, uniquingKeysWith: { $1 }))
        case (.adapter(let adapters), .object(let members)):
            guard let adapter = adapters.first(where: { $0.name == members["name"]?.string }) else { return SecretMask.masked(value) }
            return .object(members.merging(members["config"].map { ["config": adapter.settings.masked($0)] } ?? [:]) { $1 })
        case (.list(let element), .array(let elements)): return .array(elements.map(element.masked))
        // Names of queues say nothing about their settings; those of an environment's variables do about their values.
        case (.map(.object(let group)), .object(let members)): return .object(members.mapValues(group.masked))
        case (.oneOf(let alternatives), _):
            return alternatives.first { $0.fitsKind(of: LocatedValue(value)) }?.masked(value) ?? SecretMask.masked(value)
        case (.nullable(let shape), _): return shape.masked(value)
        default: return SecretMask.masked(value)
        }
    }

    fileprivate func secretPaths(in value: JSONValue, at path: String) -> [String] {
        func inner(_ key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }
        switch (self, value) {
        case (.object(let group), .object(let members)):
            return group.settings.flatMap { setting -> [String] in
                guard let member = members[setting.key], !member.isNull else { return [] }
                return setting.isSecret ? [inner(setting.key)] : setting.shape.secretPaths(in: member, at: inner(setting.key))
            }
        case (.adapter(let adapters), .object(let members)):
            guard let config = members["config"], let adapter = adapters.first(where: { $0.name == members["name"]?.string }) else {
                return []
            }
            return SettingShape.object(adapter.settings).secretPaths(in: config, at: inner("config"))
        case (.list(let element), .array(let elements)):
            return elements.enumerated().flatMap { element.secretPaths(in: $0.element, at: inner("\($0.offset)")) }
        case (.map(let element), .object(let members)):
            return members.sorted { $0.key < $1.key }.flatMap { element.secretPaths(in: $0.value, at: inner($0.key)) }
        case (.oneOf(let alternatives), _):
            return alternatives.first { $0.fitsKind(of: LocatedValue(value)) }?.secretPaths(in: value, at: path) ?? []
        case (.nullable(let shape), _): return shape.secretPaths(in: value, at: path)
        default: return []
        }
    }
}
