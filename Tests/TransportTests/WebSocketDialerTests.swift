import IIICrypto
import IIIProtocol
import NIOCore
import NIOPosix
import Testing

@testable import IIITransport

@Suite struct WebSocketDialerTests {
    /// Frames in the same packet as the upgrade response, answered by the client at once: the answer must not meet the HTTP
    /// decoder, which is still leaving the pipeline.
    @Test func framesThatComeWithTheUpgradeResponseMayBeAnsweredAtOnce() async throws {
        let group = MultiThreadedEventLoopGroup.singleton
        let loop = group.next()
        let received = loop.makePromise(of: [UInt8].self)
        let server = try await ServerBootstrap(group: group).childChannelInitializer { channel in
            channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(EagerServer(received)) }
        }.bind(host: "127.0.0.1", port: 0).get()
        let port = try #require(server.localAddress?.port)
        try await loop.flatSubmit {
            let connection = ImpatientClient(role: .client, limits: WebSocketLimits(), coalescer: WriteCoalescer(eventLoop: loop))
            return WebSocketDialer.connect(
                to: WebSocketURL(host: "127.0.0.1", port: port), headers: [], timeout: .seconds(10), connection: connection, on: loop)
        }.get()
        let answer = try await received.futureResult.get()
        #expect(answer.first == 0x88, "a close frame")
        try await server.close().get()
    }

    /// Takes its first message as a reason to go.
    private final class ImpatientClient: WebSocketConnection {
        override func messageReceived(_ bytes: UnsafeRawBufferPointer, isText: Bool) { drop(.internalError) }
    }

    /// Answers any request head with an upgrade and a text frame in one write; reports the first bytes that follow.
    private final class EagerServer: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer

        private let received: EventLoopPromise<[UInt8]>
        private var hasAnswered = false

        init(_ received: EventLoopPromise<[UInt8]>) { self.received = received }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let text = String(buffer: unwrapInboundIn(data))
            guard !hasAnswered else { return received.succeed(Array(unwrapInboundIn(data).readableBytesView)) }
            hasAnswered = true
            let name = "Sec-WebSocket-Key: "
            let key = text.split(separator: "\r\n").first { $0.hasPrefix(name) }.map { String($0.dropFirst(name.count)) } ?? ""
            var answer = ByteBuffer(
                string: "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
                    + "sec-websocket-accept: \(webSocketAccept(forKey: key))\r\n\r\n")
            answer.writeBytes([0x81, 0x02, 0x68, 0x69])
            context.writeAndFlush(wrapOutboundOut(answer), promise: nil)
        }
    }
}
