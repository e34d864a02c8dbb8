import ArgumentParser
import Glibc
import IIIProtocol
import IIITransport
import NIOCore
import NIOPosix

/// Measures routed round trips: a caller and an echoing worker in one process, against the engine or a peer.
@main
struct Load: AsyncParsableCommand {
    enum Peer: String, ExpressibleByArgument { case iii, nats }

    static let configuration = CommandConfiguration(
        commandName: "iii-load", abstract: "Round trips caller → router → worker → router → caller, with a fixed number in flight.")

    @Option(help: "iii (any router that speaks the worker protocol) or nats.") var peer = Peer.iii
    @Option(help: "Host.") var host = "127.0.0.1"
    @Option(help: "Port.") var port = 49134
    @Option(help: "Calls in flight (1-65536).") var inFlight = 64
    @Option(help: "Payload bytes in each call.") var payload = 100
    @Option(help: "Function to call instead of the echoing worker's; with --peer iii.") var function: String?
    @Option(help: "JSON of its calls; every @ becomes the number of the call's place, below --in-flight.") var data: String?
    @Option(help: "Seconds to measure (1-60), after a warm-up of one fifth.") var seconds = 3.0

    func validate() throws {
        guard (1...65536).contains(inFlight) else { throw ValidationError("--in-flight must be 1-65536") }
        guard seconds > 0, seconds <= 60 else { throw ValidationError("--seconds must be above 0 and at most 60") }
        guard (function == nil) == (data == nil), function == nil || peer == .iii else {
            throw ValidationError("--function and --data go together, with --peer iii")
        }
        guard host == "127.0.0.1" || host == "localhost" || host == "::1" else {
            throw ValidationError("--host must be this machine: load is only ever sent over loopback")
        }
    }

    func run() async throws {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let run = Run(inFlight: inFlight, payload: payload, seconds: seconds, loop: loop)
        switch peer {
        case .iii:
            let target = function.flatMap { function in data.map { WebSocketPeer.Target(function: function, data: $0) } }
            try await WebSocketPeer.start(run, url: WebSocketURL(host: host, port: port), calling: target)
        case .nats: try await NATSPeer.start(run, host: host, port: port)
        }
        print(try await run.report().text)
    }
}
