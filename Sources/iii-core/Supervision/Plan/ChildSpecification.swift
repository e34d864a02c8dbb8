import IIIConfiguration
import IIIProtocol
import IIISettings

/// Everything the supervisor needs to know to run one entry of the configuration.
package struct ChildSpecification: Sendable, Equatable {
    package enum Program: Sendable, Equatable {
        case executable(path: String, arguments: [String])
        case pipeline(ExecPipeline)
    }

    package struct Listener: Sendable, Equatable {
        /// The name in `LISTEN_FDNAMES`: `http` or `stream`.
        package var name: String
        package var host: String
        package var port: Int
    }

    package var entry: WorkerEntry
    /// What the executable is to be: `http`, `state`, `bridge`, …; `custom` for a program of the user's own.
    package var role: String
    package var program: Program
    package var startRank: Int
    package var stopRank: Int
    package var listener: Listener?
    /// False when `--only` or `--except` excludes it: it is listed, and `start` still starts it.
    package var isEnabled = true

    package var name: String { entry.id }

    /// User commands get no secret and are not asked to drain.
    package var isPrivileged: Bool {
        if case .pipeline = program { return false }
        return true
    }

    package var member: FleetMachine.Member {
        FleetMachine.Member(
            startRank: startRank, stopRank: stopRank, dependsOn: entry.dependsOn.map(EngineConfiguration.canonical),
            settings: ChildMachine.Settings(
                restart: entry.restart, reportsReadiness: entry.readiness == .reported, startupTimeout: entry.startupTimeout,
                stopTimeout: entry.stopTimeout, canOverlap: entry.canOverlap, handoverTimeout: entry.handoverTimeout),
            isBuiltIn: isPrivileged)
    }
}

/// The commands of one `iii-exec` entry (docs/reference/supervisor.md#starting): all but the last must end with 0, the last
/// one is supervised.
package struct ExecPipeline: Sendable, Equatable {
    package typealias Step = ExecSettings.Command

    package var steps: [Step]
    /// Globs; a change of a matching file runs the pipeline again from its first step.
    package var watch: [String]
    /// Names of files and directories that are never looked into.
    package var ignored: [String]

    /// From the checked `config` of the entry.
    package init(_ values: SettingValues) {
        steps = values[ExecSettings.commands]
        watch = values[ExecSettings.watch] ?? []
        ignored = values[ExecSettings.ignored]
    }
}
