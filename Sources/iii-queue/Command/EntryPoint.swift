import ArgumentParser
import IIIQueue
import IIITelemetry
import IIIWorker

/// `iii-queue`: durable queues, or in the role `pubsub` fire-and-forget topics, as a process of its own, started by the core or by a
/// systemd unit.
@main
struct EntryPoint: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "iii-queue",
        abstract: "Queues of the iii engine: keeps what was acknowledged and delivers it; or topics without memory.",
        discussion: """
            Connects to a running core, fetches the configuration of its entry and serves it. The secret of a built-in comes on a \
            descriptor that the core passes, or from III_BUILTIN_TOKEN_FILE.

            Exit codes: 0 after a drain, 1 when its store or broker cannot be had, 78 when role or configuration is refused.
            """)

    @Option(help: "WebSocket address of the core, e.g. ws://127.0.0.1:49134.")
    var engine: String?

    @Option(help: "Name of the configuration entry to serve.")
    var name: String?

    @Option(help: "What to be: 'queue', or 'pubsub' for an iii-pubsub entry. Default: III_BUILTIN_ROLE, else queue.")
    var role: String?

    func run() throws {
        TelemetryLog.bootstrapFromEnvironment()
        let roles = [CoreWorkerRole(Queue.self), CoreWorkerRole(PubSub.self)]
        throw ExitCode(CoreWorkerProcess.run(roles, of: "iii-queue", role: role, engineURL: engine, name: name))
    }
}
