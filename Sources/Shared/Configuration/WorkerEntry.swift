import IIIProtocol
import IIISettings

/// One entry of `workers:` or `modules:`, checked and with all settings resolved (docs/reference/configuration.md#an-entry).
package struct WorkerEntry: Sendable, Hashable {
    /// The program that replaces the built-in one.
    package enum Command: Sendable, Hashable {
        /// A path, or a word to look up in `PATH`. With white space in it: a line for `/bin/sh -c`.
        case line(String)
        /// Program and arguments, as they are.
        case arguments([String])
    }

    /// When a child counts as ready.
    package enum Readiness: String, Sendable, Hashable, CaseIterable {
        /// When it has called `core::builtin::ready`.
        case reported
        /// As soon as its process lives.
        case alive
    }

    package struct Resources: Sendable, Hashable {
        /// Open files; nil raises the soft limit to the hard one.
        package var openFiles: Int?
        /// Resident memory in MiB above which the child is restarted.
        package var memoryMaximumMiB: Int?
        package var niceness: Int?
        /// Core dump size in bytes; 0 by default.
        package var coreBytes: Int

        package init(openFiles: Int? = nil, memoryMaximumMiB: Int? = nil, niceness: Int? = nil, coreBytes: Int = 0) {
            self.openFiles = openFiles
            self.memoryMaximumMiB = memoryMaximumMiB
            self.niceness = niceness
            self.coreBytes = coreBytes
        }
    }

    /// Unique among all entries: the canonical name, for repeated names followed by `#1`, `#2`, …
    package var id: String
    /// The name as the file has it.
    package var name: String
    /// The canonical name of the type without `#N`; the name itself when the catalogue does not know it.
    package var typeName: String
    package var image: String?
    package var exec: Command?
    /// The program is built on IIIWorker and takes part in readiness, drain and live change of its configuration.
    package var isCoreWorker: Bool
    /// The file says `core_worker: true`, so that the program may be asked to check its `config`.
    package var checksItsConfig = false
    /// The expanded `config:` block, in the form its declaration wants; nil when absent or null.
    package var config: JSONValue?
    package var restart: RestartSettings
    package var resources = Resources()
    /// Ids of the entries that must be ready before this one starts.
    package var dependsOn: [String] = []
    package var environment: [String: String] = [:]
    package var startupTimeout = EntrySettings.startupTimeout.defaultValue
    package var stopTimeout = Duration.seconds(10)
    /// How long a replaced process may go on with what it has (open streams, long requests); only where `canOverlap`.
    package var handoverTimeout = EntrySettings.handoverTimeout.defaultValue
    package var readiness: Readiness
    /// False for entries the engine adds by itself.
    package var isExplicit = true
    /// Line of the entry in the file; 0 when it stands in none.
    package var line = 0
    /// Lines of the keys of `config` by dotted path, where the program is asked about them.
    package var configPlaces: [String: Int] = [:]
    /// Line of the `config:` key.
    package var configLine = 0

    package init(id: String, name: String, typeName: String, readiness: Readiness = .reported, restart: RestartSettings = .init()) {
        self.id = id
        self.name = name
        self.typeName = typeName
        self.readiness = readiness
        isCoreWorker = readiness == .reported
        self.restart = restart
    }

    /// Whether a restart may run two processes side by side for a while: says the catalogue, of its own executables.
    package var canOverlap: Bool { exec == nil && type?.canOverlap == true }

    package var type: WorkerType? { WorkerCatalogue.type(named: typeName) }

    /// `config` with the defaults of the catalogue filled in.
    package var effectiveConfig: JSONValue {
        type?.settings.fillingDefaults(config ?? .object([:])) ?? config ?? .object([:])
    }

    /// Typed access to `config` by the constants of its type's declaration; nil for a name of the user's own.
    package var values: SettingValues? { type?.settings.values(ofChecked: config ?? .null) }

    /// Host and port of the socket the entry listens on, if its type has one.
    package var address: (host: String, port: Int)? {
        guard let defaultPort = type?.listener?.defaultPort ?? (typeName == "iii-worker-manager" ? WorkerManagerSettings.defaultPort : nil)
        else { return nil }
        let effective = effectiveConfig
        return (effective["host"]?.string ?? "127.0.0.1", effective["port"]?.integer.map(Int.init) ?? defaultPort)
    }

    /// Equal in everything a running child depends on; places in the file do not count (docs/reference/supervisor.md#reload).
    package func isEquivalent(to other: WorkerEntry) -> Bool {
        var left = self
        var right = other
        (left.line, left.configLine, right.line, right.configLine) = (0, 0, 0, 0)
        (left.configPlaces, right.configPlaces) = ([:], [:])
        (left.isExplicit, right.isExplicit) = (true, true)
        return left == right
    }
}
