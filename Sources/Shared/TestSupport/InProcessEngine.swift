import Glibc
import IIIEngine
import IIIProtocol
import IIIWorker
import Logging
import NIOCore
import NIOPosix

/// A real engine on a real socket in this process: routing, triggers and channels as in `iii-core`, without supervisor and
/// built-ins. For tests of workers against the true counterpart.
public final class InProcessEngine: Sendable {
    package let engine: Engine
    /// Where it listens, on a free port of 127.0.0.1.
    public let url: WebSocketURL

    private init(_ engine: Engine, _ url: WebSocketURL) {
        self.engine = engine
        self.url = url
    }

    /// Runs `body` with an engine that is shut down afterwards. It logs nothing below `critical`.
    public static func run<Result>(_ body: (InProcessEngine) async throws -> Result) async throws -> Result {
        try await run(options: EngineOptions(), body)
    }

    /// What makes a connection one of a core worker here.
    private static let secret = String(repeating: "s", count: 64)

    /// The same with limits of the test's choice.
    package static func run<Result>(options: EngineOptions, _ body: (InProcessEngine) async throws -> Result) async throws -> Result {
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        var logger = Logger(label: "engine")
        logger.logLevel = .critical
        let engine = Engine(
            eventLoop: loop, options: options, version: "test", channelKey: "00", secrets: BuiltinSecrets(shared: secret), logger: logger)
        let (descriptor, port) = try listeningSocket()
        _ = try await engine.serve(socket: descriptor, settings: ListenerSettings(options)).get()
        let running = InProcessEngine(engine, WebSocketURL(host: "127.0.0.1", port: port))
        do {
            let result = try await body(running)
            try await loop.submit { engine.shutDown() }.get()
            return result
        } catch {
            try await loop.submit { engine.shutDown() }.get()
            throw error
        }
    }

    /// A worker that connects here, says little, reconnects at once and waits 10 minutes for answers.
    public func worker(_ name: String) -> WorkerClient { worker(name, headers: [], reconnectDelay: .milliseconds(20)) }

    /// The same with the privileges of a core worker, for an entry of that name. Its connection breaks off, as that of a process that is
    /// killed, by `breakOff`, and it does not come back.
    package func coreWorker(_ name: String) -> WorkerClient {
        worker(name, headers: [("x-iii-builtin-token", Self.secret), ("x-iii-builtin-name", name)], reconnectDelay: .hours(1))
    }

    /// Ends the connections of the core worker `name`.
    package func breakOff(_ name: String) {
        engine.eventLoop.execute { [engine] in
            for worker in engine.registry.workers.values where worker.builtinName == name { worker.connection?.close(.serviceRestart) }
        }
    }

    private func worker(_ name: String, headers: [(String, String)], reconnectDelay: TimeAmount) -> WorkerClient {
        var options = WorkerOptions(url: url, name: name)
        options.headers = headers
        options.reconnectDelay = reconnectDelay
        options.handlesSignals = false
        // A loaded machine is not what a test wants to hear about; its own limit ends one that hangs.
        options.callTimeout = .minutes(10)
        var logger = Logger(label: name)
        logger.logLevel = .critical
        return WorkerClient(options: options, logger: logger)
    }

    /// Closes every connection with 1012, as a restart of the engine does; its state stays.
    public func restartConnections() {
        engine.eventLoop.execute { [engine] in
            for worker in engine.registry.workers.values { worker.connection?.close(.serviceRestart) }
        }
    }

    private struct NoSocket: Error {}

    private static func listeningSocket() throws -> (descriptor: CInt, port: Int) {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isBound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, size) == 0 && getsockname(descriptor, $0, &size) == 0
            }
        }
        guard isBound, listen(descriptor, 128) == 0 else { throw NoSocket() }
        return (descriptor, Int(UInt16(bigEndian: address.sin_port)))
    }
}
