import IIISettings

/// Every worker name the engine knows, with the shorter names of newer releases as aliases (docs/configuration.md).
package enum WorkerCatalogue {
    /// In the order in which the reference page shows them.
    package static let types: [WorkerType] = [
        WorkerType("iii-worker-manager", .core, WorkerManagerSettings.group, isDefault: true, isMandatory: true),
        WorkerType("iii-engine-functions", .core, EngineFunctionsSettings.group, isDefault: true, isMandatory: true),
        WorkerType(
            "iii-telemetry", .ignored(reason: TelemetrySettings.reason), TelemetrySettings.group, isDefault: false),
        WorkerType(
            "iii-observability", .executable(name: "iii-observability", role: "observability"), ObservabilitySettings.group, start: 0,
            stop: 6,
            isDefault: true, isMandatory: true),
        WorkerType(
            "iii-http", .executable(name: "iii-http", role: "http"), HTTPSettings.group, start: 4, stop: 0,
            listener: .init(name: "http", defaultPort: HTTPSettings.defaultPort), canOverlap: true, isDefault: true),
        WorkerType(
            "iii-stream", .executable(name: "iii-stream", role: "stream"), StreamSettings.group, start: 3, stop: 1,
            listener: .init(name: "stream", defaultPort: StreamSettings.defaultPort), isDefault: true),
        WorkerType("iii-state", .executable(name: "iii-stream", role: "state"), StateSettings.group, isDefault: true),
        WorkerType("iii-queue", .executable(name: "iii-queue", role: "queue"), QueueSettings.group, start: 1, stop: 3, isDefault: true),
        WorkerType("iii-pubsub", .executable(name: "iii-queue", role: "pubsub"), PubsubSettings.group, isDefault: true),
        WorkerType("iii-cron", .executable(name: "iii-cron", role: "cron"), CronSettings.group, start: 2, stop: 2, isDefault: true),
        WorkerType("iii-http-functions", .executable(name: "iii-http", role: "outbound"), HTTPFunctionsSettings.group),
        WorkerType("iii-bridge", .executable(name: "iii-queue", role: "bridge"), BridgeSettings.group),
        WorkerType("iii-exec", .userProcesses, ExecSettings.group, start: 6, stop: 5, needsConfig: true),
        WorkerType(
            "configuration", .ignored(reason: ConfigurationWorkerSettings.reason),
            ConfigurationWorkerSettings.group),
    ]

    private static let typesByName = Dictionary(uniqueKeysWithValues: types.map { ($0.name, $0) })

    /// Short names of newer releases, each with the `iii-*` name it stands for.
    package static let aliases: [String: String] = Dictionary(
        uniqueKeysWithValues: types.filter { $0.name.hasPrefix("iii-") }.map { (String($0.name.dropFirst(4)), $0.name) })

    /// The type for a name as written, alias or not, without `#N`.
    package static func type(named name: String) -> WorkerType? {
        typesByName[name] ?? aliases[name].flatMap { typesByName[$0] }
    }

    package static var allNames: [String] { types.map(\.name) + aliases.keys.sorted() }

    /// Rank of an entry that runs a user's own executable under a name of its own.
    package static let customStartRank = 6
    package static let customStopRank = 4
}
