import Glibc
import IIITransport
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix
import Testing

@testable import IIIServer

/// Real sockets: what a client on the other side sees.
@Suite struct WebSocketServerTests {
    private final class Echo: WebSocketConnection {
        override func messageReceived(_ bytes: UnsafeRawBufferPointer, isText: Bool) { send(bytes, isText: isText) }
    }

    private static let upgrade =
        "GET /streams HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    /// "hi", masked with zeros.
    private static let frame: [UInt8] = [0x81, 0x82, 0, 0, 0, 0, 0x68, 0x69]
    private static let echoed: [UInt8] = [0x81, 0x02, 0x68, 0x69]

    private static func serve(
        _ change: (inout WebSocketServer.Settings) -> Void = { _ in },
        decide: @escaping @Sendable (UpgradeRequest, UpgradeReply, @escaping () -> WebSocketConnection) -> Void
    ) async throws -> WebSocketServer {
        var settings = WebSocketServer.Settings()
        change(&settings)
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let fixed = settings
        return try await loop.flatSubmit {
            let coalescer = WriteCoalescer(eventLoop: loop)
            let routes = WebSocketServer.Routes(
                decide: { request, reply in
                    decide(request, reply) { Echo(role: .server, limits: WebSocketLimits(), coalescer: coalescer) }
                })
            return WebSocketServer.open(
                .address(host: "127.0.0.1", port: 0), on: loop, settings: fixed, options: ServerOptions(), tls: nil,
                logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }), routes: routes)
        }.get()
    }

    private static func client(_ server: WebSocketServer) throws -> Client { try Client(port: try #require(server.localAddress?.port)) }

    /// A blocking socket with a deadline of ten seconds per read.
    private struct Client: Sendable {
        let descriptor: CInt

        init(port: Int) throws {
            descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            var limit = timeval(tv_sec: 10, tv_usec: 0)
            setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_port = in_port_t(port).bigEndian
            address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
            let status = withUnsafePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
                }
            }
            try #require(status == 0)
        }

        func send(_ bytes: some Sequence<UInt8>) {
            let bytes = Array(bytes)
            _ = Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
        }

        /// What comes until `ending` or the end of the stream. Tasks share few threads: none of them is blocked for it.
        func receive(until ending: [UInt8]? = nil) async throws -> [UInt8] {
            try await NIOThreadPool.singleton.runIfActive { receiveNow(until: ending) }
        }

        /// The same, blocking.
        func receiveNow(until ending: [UInt8]? = nil) -> [UInt8] {
            var all: [UInt8] = []
            var chunk = [UInt8](repeating: 0, count: 4096)
            while ending.map({ !all.suffix($0.count).elementsEqual($0) }) ?? true {
                let count = recv(descriptor, &chunk, chunk.count, 0)
                guard count > 0 else { break }
                all += chunk[..<count]
            }
            return all
        }

        func text() async throws -> String { String(decoding: try await receive(), as: UTF8.self) }

        func close() { Glibc.close(descriptor) }
    }

    @Test func aDecisionMayTakeItsTimeAndEarlyFramesAreNotLost() async throws {
        let decision = Decision()
        let server = try await Self.serve { _, reply, connection in decision.asked(reply, connection) }
        let client = try Self.client(server)
        // The server's limit for decisions runs meanwhile: nothing here may wait for a thread that other tests block.
        let received = try await NIOThreadPool.singleton.runIfActive {
            client.send((Self.upgrade + "\r\n").utf8)
            // With the request, right behind it, and while the owner thinks.
            client.send(Self.frame)
            guard decision.waitUntilAsked() else { return [UInt8]() }
            client.send(Self.frame)
            decision.accept(on: server.eventLoop)
            return client.receiveNow(until: Self.echoed + Self.echoed)
        }
        #expect(received.suffix(8).elementsEqual(Self.echoed + Self.echoed))
        #expect(String(decoding: received, as: UTF8.self).hasPrefix("HTTP/1.1 101 "))
        client.close()
        try await server.close().get()
    }

    /// A decision that is taken later, by another thread.
    private final class Decision: Sendable {
        private typealias Pending = NIOLoopBound<(UpgradeReply, () -> WebSocketConnection)>
        private let isAsked = ConditionLock(value: false)
        private let pending = NIOLockedValueBox<Pending?>(nil)

        func asked(_ reply: UpgradeReply, _ connection: @escaping () -> WebSocketConnection) {
            guard let loop = MultiThreadedEventLoopGroup.currentEventLoop else { return }
            pending.withLockedValue { $0 = NIOLoopBound((reply, connection), eventLoop: loop) }
            isAsked.lock()
            isAsked.unlock(withValue: true)
        }

        func waitUntilAsked() -> Bool {
            guard isAsked.lock(whenValue: true, timeoutSeconds: 10) else { return false }
            isAsked.unlock()
            return true
        }

        func accept(on loop: any EventLoop) {
            loop.execute { [pending] in
                guard let (reply, connection) = pending.withLockedValue({ $0.take() })?.value else { return }
                reply.settle(.accept(connection()))
            }
        }
    }

    @Test func aDecisionThatNeverComesIs503() async throws {
        let server = try await Self.serve({ $0.decisionTimeout = .milliseconds(50) }) { _, _, _ in }
        let client = try Self.client(server)
        client.send((Self.upgrade + "\r\n").utf8)
        #expect(try await client.text().hasPrefix("HTTP/1.1 503 "))
        client.close()
        try await server.close().get()
    }

    @Test(arguments: ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"])
    func anUpgradeWithABodyIsRefusedAtOnce(_ header: String) async throws {
        let server = try await Self.serve { _, _, _ in Issue.record("nothing to decide") }
        let client = try Self.client(server)
        client.send((Self.upgrade + header + "\r\n").utf8)
        #expect(try await client.text().hasPrefix("HTTP/1.1 400 "))
        client.close()
        try await server.close().get()
    }

    @Test(arguments: ["", "GET / HTTP/1.1\r\n", "GET /streams HTTP/1.1\r\nHost: localhost\r\nUpgrade: web"])
    func anUnfinishedRequestIsDropped(_ text: String) async throws {
        let server = try await Self.serve({ $0.handshakeTimeout = .milliseconds(50) }) { _, _, _ in }
        let client = try Self.client(server)
        client.send(text.utf8)
        #expect(try await client.receive().isEmpty)
        client.close()
        try await server.close().get()
    }

    @Test func silentConnectionsGiveWayToOneThatSpeaks() async throws {
        let server = try await Self.serve({ $0.limits.maximumHandshakes = 4 }) { _, reply, connection in reply.settle(.accept(connection()))
        }
        let silent = try (0..<12).map { _ in try Self.client(server) }
        let client = try Self.client(server)
        client.send((Self.upgrade + "\r\n").utf8)
        client.send(Self.frame)
        #expect(try await client.receive(until: Self.echoed).suffix(4).elementsEqual(Self.echoed))
        for one in silent { one.close() }
        client.close()
        try await server.close().get()
    }

    @Test func plainRequestsAreAnsweredPlainly() async throws {
        let server = try await Self.serve { _, _, _ in }
        for (request, status) in [
            ("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "400"), ("POST / HTTP/1.1\r\nHost: localhost\r\n\r\n", "405"),
        ] {
            let client = try Self.client(server)
            client.send(request.utf8)
            let text = try await client.text()
            #expect(text.hasPrefix("HTTP/1.1 \(status) "))
            #expect(status != "405" || text.contains("allow: GET\r\n"))
            client.close()
        }
        try await server.close().get()
    }
}
