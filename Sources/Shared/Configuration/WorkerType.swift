import IIISettings

/// What the engine knows about one worker name: who serves it, in which order, with which configuration.
package struct WorkerType: Sendable {
    /// Who does the work of an entry.
    package enum Service: Sendable, Equatable {
        /// iii-core itself; no child process.
        case core
        /// One of our executables in one of its roles.
        case executable(name: String, role: String)
        /// The user's own commands under the supervisor (`iii-exec`).
        case userProcesses
        /// Accepted so that existing files load; the text says what happens instead.
        case ignored(reason: String)
    }

    /// The socket a worker of this type listens on, bound by the core and passed down.
    package struct Listener: Sendable, Equatable {
        /// The name under which the descriptor travels (`LISTEN_FDNAMES`).
        package var name: String
        package var defaultPort: Int
    }

    package var name: String
    package var service: Service
    /// The keys of its `config`.
    package var settings: SettingGroup
    /// Lower starts first (docs/reference/supervisor.md#starting).
    package var startRank: Int
    /// Lower stops first (docs/reference/supervisor.md#stopping).
    package var stopRank: Int
    package var listener: Listener?
    /// Whether two processes of one entry may run side by side: it holds no lock and owns no state.
    package var canOverlap: Bool
    /// Whether `--use-default-config` includes it.
    package var isDefault: Bool
    /// Whether it runs although no entry names it.
    package var isMandatory: Bool
    /// Whether an entry without a `config:` block is an error.
    package var needsConfig: Bool

    init(
        _ name: String, _ service: Service, _ settings: SettingGroup, start: Int = 5, stop: Int = 4, listener: Listener? = nil,
        canOverlap: Bool = false, isDefault: Bool = false, isMandatory: Bool = false, needsConfig: Bool = false
    ) {
        self.name = name
        self.service = service
        self.settings = settings
        self.startRank = start
        self.stopRank = stop
        self.listener = listener
        self.canOverlap = canOverlap
        self.isDefault = isDefault
        self.isMandatory = isMandatory
        self.needsConfig = needsConfig
    }
}
