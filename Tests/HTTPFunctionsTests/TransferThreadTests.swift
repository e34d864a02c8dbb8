import Glibc
import IIIHTTPClient
import NIOCore
import NIOPosix
import Testing

@testable import IIIHTTPFunctions

/// What only libcurl can show: where a connection really goes.
@Suite struct TransferThreadTests {
    private static func request(_ url: String, pinned: [IPAddress] = [], blocks: Bool) throws -> TransferRequest {
        TransferRequest(
            url: try HTTPURL(url), method: "POST", headers: [("Content-Type", "application/json")], body: Array("{}".utf8), pinned: pinned,
            blocksPrivateAddresses: blocks, timeoutMilliseconds: 20_000, maximumResponseBytes: 1 << 20)
    }

    private static func outcome(_ request: TransferRequest) async -> TransferOutcome {
        let thread = TransferThread(maximumConnections: 4, certificateFile: nil, usesProxies: false)
        defer { thread.stop() }
        return await withCheckedContinuation { continuation in
            thread.submit(make: { request }, finish: { continuation.resume(returning: $0) })
        }
    }

    /// Answers every connection with `response`; returns the port and how many came.
    private static func serve(_ response: String) async throws -> any Channel {
        try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(Answer(response)) }
            }.bind(host: "127.0.0.1", port: 0).get()
    }

    private final class Answer: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer
        private let response: String

        init(_ response: String) { self.response = response }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let channel = context.channel
            context.writeAndFlush(Self.wrapOutboundOut(ByteBuffer(string: response))).whenComplete { _ in channel.close(promise: nil) }
        }
    }

    private static let ok = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n7"

    /// DNS rebinding: the name has no address any more, or another one, and the checked address is used all the same.
    @Test(.timeLimit(.minutes(1)), arguments: ["checked.invalid", "localhost"])
    func connectsToTheCheckedAddress(_ host: String) async throws {
        let server = try await Self.serve(Self.ok)
        let port = try #require(server.localAddress?.port)
        let address = try #require(IPAddress("127.0.0.1"))
        let outcome = await Self.outcome(try Self.request("http://\(host):\(port)/", pinned: [address], blocks: false))
        #expect(outcome == .response(status: 200, reason: "OK", body: Array("7".utf8)))
        try await server.close()
    }

    /// Even if a private address got past every check before, no socket is opened for it.
    @Test(.timeLimit(.minutes(1)), arguments: ["127.0.0.1", "localhost", "pinned.invalid"])
    func noSocketForABlockedAddress(_ host: String) async throws {
        let server = try await Self.serve(Self.ok)
        let port = try #require(server.localAddress?.port)
        let pinned = host == "pinned.invalid" ? [try #require(IPAddress("127.0.0.1"))] : []
        let outcome = await Self.outcome(try Self.request("http://\(host):\(port)/", pinned: pinned, blocks: true))
        #expect(outcome == .failed(TransferFailure(.address, "")))
        try await server.close()
    }

    @Test(.timeLimit(.minutes(1)))
    func aRedirectIsAnAnswer() async throws {
        let server = try await Self.serve("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")
        let port = try #require(server.localAddress?.port)
        let outcome = await Self.outcome(try Self.request("http://127.0.0.1:\(port)/", blocks: false))
        #expect(outcome == .response(status: 302, reason: "Found", body: []))
        try await server.close()
    }
}
