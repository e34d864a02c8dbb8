import IIIConfiguration
import IIIProtocol
import IIITelemetry

/// What the supervisor asks of the engine. All closures are called on the supervisor's thread and must not block.
package struct SupervisorHooks: Sendable {
    /// A fresh secret for one process; the engine accepts it until it is revoked.
    package var issueToken: @Sendable (_ child: ChildGeneration, _ role: String) -> String
    package var revokeToken: @Sendable (_ child: ChildGeneration) -> Void
    /// Send the protocol-level drain request to that very process; call the completion when it is answered or the link is gone.
    package var drain: @Sendable (_ child: ChildGeneration, _ request: DrainRequest, _ completion: @escaping @Sendable () -> Void) -> Void
    /// Draining has begun: refuse new worker connections.
    package var willShutDown: @Sendable () -> Void
    /// The expanded config of an entry: set before its first spawn and at every change. `.null` means the entry has no
    /// `config:` block, nil that the entry is gone.
    package var configurationChanged: @Sendable (_ name: String, _ config: JSONValue?) -> Void
    /// Offers a core worker its changed config, nil for `process`: those that run as units of their own; call the completion when it
    /// has answered, or cannot.
    package var reconfigure:
        @Sendable (
            _ name: String, _ process: ChildGeneration?, _ config: JSONValue, _ completion: @escaping @Sendable (LiveChange) -> Void
        ) -> Void
    /// Asks a running built-in what it is doing; call the completion with its answer, or nil when there is none.
    package var describe: @Sendable (_ child: ChildGeneration, _ completion: @escaping @Sendable (JSONValue?) -> Void) -> Void
    /// Applies the `iii-worker-manager` entries of a new configuration; an error text keeps the old configuration.
    package var workerManagersChanged: @Sendable (_ entries: [WorkerEntry]) -> String?
    /// Where children find the engine after `workerManagersChanged`; nil when that cannot change.
    package var engineAddress: @Sendable () -> EngineAddress?
    /// All required children were ready for the first time.
    package var becameReady: @Sendable () -> Void
    /// Everything the engine knows in numbers, with `fleet`; call the completion once, on any thread but the supervisor's.
    package var metrics: @Sendable (_ fleet: [MetricFamily], _ completion: @escaping @Sendable (MetricScrape) -> Void) -> Void

    package init(
        issueToken: @escaping @Sendable (_ child: ChildGeneration, _ role: String) -> String,
        revokeToken: @escaping @Sendable (_ child: ChildGeneration) -> Void = { _ in },
        drain:
            @escaping @Sendable (_ child: ChildGeneration, _ request: DrainRequest, _ completion: @escaping @Sendable () -> Void) -> Void =
            { $2() },
        willShutDown: @escaping @Sendable () -> Void = {},
        configurationChanged: @escaping @Sendable (_ name: String, _ config: JSONValue?) -> Void = { _, _ in },
        reconfigure:
            @escaping @Sendable (
                _ name: String, _ process: ChildGeneration?, _ config: JSONValue, _ completion: @escaping @Sendable (LiveChange) -> Void
            ) -> Void = { $3(.needsRestart("applied by a restart")) },
        describe: @escaping @Sendable (_ child: ChildGeneration, _ completion: @escaping @Sendable (JSONValue?) -> Void) -> Void = {
            $1(nil)
        },
        workerManagersChanged: @escaping @Sendable (_ entries: [WorkerEntry]) -> String? = { _ in nil },
        engineAddress: @escaping @Sendable () -> EngineAddress? = { nil },
        becameReady: @escaping @Sendable () -> Void = {},
        metrics: @escaping @Sendable (_ fleet: [MetricFamily], _ completion: @escaping @Sendable (MetricScrape) -> Void) -> Void = {
            fleet, completion in
            var scrape = MetricScrape()
            scrape.add(fleet, from: .engine)
            completion(scrape)
        }
    ) {
        self.issueToken = issueToken
        self.revokeToken = revokeToken
        self.drain = drain
        self.willShutDown = willShutDown
        self.configurationChanged = configurationChanged
        self.reconfigure = reconfigure
        self.describe = describe
        self.workerManagersChanged = workerManagersChanged
        self.engineAddress = engineAddress
        self.becameReady = becameReady
        self.metrics = metrics
    }
}

/// One process of an entry.
package struct ChildGeneration: Sendable, Hashable {
    package var name: String
    package var generation: Int

    package init(name: String, generation: Int) {
        self.name = name
        self.generation = generation
    }
}

/// How a process is to come to its end.
package struct DrainRequest: Sendable, Equatable {
    package var milliseconds: Int
    /// A successor serves already: whoever is still being served may take the time.
    package var isHandover: Bool

    package init(milliseconds: Int, isHandover: Bool) {
        self.milliseconds = milliseconds
        self.isHandover = isHandover
    }
}

/// What a running built-in made of its changed config.
package enum LiveChange: Sendable, Equatable {
    /// In force for all new work.
    case applied
    /// Only a restart can apply it.
    case needsRestart(String)
    /// Unusable: a restart would fail too, so the old one stays in force.
    case invalid(String)
    /// It is connected, but has not answered in time.
    case unanswered
    /// No such process is connected.
    case absent
}

/// Where workers of this machine connect to the engine.
package struct EngineAddress: Sendable, Equatable {
    /// What people are told: `ws://127.0.0.1:49134`, or `wss://…`.
    package var url: String
    /// What user processes get as `III_URL`, where that differs. It may hold a secret.
    package var userURL: String?
    /// What built-ins get: a listener that no setting of a public one touches.
    package var builtinURL: String?
    /// Also the name of the control socket.
    package var port: Int

    package init(url: String, userURL: String? = nil, builtinURL: String? = nil, port: Int) {
        self.url = url
        self.userURL = userURL
        self.builtinURL = builtinURL
        self.port = port
    }

    /// What a child is told, as `III_URL`.
    package func url(forBuiltin isBuiltin: Bool) -> String { (isBuiltin ? builtinURL : userURL) ?? url }
}

/// How one supervisor runs.
package struct SupervisorOptions: Sendable {
    /// What children are told to connect to.
    package var engine: EngineAddress
    package var version: String
    /// Watched and read again on reload; nil for the default configuration.
    package var configPath: String?
    package var only: [String] = []
    package var except: [String] = []
    package var logStyle = LogMultiplexer.Style()
    /// Nil writes no console lines.
    package var consoleDescriptor: Int32? = 1
    /// Nil opens no control socket.
    package var controlSocketPath: String?
    package var environment: [String: String]
    package var lookup: ExecutableLookup
    /// What systemd passed, after the core has taken its own socket from it.
    package var activation: SocketActivation
    /// Off in tests, which share their process.
    package var handlesSignals = true
    /// Adopt and bury what children leave behind: process 1 has to, every other becomes a subreaper. Off in tests, which share
    /// their process.
    package var adoptsOrphans = false
    /// Whatever is a child of this process is one of this fleet, or was left behind by one: it ends with it. Off in tests.
    package var ownsAllChildren = false
    /// Whether the end of a terminal is the end of the fleet (`SignalPolicy`).
    package var isOnTerminal = false
    /// Start of the process on the monotonic clock, for the line `iii-core ready in … ms`.
    package var startedAt = MonotonicClock.now

    package init(
        engine: EngineAddress, version: String, environment: [String: String], lookup: ExecutableLookup,
        activation: SocketActivation
    ) {
        self.engine = engine
        self.version = version
        self.environment = environment
        self.lookup = lookup
        self.activation = activation
    }
}
