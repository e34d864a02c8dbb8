import ArgumentParser
import IIIState
import IIIStream
import IIITelemetry
import IIIWorker

/// `iii-stream`: live streams, or in the role `state` the state, as a process of its own, started by the core or by a systemd unit.
@main
struct EntryPoint: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "iii-stream",
        abstract: "Live streams and state of the iii engine: 'stream::*' with a port for clients, or 'state::*'.",
        discussion: """
            Connects to a running core, fetches the configuration of its entry and serves it. The secret of a built-in comes on a \
            descriptor that the core passes, or from III_BUILTIN_TOKEN_FILE. A listening socket called 'stream' is taken over by the systemd protocol.

            Exit codes: 0 after a drain, 1 when store or address cannot be had, 78 when role or configuration is refused.
            """)

    @Option(help: "WebSocket address of the core, e.g. ws://127.0.0.1:49134.")
    var engine: String?

    @Option(help: "Name of the configuration entry to serve.")
    var name: String?

    @Option(help: "What to be: 'stream', or 'state' for an iii-state entry. Default: III_BUILTIN_ROLE, else stream.")
    var role: String?

    func run() throws {
        TelemetryLog.bootstrapFromEnvironment()
        let roles = [CoreWorkerRole(StreamWorker.self), CoreWorkerRole(StateWorker.self)]
        throw ExitCode(CoreWorkerProcess.run(roles, of: "iii-stream", role: role, engineURL: engine, name: name))
    }
}
