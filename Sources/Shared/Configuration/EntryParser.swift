import IIIProtocol

/// Reads the entries of `workers:` and `modules:`, collecting every problem instead of stopping at the first.
struct EntryParser {
    var problems: [ConfigurationProblem] = []
    var warnings: [ConfigurationProblem] = []
    private var usedIDs: Set<String> = []
    private var counts: [String: Int] = [:]

    /// Settings of an entry besides `name`, `image` and `config`, which are the reference's.
    private static let settings: [String: ConfigurationSchema] = [
        "name": .string,
        "image": .string,
        "config": .any,
        "exec": .either([.string, .list(.string)]),
        "restart": .either([
            .choice(RestartSettings.Policy.allCases.map(\.rawValue)),
            .object([
                "policy": .init(.choice(RestartSettings.Policy.allCases.map(\.rawValue))), "immediate_restarts": .init(.count),
                "delay_ms": .init(.milliseconds), "factor": .init(.number(1...100)), "max_delay_ms": .init(.milliseconds),
                "jitter": .init(.number(0...1)), "reset_after_ms": .init(.milliseconds), "max_restarts": .init(.count),
                "window_ms": .init(.milliseconds), "give_up": .init(.bool), "critical": .init(.bool),
            ]),
        ]),
        "resources": .object([
            "nofile": .init(.integer(16...(1 << 30))), "memory_max_mb": .init(.integer(1...(1 << 30))),
            "nice": .init(.integer(-20...19)), "core": .init(.bytes),
        ]),
        "depends_on": .either([.string, .list(.string)]),
        "env": .map(.either([.string, .bool, .number(-Double.infinity...Double.infinity)])),
        "stop_timeout_ms": .milliseconds,
        "startup_timeout_ms": .milliseconds,
        "handover_timeout_ms": .milliseconds,
        "critical": .bool,
        "readiness": .choice(["reported", "alive"]),
        "health": .any,
    ]

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
        guard case .map(let members) = value.content else {
            problems.append(ConfigurationProblem(line: value.line, message: "an entry must be a map with a `name`, not \(value.kind)"))
            return nil
        }
        guard let name = value.member("name"), !name.value.isNull else {
            let hint = value.member("class") == nil ? "" : " (`class: modules::…` is the form before 0.11; write `name: iii-…`)"
            problems.append(ConfigurationProblem(line: value.line, message: "missing field `name`\(hint)"))
            return nil
        }
        guard let written = name.value.json.string, !written.isEmpty else {
            problems.append(ConfigurationProblem(line: name.line, message: "`name` must be a non-empty string, not \(name.value.kind)"))
            return nil
        }
        let problemsBefore = problems.count
        for member in members { check(member, of: written) }
        var entry = makeEntry(name: written, line: value.line)
        let settingsAreSound = problems.count == problemsBefore
        if settingsAreSound { apply(members, to: &entry) }
        if !entry.canOverlap, let handover = value.member("handover_timeout_ms") {
            warnings.append(
                ConfigurationProblem(
                    line: handover.line,
                    message: "\(written).handover_timeout_ms: two processes of this entry never run side by side; ignored"))
        }
        checkKind(of: &entry, nameLine: name.line, value)
        return entry
    }

    private mutating func check(_ member: LocatedValue.Member, of name: String) {
        if let schema = Self.settings[member.key] {
            problems += schema.problems(in: member.value, path: "\(name).\(member.key)")
            if member.key == "health" {
                warnings.append(
                    ConfigurationProblem(line: member.line, message: "\(name).health: health checks are not run by this version; ignored"))
            }
        } else if let meant = EditDistance.nearest(to: member.key, among: Self.settings.keys) {
            warnings.append(
                ConfigurationProblem(line: member.line, message: "\(name): unknown key `\(member.key)` ignored (did you mean `\(meant)`?)"))
        }
    }

    /// Numbers repeated names in order of appearance: `a`, `a#1`, `a#2` (spec §12).
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

    private func apply(_ members: [LocatedValue.Member], to entry: inout WorkerEntry) {
        for member in members where !member.value.isNull {
            let json = member.value.json
            switch member.key {
            case "image": entry.image = json.string
            case "config": (entry.config, entry.configLine) = (json, member.line)
            case "exec": entry.exec = json.string.map(WorkerEntry.Command.line) ?? .arguments((json.array ?? []).compactMap(\.string))
            case "restart": entry.restart.apply(json)
            case "resources":
                entry.resources.openFiles = json["nofile"]?.integer.map(Int.init)
                entry.resources.memoryMaximumMiB = json["memory_max_mb"]?.integer.map(Int.init)
                entry.resources.niceness = json["nice"]?.integer.map(Int.init)
                entry.resources.coreBytes = json["core"]?.integer.map(Int.init) ?? 0
            case "depends_on": entry.dependsOn = json.string.map { [$0] } ?? (json.array ?? []).compactMap(\.string)
            case "env": entry.environment = (json.object ?? [:]).mapValues { $0.string ?? $0.text }
            case "stop_timeout_ms": entry.stopTimeout = .milliseconds(json.integer ?? 10000)
            case "startup_timeout_ms": entry.startupTimeout = .milliseconds(json.integer ?? 10000)
            case "handover_timeout_ms": entry.handoverTimeout = .milliseconds(json.integer ?? 300_000)
            case "critical": entry.restart.isCritical = json.bool ?? false
            case "readiness": entry.readiness = json.string.flatMap(WorkerEntry.Readiness.init) ?? entry.readiness
            default: break
            }
        }
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
            if let config = value.member("config"), !config.value.isNull {
                problems += type.schema.problems(in: config.value, path: "\(entry.id).config")
            } else if type.needsConfig {
                problems.append(
                    ConfigurationProblem(line: nameLine, message: "\(entry.id): missing `config` with the field `exec`: a list of commands")
                )
            }
            checkFIFO(value.member("config")?.value, of: entry)
        } else if entry.exec == nil {
            let base = String(entry.name.prefix { $0 != "#" })
            let cure = "External workers from a registry are not supported: name its program with `exec:`, or start it yourself"
            let meant = EditDistance.nearest(to: base, among: WorkerCatalogue.allNames)
            let message =
                meant.map { "unknown worker '\(entry.name)' (did you mean '\($0)'?)" } ?? "unknown worker '\(entry.name)'. \(cure)"
            problems.append(ConfigurationProblem(line: nameLine, message: message))
        }
        if case .arguments(let words)? = entry.exec, words.first?.isEmpty ?? true {
            problems.append(
                ConfigurationProblem(
                    line: value.member("exec")?.line, message: "\(entry.id).exec: the list needs a program as its first element"))
        }
    }

    private mutating func checkExecutable(_ entry: WorkerEntry, _ type: WorkerType, _ value: LocatedValue) {
        if case .executable = type.service { return }
        problems.append(
            ConfigurationProblem(
                line: value.member("exec")?.line,
                message: "\(entry.id).exec: this worker has no executable of its own to replace; remove `exec`"
                    + (type.service == .userProcesses ? " or put the commands under `config.exec`" : "")))
    }

    /// `message_group_field` is what a FIFO queue orders by, so it cannot do without (spec §16).
    private mutating func checkFIFO(_ config: LocatedValue?, of entry: WorkerEntry) {
        guard entry.typeName == "iii-queue", case .map(let queues)? = config?.member("queue_configs")?.value.content else { return }
        for queue in queues where queue.value.member("type")?.value.json.string == "fifo" {
            if queue.value.member("message_group_field")?.value.json.string?.isEmpty ?? true {
                problems.append(
                    ConfigurationProblem(
                        line: queue.line,
                        message: "\(entry.id).config.queue_configs.\(queue.key): a fifo queue needs the field `message_group_field`"))
            }
        }
    }
}

extension RestartSettings {
    fileprivate mutating func apply(_ json: JSONValue) {
        if let policy = (json.string ?? json["policy"]?.string).flatMap(Policy.init) { self.policy = policy }
        func duration(_ key: String) -> Duration? { json[key]?.integer.map { .milliseconds($0) } }
        // Who names a delay wants it from the first restart on.
        immediateRestarts = json["immediate_restarts"]?.integer.map(Int.init) ?? (json["delay_ms"] == nil ? immediateRestarts : 0)
        delay = duration("delay_ms") ?? delay
        factor = json["factor"]?.number ?? factor
        maximumDelay = duration("max_delay_ms") ?? maximumDelay
        jitter = json["jitter"]?.number ?? jitter
        resetAfter = duration("reset_after_ms") ?? resetAfter
        maximumRestarts = json["max_restarts"]?.integer.map(Int.init) ?? maximumRestarts
        window = duration("window_ms") ?? window
        givesUp = json["give_up"]?.bool ?? givesUp
        isCritical = json["critical"]?.bool ?? isCritical
    }
}
