import IIIConfiguration
import IIIProtocol
import IIISettings

/// Which processes a configuration asks for. Pure but for the look-up of executables, which is handed in.
package struct FleetPlan: Sendable {
    package var configuration: EngineConfiguration
    package var children: [ChildSpecification] = []
    /// Entries of the core itself, `iii-worker-manager`.
    package var workerManagers: [WorkerEntry] = []
    /// Workers nobody asked for by name that this build has no executable for; worth one line in the log.
    package var unavailable: [String] = []
    /// One INFO line per entry that is accepted and ignored.
    package var remarks: [String] = []

    /// Names at once every executable that is missing, and every unknown name in `only` and `except`.
    package static func make(
        configuration: EngineConfiguration, lookup: ExecutableLookup, only: [String] = [], except: [String] = []
    ) throws(ConfigurationErrors) -> FleetPlan {
        var plan = FleetPlan(configuration: configuration)
        plan.unavailable = configuration.unavailable
        var problems: [ConfigurationProblem] = []
        for entry in configuration.entries { plan.add(entry, lookup, &problems) }
        plan.select(only: only, except: except, &problems)
        guard problems.isEmpty else { throw ConfigurationErrors(path: configuration.path, problems: problems) }
        return plan
    }

    package func child(_ name: String) -> ChildSpecification? { children.first { $0.name == name } }

    private mutating func add(_ entry: WorkerEntry, _ lookup: ExecutableLookup, _ problems: inout [ConfigurationProblem]) {
        let type = entry.type
        func specification(_ role: String, _ program: ChildSpecification.Program) -> ChildSpecification {
            var listener: ChildSpecification.Listener?
            if let name = type?.listener?.name, let address = entry.address {
                listener = .init(name: name, host: address.host, port: address.port)
            }
            return ChildSpecification(
                entry: entry, role: role, program: program, startRank: type?.startRank ?? WorkerCatalogue.customStartRank,
                stopRank: type?.stopRank ?? WorkerCatalogue.customStopRank, listener: listener)
        }
        switch type?.service {
        case .core:
            if entry.typeName == "iii-worker-manager" { workerManagers.append(entry) }
        case .ignored(let reason):
            if entry.isExplicit { remarks.append("entry '\(entry.id)' is accepted and ignored: \(reason)") }
        case .userProcesses:
            if let values = entry.values { children.append(specification("exec", .pipeline(ExecPipeline(values)))) }
        case .executable(let executable, let role):
            if let command = entry.exec {
                add(command, of: entry, lookup, &problems) { specification(role, $0) }
                return
            }
            let path = lookup.builtIn(executable)
            if lookup.isExecutable(path) {
                children.append(specification(role, .executable(path: path, arguments: [])))
            } else if entry.isExplicit && entry.line > 0 {
                let message =
                    "worker '\(entry.id)' needs the executable '\(path)', which does not exist or is not executable: "
                    + "build it (`swift build --product \(executable)`) or install it there, name another with `exec:`, or remove the entry"
                problems.append(ConfigurationProblem(line: entry.line, message: message))
            } else {
                unavailable.append(entry.id)
            }
        case nil:
            if let command = entry.exec { add(command, of: entry, lookup, &problems) { specification("custom", $0) } }
        }
    }

    private mutating func add(
        _ command: WorkerEntry.Command, of entry: WorkerEntry, _ lookup: ExecutableLookup, _ problems: inout [ConfigurationProblem],
        _ specification: (ChildSpecification.Program) -> ChildSpecification
    ) {
        let words: [String]
        switch command {
        case .line(let line) where line.contains(where: \.isWhitespace) && !lookup.isExecutable(line):
            // `exec` keeps the shell from standing between the supervisor and the program.
            children.append(specification(.executable(path: "/bin/sh", arguments: ["-c", "exec " + line])))
            return
        case .line(let line): words = [line]
        case .arguments(let list): words = list
        }
        guard let program = words.first, let path = lookup.find(program) else {
            let message =
                "\(entry.id).exec: no executable '\(words.first ?? "")' (looked in PATH, or at that path if it has a '/'): correct the path, "
                + "or make the file executable with `chmod +x`"
            problems.append(ConfigurationProblem(line: entry.line, message: message))
            return
        }
        children.append(specification(.executable(path: path, arguments: Array(words.dropFirst()))))
    }

    private mutating func select(only: [String], except: [String], _ problems: inout [ConfigurationProblem]) {
        let names = children.map(\.name)
        for (option, list) in [("--only", only), ("--except", except)] {
            for name in list where !names.contains(EngineConfiguration.canonical(name)) {
                let hint = EditDistance.nearest(to: name, among: names).map { " (did you mean '\($0)'?)" } ?? ""
                problems.append(
                    ConfigurationProblem(
                        message: "\(option): no child named '\(name)'\(hint); the configuration has: \(names.joined(separator: ", "))"))
            }
        }
        let wanted = Set(only.map(EngineConfiguration.canonical))
        let unwanted = Set(except.map(EngineConfiguration.canonical))
        for index in children.indices {
            let name = children[index].name
            children[index].isEnabled = (wanted.isEmpty || wanted.contains(name)) && !unwanted.contains(name)
        }
    }
}
