import ArgumentParser
import IIIObservability
import IIITelemetry
import IIIWorker

/// `iii-observability`: traces, logs and metrics of all workers, as a process of its own, started by the core or by a systemd unit.
@main
struct EntryPoint: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "iii-observability",
        abstract: "Traces, logs and metrics of the iii engine: 'engine::traces::*', 'engine::logs::*', 'engine::metrics::*' and more.",
        discussion: """
            Connects to a running core, fetches the configuration of its entry, and is sent the telemetry of all workers. The secret of a \
            built-in comes on a descriptor that the core passes, or from III_BUILTIN_TOKEN_FILE.

            Exit codes: 0 after a drain, 1 when its store cannot be had, 78 when the configuration is refused.
            """)

    @Option(help: "WebSocket address of the core, e.g. ws://127.0.0.1:49134.")
    var engine: String?

    @Option(help: "Name of the configuration entry to serve.")
    var name: String?

    func run() throws {
        TelemetryLog.bootstrapFromEnvironment()
        throw ExitCode(CoreWorkerProcess.run(ObservabilityWorker.self, engineURL: engine, name: name))
    }
}
