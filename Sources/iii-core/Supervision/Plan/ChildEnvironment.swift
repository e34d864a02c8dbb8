import IIITelemetry

/// The environment a child starts with (docs/reference/supervisor.md#what-a-child-is-given).
package struct ChildEnvironment: Sendable {
    /// What the core was started with.
    package var inherited: [String: String]
    package var engine: EngineAddress
    package var enginePID: Int32
    /// How built-ins write their log, so that records keep their fields on a JSON console.
    package var logFormat: LogFormat

    package init(inherited: [String: String], engine: EngineAddress, enginePID: Int32, logFormat: LogFormat = .text) {
        self.inherited = inherited
        self.engine = engine
        self.enginePID = enginePID
        self.logFormat = logFormat
    }

    /// Marks the place the spawn shim overwrites with the child's pid.
    package static let pidPlaceholder = String(repeating: " ", count: 20)

    /// `KEY=value` strings, sorted. Descriptors: the listening socket first (3), then the lifeline, then the secret.
    ///
    /// - Parameters:
    ///   - spawnID: marks everything that descends from this spawn, wherever it goes (`ProcessTable`).
    ///   - hasSecret: a secret is passed on a descriptor; false for commands of `iii-exec`.
    ///   - listenerName: name of the socket passed as descriptor 3; nil when none is passed.
    package func variables(
        for child: ChildSpecification, spawnID: String, hasSecret: Bool, listenerName: String?, extra: [String: String] = [:]
    ) -> [String] {
        var variables = inherited.filter { !Self.isWithheld($0.key) }
        variables.merge(child.entry.environment) { $1 }
        variables.merge(extra) { $1 }
        let url = engine.url(forBuiltin: hasSecret)
        variables["III_URL"] = url
        variables["III_ENGINE_URL"] = url
        // Not `III_WORKER_NAME`: SDKs in the user's programs take that for a name of their own.
        variables["III_ENTRY_NAME"] = child.name
        variables["III_SPAWN_ID"] = spawnID
        variables["III_ENGINE_PID"] = String(enginePID)
        variables["III_LIFELINE_FD"] = listenerName == nil ? "3" : "4"
        if hasSecret {
            variables["III_BUILTIN_TOKEN_FD"] = listenerName == nil ? "4" : "5"
            // A core dump is asked for by name, so it must be possible.
            if child.entry.resources.coreBytes != 0 { variables["III_DEBUGGABLE"] = "1" }
            variables["III_BUILTIN_ROLE"] = child.role
            // The multiplexer stamps and names each line, so a built-in need not.
            variables["III_LOG_STREAM"] = logFormat.rawValue
        }
        if let listenerName {
            variables["LISTEN_FDS"] = "1"
            variables["LISTEN_FDNAMES"] = listenerName
            variables["LISTEN_PID"] = Self.pidPlaceholder
        }
        return variables.map { "\($0.key)=\($0.value)" }.sorted()
    }

    /// What belongs to the core and to systemd, not to a child. Secrets of another spawn must not leak either.
    private static func isWithheld(_ name: String) -> Bool {
        name == "NOTIFY_SOCKET" || name == "JOURNAL_STREAM" || name.hasPrefix("LISTEN_") || name.hasPrefix("WATCHDOG_")
            || name == "III_LOG_STREAM" || name.hasPrefix("III_BUILTIN_")
    }
}
