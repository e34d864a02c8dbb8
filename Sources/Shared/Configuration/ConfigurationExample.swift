import IIIProtocol
import IIISettings

/// What `iii-core config example` prints: a commented file that passes the check. Every optional key stands in it as a comment with
/// its default; required ones stand with an example value.
package enum ConfigurationExample {
    /// One entry of `type`, or with nil of every type that does something and whose executable is `available`.
    package static func text(of type: WorkerType?, available: (String) -> Bool) -> String {
        let types = type.map { [$0] } ?? WorkerCatalogue.types.filter { isOffered($0, available) }
        var lines = [
            "# Lines that begin with '#' show defaults; remove the '#' to change one. Check with: iii-core config check -c FILE",
            "workers:",
        ]
        for type in types { lines += entry(type) }
        return lines.joined(separator: "\n") + "\n"
    }

    private static func isOffered(_ type: WorkerType, _ available: (String) -> Bool) -> Bool {
        switch type.service {
        case .core: !type.settings.settings.isEmpty
        case .executable(let name, _): available(name)
        case .userProcesses: true
        case .ignored: false
        }
    }

    private static func entry(_ type: WorkerType) -> [String] {
        let body = keys(of: type.settings, indent: 6)
        let name = "  - name: \(YAMLText.scalar(.string(type.name)))"
        if body.isEmpty { return [name] }
        return [name, "    config:"] + body
    }

    private static func keys(of group: SettingGroup, indent: Int) -> [String] {
        group.settings.flatMap { setting -> [String] in
            let margin = String(repeating: " ", count: indent)
            let comment = setting.isRequired ? "" : "# "
            let value = setting.fallback ?? setting.example ?? exampleValue(of: setting.shape)
            return ["\(margin)# \(setting.text)\(remark(setting))", "\(margin)\(comment)\(setting.key): \(YAMLText.inline(value))"]
        }
    }

    private static func remark(_ setting: SettingDeclaration) -> String {
        var parts = [setting.shape.expectation + (setting.unit.map { " (\($0))" } ?? "")]
        if let absence = setting.absence { parts.append("absent: \(absence)") }
        if setting.inert != nil { parts.append("no effect in this build") }
        return " [\(parts.joined(separator: "; "))]"
    }

    /// A value of the shape, for an optional map: its required keys at their examples.
    private static func exampleValue(of shape: SettingShape) -> JSONValue {
        guard case .object(let group) = shape else { return .null }
        let required = group.settings.filter(\.isRequired).map { ($0.key, $0.example ?? exampleValue(of: $0.shape)) }
        return .object(Dictionary(required, uniquingKeysWith: { $1 }))
    }
}
