import IIIProtocol
import IIISettings

/// What `iii-core config check` prints: the effective configuration as YAML with secrets masked, then remarks.
package struct ConfigurationReport: Sendable {
    package var configuration: EngineConfiguration

    /// What programs call secret in their `config`: dotted paths by entry.
    package var secrets: [String: Set<String>] = [:]

    package init(_ configuration: EngineConfiguration) { self.configuration = configuration }

    /// Entries whose name occurs more than once; legal, but worth knowing.
    package var duplicates: [String] {
        configuration.entries.filter { $0.id != EngineConfiguration.canonical($0.name) }
            .map { "line \($0.line): '\($0.name)' occurs more than once; this one is '\($0.id)'" }
    }

    package var text: String {
        var lines = ["workers:"]
        if configuration.entries.isEmpty { lines = ["workers: []"] }
        for entry in configuration.entries {
            lines.append("  - name: \(YAMLText.scalar(.string(entry.id)))" + (entry.isExplicit ? "" : "  # added: always runs"))
            if let exec = entry.exec {
                switch exec {
                case .line(let line): lines.append("    exec: \(YAMLText.scalar(.string(SecretMask.maskedText(line))))")
                case .arguments(let words):
                    lines += YAMLText.lines(["exec": SecretMask.masked(.array(words.map(JSONValue.string)))], indent: 4)
                }
            }
            if !entry.dependsOn.isEmpty {
                lines += YAMLText.lines(["depends_on": .array(entry.dependsOn.map(JSONValue.string))], indent: 4)
            }
            if !entry.environment.isEmpty {
                let environment = JSONValue.object(entry.environment.mapValues(JSONValue.string))
                lines += YAMLText.lines(["env": SecretMask.masked(environment)], indent: 4)
            }
            let config =
                entry.exec == nil
                ? entry.type?.settings.masked(entry.effectiveConfig) ?? .null
                : SecretMask.masked(entry.effectiveConfig, hiding: secrets[entry.id] ?? [])
            if config.object?.isEmpty == false { lines += YAMLText.lines(["config": config], indent: 4) }
        }
        lines.append("registration_namespace_grace_ms: \(configuration.registrationNamespaceGrace.wholeMilliseconds)")
        return lines.joined(separator: "\n") + "\n"
    }

    /// One line each, prefixed `warning: `.
    package var remarks: [String] {
        configuration.warnings.map { "warning: \($0)" } + duplicates.map { "note: \($0)" }
    }
}

extension Duration {
    package var wholeMilliseconds: Int64 { components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000 }
}
