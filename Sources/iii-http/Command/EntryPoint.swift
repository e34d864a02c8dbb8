import ArgumentParser
import IIIHTTPFunctions
import IIIHTTPGateway
import IIITelemetry
import IIIWorker

/// `iii-http`: the HTTP gateway, or in the role `outbound` the caller of remote HTTP functions, as a process of its own, started
/// by the core or by a systemd unit.
@main
struct EntryPoint: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "iii-http",
        abstract: "HTTP gateway of the iii engine: serves the trigger type 'http', or calls remote HTTP functions.",
        discussion: """
            Connects to a running core, fetches the configuration of its entry and serves it. The secret of a built-in comes on a \
            descriptor that the core passes, or from III_BUILTIN_TOKEN_FILE. A listening socket called 'http' is taken over by the systemd protocol.

            Exit codes: 0 after a drain, 1 when the address cannot be had, 78 when role or configuration is refused.
            """)

    @Option(help: "WebSocket address of the core, e.g. ws://127.0.0.1:49134.")
    var engine: String?

    @Option(help: "Name of the configuration entry to serve.")
    var name: String?

    @Option(help: "What to be: 'http', the gateway, or 'outbound', for an iii-http-functions entry. Default: III_BUILTIN_ROLE, else http.")
    var role: String?

    func run() throws {
        TelemetryLog.bootstrapFromEnvironment()
        let roles = [CoreWorkerRole(HTTPGateway.self), CoreWorkerRole(HTTPFunctions.self, entry: HTTPFunctions.entryName)]
        throw ExitCode(CoreWorkerProcess.run(roles, of: "iii-http", role: role, engineURL: engine, name: name))
    }
}
