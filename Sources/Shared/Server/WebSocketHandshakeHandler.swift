import IIITransport
import NIOCore
import NIOHTTP1

/// Carries out what `WebSocketHandshake` decides on one channel; leaves the pipeline with the upgrade.
final class WebSocketHandshakeHandler: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    /// How long a client may take to read its refusal and leave.
    private static let lingerTime = TimeAmount.seconds(1)

    private let server: WebSocketServer.Shared
    private let connection: AcceptedConnection
    private let decoder: ByteToMessageHandler<HTTPRequestDecoder>
    private let encoder: HTTPResponseEncoder
    private var machine = WebSocketHandshake()
    private var deadline: Scheduled<Void>?
    private var context: ChannelHandlerContext?
    private var isPaused = false
    private var isHead = false

    init(
        server: WebSocketServer.Shared, connection: AcceptedConnection, decoder: ByteToMessageHandler<HTTPRequestDecoder>,
        encoder: HTTPResponseEncoder
    ) {
        self.server = server
        self.connection = connection
        self.decoder = decoder
        self.encoder = encoder
    }

    // MARK: Events

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        // From the acceptance on: TLS, head and body together have this one deadline.
        setDeadline(server.settings.handshakeTimeout)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        deadline?.cancel()
        deadline = nil
        self.context = nil
    }

    func channelInactive(context: ChannelHandlerContext) {
        deadline?.cancel()
        deadline = nil
        self.context = nil
        context.fireChannelInactive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            isHead = head.method == .HEAD
            let action = machine.headReceived(head, remoteAddress: context.remoteAddress) { [server] host, origin in
                server.objection(host: host, origin: origin, localAddress: context.localAddress)
            }
            perform(action)
        case .body: break
        case .end: perform(machine.endReceived())
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // Before anything can be parsed the request may be answered; a broken socket or TLS cannot.
        if error is HTTPParserError { perform(machine.failed()) } else { context.close(promise: nil) }
    }

    private func timeExpired() {
        if machine.isDeciding { server.counters.decisionsTimedOut += 1 } else { server.counters.handshakesTimedOut += 1 }
        perform(machine.timeExpired())
    }

    private func decided(_ decision: UpgradeDecision) {
        switch decision {
        case .refuse(let answer): perform(machine.refused(answer))
        case .accept(let webSocket, let subprotocol):
            guard context != nil else { return }
            let action = machine.accepted(subprotocol: subprotocol)
            if case .upgrade(let headers) = action { upgrade(webSocket, headers) } else { perform(action) }
        }
    }

    // MARK: Actions

    private func perform(_ action: WebSocketHandshake.Action) {
        switch action {
        case .none, .upgrade: break
        case .answer(let head): respond(server.answer(head))
        case .decide(let request): decide(request)
        case .respond(let answer): respond(answer)
        case .drop: context?.close(promise: nil)
        }
    }

    private func setDeadline(_ time: TimeAmount) {
        guard let context else { return }
        deadline?.cancel()
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        deadline = context.eventLoop.scheduleTask(in: time) { bound.value.timeExpired() }
    }

    private func decide(_ request: UpgradeRequest) {
        setDeadline(server.settings.decisionTimeout)
        server.decide(request, UpgradeReply { [self] in decided($0) })
        // Early frames wait in the kernel, but for what has been read with the request.
        guard machine.isDeciding, let context else { return }
        isPaused = true
        try? context.channel.syncOptions?.setOption(.autoRead, value: false)
    }

    private func resume(_ context: ChannelHandlerContext) {
        guard isPaused else { return }
        isPaused = false
        try? context.channel.syncOptions?.setOption(.autoRead, value: true)
    }

    private func respond(_ answer: HTTPAnswer) {
        guard let context else { return }
        resume(context)
        var head = HTTPResponseHead(version: .http1_1, status: answer.status)
        for (name, value) in answer.headers { head.headers.add(name: name, value: value) }
        head.headers.add(name: "content-length", value: String(answer.body.utf8.count))
        head.headers.add(name: "connection", value: "close")
        if !answer.body.isEmpty { head.headers.add(name: "content-type", value: answer.contentType) }
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        if !answer.body.isEmpty, !isHead {
            context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: answer.body)))), promise: nil)
        }
        // Closing with unread input would reset the connection and could cost the client its answer.
        setDeadline(Self.lingerTime)
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        context.writeAndFlush(wrapOutboundOut(.end(nil))).whenComplete { _ in
            bound.value.close(mode: .output).whenFailure { _ in bound.value.close(promise: nil) }
        }
    }

    private func upgrade(_ webSocket: WebSocketConnection, _ headers: HTTPHeaders) {
        guard let context else { return }
        deadline?.cancel()
        connection.established()
        context.write(
            wrapOutboundOut(.head(HTTPResponseHead(version: .http1_1, status: .switchingProtocols, headers: headers))), promise: nil)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        resume(context)
        let pipeline = context.pipeline.syncOperations
        // The encoder goes first so that the connection's first frame is not taken for HTTP; the decoder goes last
        // because it forwards the bytes that followed the request when it leaves.
        pipeline.removeHandler(encoder, promise: nil)
        do {
            try pipeline.addHandler(webSocket)
        } catch {
            return context.close(promise: nil)
        }
        pipeline.removeHandler(context: context, promise: nil)
        pipeline.removeHandler(decoder, promise: nil)
    }
}
