import Glibc
import IIIEngine
import IIIProtocol
import Logging
import NIOCore
import NIOPosix
import Testing

@testable import IIIWorker

/// A real engine on a real socket in this process.
struct TestEngine: Sendable {
    let engine: Engine
    let url: WebSocketURL

    func worker(_ name: String) -> WorkerClient { testWorker(url, name) }
}

/// A worker that says little and reconnects at once.
func testWorker(_ url: WebSocketURL, _ name: String) -> WorkerClient {
    var options = WorkerOptions(url: url, name: name)
    options.reconnectDelay = .milliseconds(20)
    var logger = Logger(label: name)
    logger.logLevel = .critical
    return WorkerClient(options: options, logger: logger)
}

func withEngine(_ body: (TestEngine) async throws -> Void) async throws {
    let loop = MultiThreadedEventLoopGroup.singleton.next()
    var logger = Logger(label: "engine")
    logger.logLevel = .critical
    let engine = Engine(eventLoop: loop, options: EngineOptions(), version: "test", channelKey: "00", logger: logger)
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let bound = withUnsafeMutablePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            bind(descriptor, $0, size) == 0 && getsockname(descriptor, $0, &size) == 0
        }
    }
    try #require(bound && listen(descriptor, 128) == 0)
    _ = try await engine.serve(socket: descriptor, settings: ListenerSettings(EngineOptions())).get()
    try await body(TestEngine(engine: engine, url: WebSocketURL(host: "127.0.0.1", port: Int(UInt16(bigEndian: address.sin_port)))))
    try await loop.submit { engine.shutDown() }.get()
}
