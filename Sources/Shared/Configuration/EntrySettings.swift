import IIIProtocol
import IIISettings

/// Keys of an entry itself. `name`, `image` and `config` are the reference's; unknown ones are passed over with a warning.
package enum EntrySettings {
    package static let name = Setting(
        required: "name", .text(.entryName), example: "iii-http",
        "A built-in of this page, or a name of your own for a program named by `exec`.")
    package static let image = Setting("image", .text, absent: "none", inert: "containers are not run", "Of the reference.")
    package static let config = Setting("config", .anything, absent: "all defaults", "The keys of the worker, see below.")
    package static let executable = Setting<WorkerEntry.Command?>(
        "exec",
        .oneOf(SettingType.text.map(WorkerEntry.Command.line), SettingType<[String]>.list(.text).map(WorkerEntry.Command.arguments)),
        absent: "the built-in's own", example: ["./my-worker", "--flag"],
        "Program that runs in the built-in's place, or as a worker of your own name: a path or command line, or a list of program and arguments."
    )
    package static let isCoreWorker = Setting(
        "core_worker", .boolean, absent: "true for built-ins", example: true,
        "The program of `exec` is a core worker (IIIWorker): it reports readiness, and `iii-core config check` runs it with "
            + "`--check-configuration` to have `config` checked.")
    package static let restart = Setting<RestartOverrides?>(
        "restart",
        .oneOf(
            SettingType<RestartSettings.Policy>.choice.map(RestartOverrides.init(policy:)), .object(Restart.group, RestartOverrides.init)),
        absent: "the defaults below", "When and how fast the entry is restarted: a policy alone, or a map.")
    package static let dependencies = Setting<[String]>(
        "depends_on", .oneOf(SettingType<String>.text.map { [$0] }, .list(.text)), default: [], "Entries that must be ready first.")
    package static let environment = Setting<[String: String]>(
        "env", .environment, default: [:], "Additional environment; values are the text as it is written, empty for null.")
    package static let startupTimeout = Setting(
        "startup_timeout_ms", .milliseconds, default: 10_000, "Limit for becoming ready; then the entry is restarted.")
    package static let stopTimeout = Setting(
        "stop_timeout_ms", .milliseconds, absent: "10000, for `iii-exec` 3000", example: 10_000, "From the request to stop until SIGKILL.")
    package static let handoverTimeout = Setting(
        "handover_timeout_ms", .milliseconds, default: 300_000,
        "How long a replaced process may finish what it has beside its successor; `iii-http` only.")
    package static let isCritical = Setting("critical", .boolean, absent: "false", example: true, "As `restart.critical`.")
    package static let readiness = Setting<WorkerEntry.Readiness?>(
        "readiness", .choice, absent: "`reported` for core workers, else `alive`", example: "alive",
        "What counts as ready: the worker says so, or its process lives.")
    package static let resources = Setting("resources", .object(Resources.group), default: [:], "Limits of the process.")
    package static let health = Setting(
        "health", .anything, absent: "none", inert: "health checks are not run by this version", "Of the reference.")

    package static let group = SettingGroup(change: .restart, open: true) {
        name
        image
        config
        executable
        isCoreWorker
        restart
        dependencies
        environment
        startupTimeout
        stopTimeout
        handoverTimeout
        isCritical
        readiness
        resources
        health
        EnvironmentRule.names(of: environment)
    }

    package enum Restart {
        package static let policy = Setting<RestartSettings.Policy?>(
            "policy", .choice, absent: "`always`, for `iii-exec` `on-failure`", example: "always", "After which exits.")
        package static let immediateRestarts = Setting(
            "immediate_restarts", .count, absent: "5 for built-ins; 0 where `delay_ms` is written, and for programs of your own",
            example: 5, "Failures within `window_ms`, of what had been ready, after which it is started again without a pause.")
        package static let delay = Setting("delay_ms", .milliseconds, default: 200, "Pause before the first restart.")
        package static let factor = Setting("factor", .number(1...100), default: 2, "Each further pause is this much longer.")
        package static let maximumDelay = Setting("max_delay_ms", .milliseconds, default: 30_000, "Longest pause.")
        package static let jitter = Setting("jitter", .ratio, default: 0.2, "0.2 spreads each pause by ±20 %.")
        package static let resetAfter = Setting(
            "reset_after_ms", .milliseconds, default: 60_000, "Continuous readiness after which pause and count begin anew.")
        package static let maximumRestarts = Setting(
            "max_restarts", .count, default: 10, "Restarts within `window_ms` that count as too many.")
        package static let window = Setting("window_ms", .milliseconds, default: 60_000, "See `max_restarts`.")
        package static let givesUp = Setting(
            "give_up", .boolean, default: false, "Too many restarts: true gives up (`failed`), false keeps trying at the longest pause.")
        package static let isCritical = Setting(
            "critical", .boolean, absent: "false", example: true, "Giving up ends the engine with exit code 3.")

        package static let group = SettingGroup {
            policy
            immediateRestarts
            delay
            factor
            maximumDelay
            jitter
            resetAfter
            maximumRestarts
            window
            givesUp
            isCritical
            SettingRule("`delay_ms` above `max_delay_ms` is cut to it.") { values in
                values[delay] <= values[maximumDelay]
                    ? []
                    : [
                        .warning(
                            "delay_ms",
                            message: "the first pause is cut to max_delay_ms (\(values[maximumDelay].wholeMilliseconds)); raise that too")
                    ]
            }
        }
    }

    package enum Resources {
        package static let openFiles = Setting(
            "nofile", .integer(16...(1 << 30)), absent: "the hard limit", example: 65_536, "Open files (`RLIMIT_NOFILE`).")
        package static let memory = Setting(
            "memory_max_mb", .integer(1...(1 << 30), unit: "MiB"), absent: "no limit", example: 512,
            "Resident memory above which the entry is restarted.")
        package static let niceness = Setting("nice", .integer(-20...19), absent: "that of `iii-core`", example: 5, "Scheduling priority.")
        package static let core = Setting("core", .bytes, default: 0, "Largest core dump.")

        package static let group = SettingGroup {
            openFiles
            memory
            niceness
            core
        }
    }
}

/// What `restart` says: everything but the policy has one default for all.
package struct RestartOverrides: Sendable {
    package var policy: RestartSettings.Policy?
    package var isCritical: Bool?
    package var immediateRestarts: Int?
    package var namesDelay: Bool
    package var settings: RestartSettings

    init(policy: RestartSettings.Policy) {
        self.policy = policy
        namesDelay = false
        settings = RestartSettings()
    }

    init(_ values: SettingValues) {
        typealias Key = EntrySettings.Restart
        policy = values[Key.policy]
        isCritical = values[Key.isCritical]
        immediateRestarts = values[Key.immediateRestarts]
        namesDelay = values.isWritten(Key.delay)
        settings = RestartSettings(
            delay: values[Key.delay], factor: values[Key.factor], maximumDelay: values[Key.maximumDelay], jitter: values[Key.jitter],
            resetAfter: values[Key.resetAfter], maximumRestarts: values[Key.maximumRestarts], window: values[Key.window],
            givesUp: values[Key.givesUp])
    }
}

/// Keys of the file beside its entries.
package enum FileSettings {
    package static let namespaceGrace = Setting(
        "registration_namespace_grace_ms", .milliseconds, default: 5000, environment: "III_NAMESPACE_GRACE_MS",
        inert: "conflicts of namespaces are settled at once by this version", "How long registrations outlive a namespace conflict.")

    package static let group = SettingGroup(change: .restart) {
        Setting("workers", .anything, absent: "no entries", "List of entries.")
        Setting("modules", .anything, absent: "no entries", "List of entries that follow those of `workers`.")
        namespaceGrace
    }
}
