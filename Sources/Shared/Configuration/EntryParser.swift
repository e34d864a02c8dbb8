import IIIProtocol
import IIISettings

/// Reads the entries of `workers:` and `modules:`, collecting every problem instead of stopping at the first.
struct EntryParser {
    var problems: [ConfigurationProblem] = []
    var warnings: [ConfigurationProblem] = []
    private let context: SettingContext
    private var usedIDs: Set<String> = []
    private var counts: [String: Int] = [:]

    init(context: SettingContext) { self.context = context }

    mutating func entries(of list: LocatedValue.Member) -> [WorkerEntry] {
        switch list.value.content {
        case .scalar(.null): return []
        case .list(let elements): return elements.compactMap { entry(of: $0) }
        default:
            problems.append(
                ConfigurationProblem(
                    line: list.line, message: "`\(list.key)` must be a list of entries (`- name: …`), not a \(list.value.kind)"))
            return []
        }
    }

    private mutating func entry(of value: LocatedValue) -> WorkerEntry? {
        guard case .map = value.content else {
            problems.append(ConfigurationProblem(line: value.line, message: "an entry must be a map with a `name`, not \(value.kind)"))
            return nil
        }
        guard let name = value.member("name"), !name.value.isNull else {
            problems.append(
                ConfigurationProblem(line: value.line, message: LegacyModules.missingName(value.member("class")?.value.json.string)))
            return nil
        }
        guard let written = check(name.value, as: EntrySettings.name.declaration.shape, at: "name")?.string else { return nil }
        var entry = makeEntry(name: written, line: value.line)
        if let settings = check(value, as: .object(EntrySettings.group), at: written) {
            apply(EntrySettings.group.values(ofChecked: settings), to: &entry)
        }
        entry.configLine = value.member("config")?.line ?? 0
        if entry.checksItsConfig { entry.configPlaces = value.member("config")?.value.lines ?? [:] }
        if !entry.canOverlap, let handover = value.member("handover_timeout_ms") {
            warnings.append(
                ConfigurationProblem(
                    line: handover.line,
                    message: "\(written).handover_timeout_ms: two processes of this entry never run side by side; ignored"))
        }
        checkKind(of: &entry, nameLine: name.line, value)
        return entry
    }

    /// The checked form of a value; nil when something is wrong with it.
    private mutating func check(_ value: LocatedValue, as shape: SettingShape, at path: String) -> JSONValue? {
        var check = SettingCheck(context: context)
        let result = check.normalise(value, as: shape, at: path)
        problems += check.problems
        warnings += check.warnings
        return check.problems.isEmpty ? result : nil
    }

    /// Numbers repeated names in order of appearance: `a`, `a#1`, `a#2` (docs/configuration.md).
    private mutating func makeEntry(name: String, line: Int) -> WorkerEntry {
        let base = String(name.prefix { $0 != "#" })
        let suffix = String(name.dropFirst(base.count))
        let typeName = WorkerCatalogue.type(named: base)?.name ?? base
        let canonical = typeName + suffix
        var id = canonical
        while usedIDs.contains(id) {
            counts[canonical, default: 0] += 1
            id = "\(canonical)#\(counts[canonical, default: 0])"
        }
        usedIDs.insert(id)
        let type = WorkerCatalogue.type(named: typeName)
        let isUserProcess = type?.service == .userProcesses
        var entry = WorkerEntry(
            id: id, name: name, typeName: typeName, readiness: type == nil || isUserProcess ? .alive : .reported,
            restart: RestartSettings(policy: isUserProcess ? .onFailure : .always, immediateRestarts: type == nil || isUserProcess ? 0 : 5))
        entry.line = line
        if isUserProcess { entry.stopTimeout = .seconds(3) }
        return entry
    }

    private func apply(_ values: SettingValues, to entry: inout WorkerEntry) {
        typealias Key = EntrySettings
        entry.image = values[Key.image]
        entry.config = values[Key.config]
        entry.exec = values[Key.executable]
        if let restart = values[Key.restart] {
            let own = entry.restart
            entry.restart = restart.settings
            entry.restart.policy = restart.policy ?? own.policy
            entry.restart.isCritical = restart.isCritical ?? false
            // Who names a delay wants it from the first restart on.
            entry.restart.immediateRestarts = restart.immediateRestarts ?? (restart.namesDelay ? 0 : own.immediateRestarts)
        }
        entry.restart.isCritical = values[Key.isCritical] ?? entry.restart.isCritical
        let resources = values[Key.resources]
        entry.resources = WorkerEntry.Resources(
            openFiles: resources[Key.Resources.openFiles], memoryMaximumMiB: resources[Key.Resources.memory],
            niceness: resources[Key.Resources.niceness], coreBytes: resources[Key.Resources.core])
        entry.dependsOn = values[Key.dependencies]
        entry.environment = values[Key.environment]
        entry.stopTimeout = values[Key.stopTimeout] ?? entry.stopTimeout
        entry.startupTimeout = values[Key.startupTimeout]
        entry.handoverTimeout = values[Key.handoverTimeout]
        if let isCoreWorker = values[Key.isCoreWorker] {
            entry.isCoreWorker = isCoreWorker
            entry.checksItsConfig = isCoreWorker
            entry.readiness = isCoreWorker ? .reported : .alive
        }
        entry.readiness = values[Key.readiness] ?? entry.readiness
    }

    /// Checks name, `image`, `exec` and `config` against the catalogue.
    private mutating func checkKind(of entry: inout WorkerEntry, nameLine: Int, _ value: LocatedValue) {
        if let type = entry.type {
            if entry.image != nil {
                problems.append(
                    ConfigurationProblem(
                        line: value.member("image")?.line,
                        message:
                            "Worker '\(entry.name)' is a built-in worker and cannot have an 'image' field. Remove 'image' or use a different name."
                    ))
            }
            // A replaced executable knows its own keys and adapters.
            guard entry.exec == nil else { return checkExecutable(entry, type, value) }
            checkConfig(of: &entry, type, value.member("config"), nameLine: nameLine)
        } else if entry.exec == nil, value.member("exec") == nil {
            problems.append(ConfigurationProblem(line: nameLine, message: Self.unknownWorker(entry.name)))
        }
        if case .arguments(let words)? = entry.exec, words.isEmpty {
            problems.append(
                ConfigurationProblem(
                    line: value.member("exec")?.line, message: "\(entry.id).exec: the list needs a program as its first element"))
        }
        if entry.checksItsConfig, entry.exec == nil {
            problems.append(
                ConfigurationProblem(
                    line: value.member("core_worker")?.line, message: "\(entry.id).core_worker: needs `exec`, the program that is one"))
        }
    }

    private mutating func checkConfig(of entry: inout WorkerEntry, _ type: WorkerType, _ config: LocatedValue.Member?, nameLine: Int) {
        if let config, !config.value.isNull {
            entry.config = check(config.value, as: .object(type.settings), at: "\(entry.id).config")
        } else if type.needsConfig {
            problems.append(
                ConfigurationProblem(line: nameLine, message: "\(entry.id): missing `config` with the field `exec`: a list of commands"))
        }
    }

    private static func unknownWorker(_ name: String) -> String {
        let base = String(name.prefix { $0 != "#" })
        if let meant = EditDistance.nearest(to: base, among: WorkerCatalogue.allNames) {
            return "unknown worker '\(name)' (did you mean '\(meant)'?)"
        }
        return
            "unknown worker '\(name)'. External workers from a registry are not supported: name its program with `exec:`, or start it yourself"
    }

    private mutating func checkExecutable(_ entry: WorkerEntry, _ type: WorkerType, _ value: LocatedValue) {
        if case .executable = type.service { return }
        problems.append(
            ConfigurationProblem(
                line: value.member("exec")?.line,
                message: "\(entry.id).exec: this worker has no executable of its own to replace; remove `exec`"
                    + (type.service == .userProcesses ? " or put the commands under `config.exec`" : "")))
    }
}
