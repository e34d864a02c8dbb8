import ArgumentParser
import Glibc
import IIIHTTPGateway
import IIITelemetry
import IIIWorker

/// `iii-http`: the HTTP gateway as a process of its own, started by the core or by a systemd unit.
@main
struct EntryPoint: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "iii-http",
        abstract: "HTTP gateway of the iii engine: serves the trigger type 'http'.",
        discussion: """
            Connects to a running core, fetches the configuration of its entry and serves it. The secret of a built-in comes from \
            III_BUILTIN_TOKEN or III_BUILTIN_TOKEN_FILE. A listening socket called 'http' is taken over by the systemd protocol.

            Exit codes: 0 after a drain, 1 when the address cannot be had, 78 when the configuration is refused.
            """)

    @Option(help: "WebSocket address of the core, e.g. ws://127.0.0.1:49134.")
    var engine: String?

    @Option(help: "Name of the configuration entry to serve.")
    var name: String?

    func run() throws {
        let level = getenv("III_LOG_LEVEL").map { String(cString: $0) }
        TelemetryLog.bootstrap(filter: level.flatMap { LogFilter(parsing: $0) } ?? LogFilter(), format: .text)
        // A client that has gone shows as an error of its own write, never as a signal.
        signal(SIGPIPE, SIG_IGN)
        throw ExitCode(CoreWorkerProcess.run(HTTPGateway.self, engineURL: engine, name: name))
    }
}
