import ArgumentParser
import IIICron
import IIITelemetry
import IIIWorker

/// `iii-cron`: calls functions on schedules, as a process of its own, started by the core or by a systemd unit.
@main
struct EntryPoint: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "iii-cron",
        abstract: "Scheduler of the iii engine: serves the trigger type 'cron'.",
        discussion: """
            Connects to a running core, fetches the configuration of its entry and serves it. The secret of a built-in comes on a \
            descriptor that the core passes, or from III_BUILTIN_TOKEN_FILE.

            Exit codes: 0 after a drain, 1 when its store or lock store cannot be had, 78 when the configuration is refused.
            """)

    @Option(help: "WebSocket address of the core, e.g. ws://127.0.0.1:49134.")
    var engine: String?

    @Option(help: "Name of the configuration entry to serve.")
    var name: String?

    func run() throws {
        TelemetryLog.bootstrapFromEnvironment()
        throw ExitCode(CoreWorkerProcess.run(CronWorker.self, engineURL: engine, name: name))
    }
}
