import ArgumentParser
import Glibc
import IIIQueue
import IIITelemetry
import IIIWorker
import Logging

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
        let role = role ?? getenv("III_BUILTIN_ROLE").map { String(cString: $0) } ?? Queue.role
        switch role {
        case Queue.role:
            throw ExitCode(CoreWorkerProcess.run(Queue.self, engineURL: engine, name: name))
        case PubSub.role:
            let ownName = getenv("III_ENTRY_NAME") == nil ? PubSub.entryName : nil
            throw ExitCode(CoreWorkerProcess.run(PubSub.self, engineURL: engine, name: name ?? ownName))
        default:
            Logger(label: "iii-queue").error(
                .configurationInvalid, "iii-queue cannot be '\(role)' in this build: it can be '\(Queue.role)' or '\(PubSub.role)'")
            throw ExitCode(CoreWorkerProcess.configurationExitCode)
        }
    }
}
