import Glibc
import IIICrypto
import IIIProtocol
import NIOCore
import NIOHTTP1
import NIOPosix

/// An upgrade request that passed the RFC's checks, for the owner of the routes to decide on.
package struct UpgradeRequest {
    package let path: String
    package let query: String
    package let headers: HTTPHeaders
    package let remoteAddress: SocketAddress?
}

/// What becomes of an upgrade request.
package enum UpgradeDecision {
    case accept(WebSocketConnection)
    case refuse(HTTPResponseStatus, body: String)
}

/// Serves WebSocket upgrades on a listening socket and refuses everything else over HTTP (protocol.md §1.1, §1.2).
package enum WebSocketListener {
    /// Starts accepting on `socket`, an already bound and listening descriptor, which the returned channel then owns.
    ///
    /// Both closures run on the loop: `decide` for each upgrade, `handshakeTimeout` for each connection; a client that has not
    /// sent its complete request head by then is dropped.
    package static func serve(
        socket: CInt, on eventLoop: any EventLoop, handshakeTimeout: @escaping @Sendable () -> TimeAmount,
        decide: @escaping @Sendable (UpgradeRequest) -> UpgradeDecision
    ) -> EventLoopFuture<any Channel> {
        ServerBootstrap(group: eventLoop)
            .serverChannelOption(.maxMessagesPerRead, value: 256)
            .childChannelOption(.maxMessagesPerRead, value: 8)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            // Finds half-open peers also where nothing is said for long, on channels: after 60 s, 4 probes 15 s apart.
            .childChannelOption(.socketOption(.so_keepalive), value: 1)
            .childChannelOption(.tcpOption(.init(rawValue: TCP_KEEPIDLE)), value: 60)
            .childChannelOption(.tcpOption(.init(rawValue: TCP_KEEPINTVL)), value: 15)
            .childChannelOption(.tcpOption(.init(rawValue: TCP_KEEPCNT)), value: 4)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let decoder = ByteToMessageHandler(HTTPRequestDecoder(leftOverBytesStrategy: .forwardBytes))
                    let encoder = HTTPResponseEncoder()
                    let handshake = ServerHandshakeHandler(
                        timeout: handshakeTimeout(), decide: decide, decoder: decoder, encoder: encoder)
                    try channel.pipeline.syncOperations.addHandlers([encoder, decoder, handshake])
                }
            }
            .withBoundSocket(socket)
    }
}

/// Checks one request head, answers it, and hands the channel to the accepted connection.
private final class ServerHandshakeHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let timeout: TimeAmount
    private let decide: @Sendable (UpgradeRequest) -> UpgradeDecision
    private let decoder: ByteToMessageHandler<HTTPRequestDecoder>
    private let encoder: HTTPResponseEncoder
    private var deadline: Scheduled<Void>?
    private var isAnswered = false
    /// An upgrade that may go ahead once the decoder has reported the request's end: only then can it leave the pipeline.
    private var accepted: (connection: WebSocketConnection, key: String)?

    init(
        timeout: TimeAmount, decide: @escaping @Sendable (UpgradeRequest) -> UpgradeDecision,
        decoder: ByteToMessageHandler<HTTPRequestDecoder>, encoder: HTTPResponseEncoder
    ) {
        self.timeout = timeout
        self.decide = decide
        self.decoder = decoder
        self.encoder = encoder
    }

    func channelActive(context: ChannelHandlerContext) {
        let channel = context.channel
        deadline = context.eventLoop.scheduleTask(in: timeout) { channel.close(promise: nil) }
    }

    func channelInactive(context: ChannelHandlerContext) {
        deadline?.cancel()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head) where !isAnswered: requestReceived(context, head)
        case .end:
            guard let (connection, key) = accepted else { return }
            accepted = nil
            accept(context, connection, key: key)
        default: break
        }
    }

    private func requestReceived(_ context: ChannelHandlerContext, _ head: HTTPRequestHead) {
        isAnswered = true
        deadline?.cancel()
        let parts = head.uri.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        let request = UpgradeRequest(
            path: String(parts.first ?? ""), query: parts.count > 1 ? String(parts[1]) : "", headers: head.headers,
            remoteAddress: context.remoteAddress)
        guard let key = Self.key(of: head) else {
            // Nothing is served here but upgrades; an unknown path is 404 however it is asked for.
            let known = request.path == "/" || request.path == "/otel" || request.path.hasPrefix("/ws/channels/")
            if !known { return refuse(context, .notFound, "") }
            if head.method != .GET { return refuse(context, .methodNotAllowed, "") }
            return refuse(context, .badRequest, "this port speaks WebSocket (RFC 6455, version 13)\n")
        }
        switch decide(request) {
        case .refuse(let status, let body): refuse(context, status, body)
        case .accept(let connection): accepted = (connection, key)
        }
    }

    /// The client's key if the request is a complete version 13 upgrade.
    private static func key(of head: HTTPRequestHead) -> String? {
        let headers = head.headers
        guard head.method == .GET,
            headers[canonicalForm: "connection"].contains(where: { $0.lowercased() == "upgrade" }),
            headers[canonicalForm: "upgrade"].contains(where: { $0.lowercased() == "websocket" }),
            headers.first(name: "sec-websocket-version") == "13",
            let key = headers.first(name: "sec-websocket-key"), key.utf8.count == 24
        else { return nil }
        return key
    }

    private func refuse(_ context: ChannelHandlerContext, _ status: HTTPResponseStatus, _ body: String) {
        var head = HTTPResponseHead(version: .http1_1, status: status)
        head.headers.add(name: "content-length", value: String(body.utf8.count))
        head.headers.add(name: "connection", value: "close")
        if !body.isEmpty { head.headers.add(name: "content-type", value: "text/plain; charset=utf-8") }
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        if !body.isEmpty {
            context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: body)))), promise: nil)
        }
        let channel = context.channel
        context.writeAndFlush(wrapOutboundOut(.end(nil))).whenComplete { _ in channel.close(promise: nil) }
    }

    private func accept(_ context: ChannelHandlerContext, _ connection: WebSocketConnection, key: String) {
        var head = HTTPResponseHead(version: .http1_1, status: .switchingProtocols)
        head.headers.add(name: "upgrade", value: "websocket")
        head.headers.add(name: "connection", value: "Upgrade")
        head.headers.add(name: "sec-websocket-accept", value: webSocketAccept(forKey: key))
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        let pipeline = context.pipeline.syncOperations
        // The encoder goes first so that the connection's first frame is not taken for HTTP; the decoder goes last
        // because it forwards the bytes that followed the request when it leaves.
        pipeline.removeHandler(encoder, promise: nil)
        do {
            try pipeline.addHandler(connection)
        } catch {
            context.close(promise: nil)
            return
        }
        pipeline.removeHandler(context: context, promise: nil)
        pipeline.removeHandler(decoder, promise: nil)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard !isAnswered else { return context.close(promise: nil) }
        isAnswered = true
        refuse(context, .badRequest, "")
    }
}
