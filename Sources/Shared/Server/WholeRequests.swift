import NIOCore
import NIOHTTP1

/// A request that has come in whole.
package struct WholeRequest: Sendable {
    package var head: HTTPRequestHead
    package var body: ByteBuffer

    /// Without the query.
    package var path: String { String(head.uri.prefix { $0 != "?" }) }
}

/// An answer that is there whole. Several may share one body: it is written without a copy.
package struct WholeAnswer: Sendable {
    package var status: HTTPResponseStatus
    package var headers: HTTPHeaders
    package var body: ByteBuffer
    /// Whether the connection ends with it.
    package var closes: Bool

    package init(_ status: HTTPResponseStatus, headers: HTTPHeaders = [:], body: ByteBuffer = ByteBuffer(), closes: Bool = false) {
        self.status = status
        self.headers = headers
        self.body = body
        self.closes = closes
    }

    /// A sentence for people.
    package init(_ status: HTTPResponseStatus, _ text: String, headers: HTTPHeaders = [:]) {
        self.init(status, headers: headers, body: ByteBuffer(string: text + "\n"))
        self.headers.add(name: "content-type", value: "text/plain; charset=utf-8")
    }
}

/// Serves requests that fit into memory, one after the other: for endpoints of operations, not for the gateway.
///
/// A request is read up to `maximumBodyBytes`, and has to be there, and its answer taken, within `patience` each; then the connection is
/// closed. Confined to the connection's loop.
package final class WholeRequests: ChannelInboundHandler, RemovableChannelHandler {
    package typealias InboundIn = HTTPServerRequestPart
    package typealias OutboundOut = HTTPServerResponsePart

    package struct Limits: Sendable {
        /// Longest body as it comes over the wire. Default 20 MiB.
        package var maximumBodyBytes = 20 << 20
        /// For a request to come, and for an answer to be taken. Default 30 s.
        package var patience = TimeAmount.seconds(30)
        /// Between two requests. Default 75 s.
        package var idle = TimeAmount.seconds(75)

        package init() {}
    }

    /// What the endpoint decides.
    package struct Endpoint {
        /// From the head alone: an answer refuses the request before its body is read.
        package var refuse: (HTTPRequestHead) -> WholeAnswer?
        /// The body is larger than `Limits.maximumBodyBytes`.
        package var tooLarge: (HTTPRequestHead) -> WholeAnswer
        /// The reply may be given later, once, on the loop.
        package var serve: (WholeRequest, @escaping (WholeAnswer) -> Void) -> Void

        package init(
            refuse: @escaping (HTTPRequestHead) -> WholeAnswer? = { _ in nil },
            tooLarge: @escaping (HTTPRequestHead) -> WholeAnswer = { _ in WholeAnswer(.payloadTooLarge, "the request is too large") },
            serve: @escaping (WholeRequest, @escaping (WholeAnswer) -> Void) -> Void
        ) {
            self.refuse = refuse
            self.tooLarge = tooLarge
            self.serve = serve
        }
    }

    private enum State {
        case idle
        case receiving(WholeRequest)
        /// Answered before it was read; what comes of it is passed over until the connection ends.
        case refused
        case serving
        case answering
        case closed
    }

    private let limits: Limits
    private let endpoint: Endpoint
    private var state = State.idle
    private var timer: Scheduled<Void>?
    private var context: ChannelHandlerContext?

    package init(limits: Limits = Limits(), endpoint: Endpoint) {
        self.limits = limits
        self.endpoint = endpoint
    }

    /// Fills the pipeline of an accepted connection.
    package static func configure(
        _ channel: any Channel, _ connection: AcceptedConnection, limits: Limits = Limits(), endpoint: Endpoint
    ) throws {
        let pipeline = channel.pipeline.syncOperations
        try pipeline.configureHTTPServerPipeline(withPipeliningAssistance: true, withErrorHandling: true)
        try pipeline.addHandler(FirstRequestWatch(connection))
        try pipeline.addHandler(WholeRequests(limits: limits, endpoint: endpoint))
    }

    package func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        wait(limits.patience)
    }

    package func handlerRemoved(context: ChannelHandlerContext) { end() }
    package func channelInactive(context: ChannelHandlerContext) {
        end()
        context.fireChannelInactive()
    }

    private func end() {
        state = .closed
        timer?.cancel()
        timer = nil
        context = nil
    }

    /// From now on something has to happen within `time`.
    private func wait(_ time: TimeAmount?) {
        timer?.cancel()
        timer = nil
        guard let context, let time else { return }
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        timer = context.eventLoop.scheduleTask(in: time) { bound.value.context?.close(promise: nil) }
    }

    package func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch (Self.unwrapInboundIn(data), state) {
        case (.head(let head), .idle):
            wait(limits.patience)
            if let refusal = endpoint.refuse(head) { return refuse(refusal, head) }
            if let length = head.headers.first(name: "content-length").flatMap({ Int($0) }), length > limits.maximumBodyBytes {
                return refuse(endpoint.tooLarge(head), head)
            }
            if head.headers[canonicalForm: "expect"].contains("100-continue") {
                context.writeAndFlush(Self.wrapOutboundOut(.head(HTTPResponseHead(version: head.version, status: .continue))), promise: nil)
            }
            state = .receiving(WholeRequest(head: head, body: ByteBuffer()))
        case (.body(var bytes), .receiving(var request)):
            guard request.body.readableBytes + bytes.readableBytes <= limits.maximumBodyBytes else {
                return refuse(endpoint.tooLarge(request.head), request.head)
            }
            // Not held twice while it grows.
            state = .idle
            request.body.writeBuffer(&bytes)
            state = .receiving(request)
        case (.end, .receiving(let request)):
            wait(nil)
            state = .serving
            let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
            let keepsAlive = request.head.isKeepAlive
            endpoint.serve(request) { answer in
                guard case .serving = bound.value.state else { return }
                bound.value.answer(answer, request.head, keepsAlive: keepsAlive && !answer.closes)
            }
        default: break
        }
    }

    private func refuse(_ answer: WholeAnswer, _ head: HTTPRequestHead) {
        self.answer(answer, head, keepsAlive: false)
        if case .answering = state { state = .refused }
    }

    private func answer(_ answer: WholeAnswer, _ head: HTTPRequestHead, keepsAlive: Bool) {
        guard let context else { return }
        state = .answering
        wait(limits.patience)
        var headers = answer.headers
        headers.replaceOrAdd(name: "content-length", value: "\(answer.body.readableBytes)")
        if !keepsAlive { headers.replaceOrAdd(name: "connection", value: "close") }
        context.write(
            Self.wrapOutboundOut(.head(HTTPResponseHead(version: head.version, status: answer.status, headers: headers))), promise: nil)
        if head.method != .HEAD, answer.body.readableBytes > 0 {
            context.write(Self.wrapOutboundOut(.body(.byteBuffer(answer.body))), promise: nil)
        }
        let written = context.eventLoop.makePromise(of: Void.self)
        context.writeAndFlush(Self.wrapOutboundOut(.end(nil)), promise: written)
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        written.futureResult.whenComplete { _ in bound.value.answered(keepsAlive: keepsAlive) }
    }

    private func answered(keepsAlive: Bool) {
        switch state {
        case .answering where keepsAlive:
            state = .idle
            wait(limits.idle)
        case .refused:
            // The rest of the request is read and passed over for a while: a reset would take the answer away from its reader.
            wait(.seconds(1))
            context?.close(mode: .output, promise: nil)
        case .answering: context?.close(promise: nil)
        default: break
        }
    }
}
