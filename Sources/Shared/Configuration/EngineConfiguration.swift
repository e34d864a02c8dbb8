import IIIProtocol
import IIISettings

/// The whole configuration of one engine, read from a file or made of defaults (docs/configuration.md).
///
/// Loading is pure: the caller reads the file and hands in its text and the environment. All problems of a file are
/// reported at once. An entry the engine needs but the file does not name is added with `isExplicit == false`.
package struct EngineConfiguration: Sendable, Hashable {
    /// `workers`, then `modules`, then what was added; in order.
    package var entries: [WorkerEntry]
    /// How long a worker's registrations outlive a namespace conflict.
    package var registrationNamespaceGrace = FileSettings.namespaceGrace.defaultValue
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

    /// Entries that somebody has written and that do something.
    package var wantedEntries: [WorkerEntry] {
        entries.filter { entry in
            if case .ignored? = entry.type?.service { return false }
            return entry.isExplicit
        }
    }

    /// The port spawned workers are told: that of the first `iii-worker-manager` entry.
    package var enginePort: Int { entries(ofType: "iii-worker-manager").first?.address?.port ?? WorkerManagerSettings.defaultPort }

    private var observability: SettingValues {
        entries(ofType: "iii-observability").first?.values ?? ObservabilitySettings.group.defaults
    }

    /// The level filter of the `iii-observability` entry.
    package var logLevel: String { observability[ObservabilitySettings.level] }

    /// Whether the `iii-observability` entry asks for JSON log lines.
    package var logsAreJSON: Bool { observability[ObservabilitySettings.format] == .json }

    /// Parses an expanded or raw file text; `path` appears in every message. `context` looks at the files that settings
    /// name.
    package static func load(
        text: String, path: String, environment: [String: String], engineVersion: String,
        context: SettingContext = SettingContext()
    ) throws(ConfigurationErrors) -> EngineConfiguration {
        var context = context
        context.environment = { environment[$0] }
        do throws(ConfigurationErrors) {
            let expanded = try VariableExpansion(environment: environment, engineVersion: engineVersion).expand(withoutByteOrderMark(text))
            return try parse(expanded, path: path, context: context)
        } catch {
            throw ConfigurationErrors(path: path, problems: error.problems)
        }
    }

    /// Editors on Windows put U+FEFF before the first line; it is no part of the first key.
    private static func withoutByteOrderMark(_ text: String) -> String {
        text.unicodeScalars.first == "\u{FEFF}" ? String(text.unicodeScalars.dropFirst()) : text
    }

    private static func parse(_ text: String, path: String, context: SettingContext) throws(ConfigurationErrors) -> EngineConfiguration {
        let root: LocatedValue?
        do throws(ConfigurationProblem) { root = try YAMLDocument.parse(text) } catch {
            throw .unparsable(path: path, line: error.line, cause: error.message)
        }
        var configuration = EngineConfiguration(entries: [])
        configuration.path = path
        var parser = EntryParser(context: context)
        var own: [LocatedValue.Member] = []
        if let root, !root.isNull {
            guard case .map(let members) = root.content else {
                throw .unparsable(path: path, line: root.line, cause: "the file must be a map with the key `workers`, not a \(root.kind)")
            }
            for key in ["workers", "modules"] {
                for member in members where member.key == key { configuration.entries += parser.entries(of: member) }
            }
            for member in members where member.key != "workers" && member.key != "modules" {
                if FileSettings.group[member.key] == nil { parser.problems.append(unknownKey(member)) } else { own.append(member) }
            }
        }
        var check = SettingCheck(context: context)
        let settings = check.normalise(LocatedValue(line: 1, content: .map(own)), as: .object(FileSettings.group), at: "file")
        parser.problems += check.problems + configuration.aliasConflicts + configuration.dependencyProblems
        guard parser.problems.isEmpty else { throw ConfigurationErrors(path: path, problems: parser.problems) }
        configuration.registrationNamespaceGrace =
            FileSettings.group.values(ofChecked: settings, context: context)[FileSettings.namespaceGrace]
        configuration.addMandatoryEntries()
        configuration.warnings = parser.warnings + check.warnings + configuration.exposureWarnings
        return configuration
    }

    private static func unknownKey(_ member: LocatedValue.Member) -> ConfigurationProblem {
        let known = FileSettings.group.settings.map(\.key)
        var message = "unknown field `\(VisibleText.shown(member.key))`, expected one of " + known.map { "`\($0)`" }.joined(separator: ", ")
        if member.key == "port" {
            message += " (the engine port is `config.port` of the `iii-worker-manager` entry)"
        } else if let meant = EditDistance.nearest(to: member.key, among: known) {
            message += " (did you mean `\(meant)`?)"
        }
        return ConfigurationProblem(line: member.line, message: message)
    }

    /// Mandatory workers that no entry names run with their defaults, after all others.
    private mutating func addMandatoryEntries() {
        for type in WorkerCatalogue.types where type.isMandatory && !entries.contains(where: { $0.typeName == type.name }) {
            var entry = WorkerEntry(id: type.name, name: type.name, typeName: type.name)
            entry.isExplicit = false
            entries.append(entry)
        }
    }
}
