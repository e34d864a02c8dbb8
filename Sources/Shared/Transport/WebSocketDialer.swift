import IIICrypto
import IIIProtocol
import NIOCore
import NIOHTTP1
import NIOPosix

/// Opens the client end of a WebSocket.
package enum WebSocketDialer {
    package struct Refused: Error, CustomStringConvertible {
        package let description: String
    }

    /// Dials `url`, does the handshake within `timeout`, and puts `connection` in charge of the channel.
    ///
    /// The future succeeds when the connection is open; `connection.connectionClosed` is then its owner's business.
    package static func connect(
        to url: WebSocketURL, headers: [(String, String)], timeout: TimeAmount, connection: WebSocketConnection, on eventLoop: any EventLoop
    ) -> EventLoopFuture<Void> {
        let opened = eventLoop.makePromise(of: Void.self)
        let bound = NIOLoopBound(connection, eventLoop: eventLoop)
        let bootstrap = ClientBootstrap(group: eventLoop)
            .connectTimeout(timeout)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let decoder = ByteToMessageHandler(HTTPResponseDecoder(leftOverBytesStrategy: .forwardBytes))
                    let encoder = HTTPRequestEncoder()
                    let handshake = ClientHandshakeHandler(
                        url: url, headers: headers, connection: bound.value, opened: opened, decoder: decoder, encoder: encoder)
                    try channel.pipeline.syncOperations.addHandlers([encoder, decoder, handshake])
                }
            }
        let deadline = eventLoop.scheduleTask(in: timeout) {
            opened.fail(Refused(description: "no handshake within \(timeout.nanoseconds / 1_000_000) ms"))
        }
        bootstrap.connect(host: url.host, port: url.port).whenComplete { result in
            switch result {
            case .failure(let error): opened.fail(error)
            case .success(let channel): opened.futureResult.whenFailure { _ in channel.close(promise: nil) }
            }
        }
        opened.futureResult.whenComplete { _ in deadline.cancel() }
        return opened.futureResult
    }
}

/// Sends the upgrade request, checks the answer, and swaps the HTTP handlers for the WebSocket connection.
private final class ClientHandshakeHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundOut = HTTPClientRequestPart

    private let url: WebSocketURL
    private let headers: [(String, String)]
    private let connection: WebSocketConnection
    private let opened: EventLoopPromise<Void>
    private let decoder: ByteToMessageHandler<HTTPResponseDecoder>
    private let encoder: HTTPRequestEncoder
    private let key: String
    private var isUpgraded = false

    init(
        url: WebSocketURL, headers: [(String, String)], connection: WebSocketConnection, opened: EventLoopPromise<Void>,
        decoder: ByteToMessageHandler<HTTPResponseDecoder>, encoder: HTTPRequestEncoder
    ) {
        self.url = url
        self.headers = headers
        self.connection = connection
        self.opened = opened
        self.decoder = decoder
        self.encoder = encoder
        var generator = SystemRandomNumberGenerator()
        key = base64((0..<16).map { _ in UInt8.random(in: .min ... .max, using: &generator) })
    }

    func channelActive(context: ChannelHandlerContext) {
        var fields = HTTPHeaders([
            ("Host", url.authority), ("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", key),
        ])
        for (name, value) in headers { fields.add(name: name, value: value) }
        let head = HTTPRequestHead(version: .http1_1, method: .GET, uri: url.target, headers: fields)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head): check(context, head)
        // The decoder can only leave the pipeline once it has reported the end.
        case .end where isUpgraded: upgrade(context)
        default: break
        }
    }

    private func check(_ context: ChannelHandlerContext, _ head: HTTPResponseHead) {
        guard head.status == .switchingProtocols, head.headers.first(name: "sec-websocket-accept") == webSocketAccept(forKey: key) else {
            opened.fail(WebSocketDialer.Refused(description: "the peer answered \(head.status.code) instead of upgrading"))
            context.close(promise: nil)
            return
        }
        isUpgraded = true
    }

    private func upgrade(_ context: ChannelHandlerContext) {
        do {
            try context.pipeline.syncOperations.addHandler(connection)
        } catch {
            opened.fail(error)
            return
        }
        // Bytes that came with the response are forwarded by the decoder when it leaves, so it leaves last.
        let pipeline = context.pipeline.syncOperations
        pipeline.removeHandler(encoder, promise: nil)
        pipeline.removeHandler(context: context, promise: nil)
        let left = context.eventLoop.makePromise(of: Void.self)
        pipeline.removeHandler(decoder, promise: left)
        let bound = NIOLoopBound(connection, eventLoop: context.eventLoop)
        left.futureResult.whenComplete { [opened] _ in
            bound.value.open()
            opened.succeed()
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        opened.fail(WebSocketDialer.Refused(description: "the peer closed the connection during the handshake"))
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        opened.fail(error)
        context.close(promise: nil)
    }
}
