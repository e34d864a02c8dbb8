import IIIProtocol

/// The whole configuration of one engine, read from a file or made of defaults (spec §12-§14, §16).
///
/// Loading is pure: the caller reads the file and hands in its text and the environment. All problems of a file are
/// reported at once. An entry the engine needs but the file does not name is added with `isExplicit == false`.
package struct EngineConfiguration: Sendable, Hashable {
    /// `workers`, then `modules`, then what was added; in order.
    package var entries: [WorkerEntry]
    /// How long a worker's registrations outlive a namespace conflict; `III_NAMESPACE_GRACE_MS` overrides the file.
    package var registrationNamespaceGrace: Duration = .milliseconds(5000)
    /// Things that are accepted but probably not meant.
    package var warnings: [ConfigurationProblem] = []
    /// Default entries left out because this build has no executable for them.
    package var unavailable: [String] = []
    /// The file as the user named it; nil for the default configuration.
    package var path: String?

    package init(entries: [WorkerEntry]) { self.entries = entries }

    package func entry(_ id: String) -> WorkerEntry? { entries.first { $0.id == id } }

    /// Entries of a type, first one first.
    package func entries(ofType typeName: String) -> [WorkerEntry] { entries.filter { $0.typeName == typeName } }

    /// The port spawned workers are told: that of the first `iii-worker-manager` entry (spec §14.5).
    package var enginePort: Int { entries(ofType: "iii-worker-manager").first?.address?.port ?? 49134 }

    /// The level filter of the `iii-observability` entry.
    package var logLevel: String { entries(ofType: "iii-observability").first?.effectiveConfig["level"]?.string ?? "info" }

    /// Whether the `iii-observability` entry asks for JSON log lines.
    package var logsAreJSON: Bool { entries(ofType: "iii-observability").first?.config?["format"]?.string == "json" }

    /// Parses an expanded or raw file text; `path` appears in every message.
    package static func load(
        text: String, path: String, environment: [String: String], engineVersion: String
    ) throws(ConfigurationErrors) -> EngineConfiguration {
        do throws(ConfigurationErrors) {
            return try parse(text: text, path: path, environment: environment, engineVersion: engineVersion)
        } catch {
            throw ConfigurationErrors(path: path, problems: error.problems)
        }
    }

    private static func parse(
        text: String, path: String, environment: [String: String], engineVersion: String
    ) throws(ConfigurationErrors) -> EngineConfiguration {
        let expanded = try VariableExpansion(environment: environment, engineVersion: engineVersion).expand(text)
        let root: LocatedValue?
        do throws(ConfigurationProblem) { root = try YAMLDocument.parse(expanded) } catch {
            throw .unparsable(path: path, line: error.line, cause: error.message)
        }
        var configuration = EngineConfiguration(entries: [])
        configuration.path = path
        var parser = EntryParser()
        if let root, !root.isNull {
            guard case .map(let members) = root.content else {
                throw .unparsable(path: path, line: root.line, cause: "the file must be a map with the key `workers`, not a \(root.kind)")
            }
            for key in ["workers", "modules"] {
                for member in members where member.key == key { configuration.entries += parser.entries(of: member) }
            }
            for member in members where member.key != "workers" && member.key != "modules" { configuration.read(member, &parser.problems) }
        }
        configuration.readGrace(environment, &parser.problems)
        parser.problems += configuration.aliasConflicts + configuration.dependencyProblems
        configuration.warnings = parser.warnings
        guard parser.problems.isEmpty else { throw ConfigurationErrors(path: path, problems: parser.problems) }
        configuration.addMandatoryEntries()
        configuration.warnings += configuration.exposureWarnings + unenforcedRules(of: configuration.entries)
        return configuration
    }

    private mutating func read(_ member: LocatedValue.Member, _ problems: inout [ConfigurationProblem]) {
        let known = ["workers", "modules", "registration_namespace_grace_ms"]
        if member.key == known[2] {
            problems += ConfigurationSchema.milliseconds.problems(in: member.value, path: member.key)
            if let value = member.value.json.integer { registrationNamespaceGrace = .milliseconds(value) }
            return
        }
        var message = "unknown field `\(member.key)`, expected one of `workers`, `modules`, `registration_namespace_grace_ms`"
        if member.key == "port" {
            message += " (the engine port is `config.port` of the `iii-worker-manager` entry)"
        } else if let meant = EditDistance.nearest(to: member.key, among: known) {
            message += " (did you mean `\(meant)`?)"
        }
        problems.append(ConfigurationProblem(line: member.line, message: message))
    }

    private mutating func readGrace(_ environment: [String: String], _ problems: inout [ConfigurationProblem]) {
        guard let text = environment["III_NAMESPACE_GRACE_MS"] else { return }
        guard let value = Int64(text), value >= 0 else {
            problems.append(
                ConfigurationProblem(
                    message: "III_NAMESPACE_GRACE_MS must be a number of milliseconds, not '\(text)'; unset it or correct it"))
            return
        }
        registrationNamespaceGrace = .milliseconds(value)
    }

    /// Spec §14: mandatory workers that no entry names run with their defaults, after all others.
    private mutating func addMandatoryEntries() {
        for type in WorkerCatalogue.types where type.isMandatory && !entries.contains(where: { $0.typeName == type.name }) {
            var entry = WorkerEntry(id: type.name, name: type.name, typeName: type.name)
            entry.isExplicit = false
            entries.append(entry)
        }
    }
}
