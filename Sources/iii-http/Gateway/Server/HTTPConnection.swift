import IIIProtocol
import IIITLS
import NIOCore
import NIOHTTP1

/// One client connection: turns decoded request parts into invocations and writes the responses in order.
///
/// One request is in work at a time; parts of pipelined successors wait in `parts` and reading stops meanwhile, so at most
/// one burst of reads is held. Responses are appended to one outgoing buffer that is flushed once per turn of the loop.
/// A completion that comes after its exchange has ended (deadline, client gone) is recognised by the exchange number and
/// dropped. Confined to the gateway's event loop. The spec: http.md §6, §12, §14 and §20.1–§20.5.
final class HTTPConnection<Link: FunctionLink>: ChannelDuplexHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundIn = Never
    typealias OutboundOut = ByteBuffer

    enum Phase {
        /// Between requests. Next: any but `grace`.
        case idle
        /// A JSON body is being collected. Next: `queued`, `calling`, `answered`.
        case collecting
        /// Waits for a place of the concurrency limit. Next: `calling`, `answered`.
        case queued
        /// Condition or handler is being called. Next: `grace`, `waiting`, `streaming`, `answered`.
        case calling
        /// The handler returned nothing and may still open the response channel. Next: `waiting`, `answered`.
        case grace
        /// The handler returned nothing and has opened the response channel, which decides. Next: `streaming`, `answered`.
        case waiting
        /// The head of a streamed response is out and its body follows. Next: `answered`, `closing`.
        case streaming
        /// The response is written; what is left of the request is discarded. Next: `idle`, `closing`.
        case answered
        /// The last response is on its way out; input is discarded. Final.
        case closing
    }

    let gateway: GatewayCore<Link>
    /// Of the current request, or the last one.
    var settings: GatewaySettings<Link>
    var context: ChannelHandlerContext?
    let timer = DeadlineEntry<HTTPConnection<Link>>()
    /// Progress of the request body and of the output; made when first needed.
    var bodyTimer: DeadlineEntry<HTTPConnection<Link>>?
    var stallTimer: DeadlineEntry<HTTPConnection<Link>>?
    var stalledBytes = 0

    var phase = Phase.idle
    /// Changes whenever an exchange begins or is answered; completions carry the number they belong to.
    var exchange: UInt64 = 0
    /// The call the current exchange waits for.
    var call: UUIDBits?
    var form = ResponseWriter.Form()
    var facts: RequestFacts?
    var request: RoutedRequest?
    var hasRequestEnded = true
    var holdsPlace = false
    var hasSentContinue = false
    var receivedBytes = 0

    /// This connection's place among the gateway's; nil when there was none left.
    var slot: Int?
    /// The request body on its way to the function.
    var upload: RequestBodyPump?
    var isUploadOpen = false
    /// The response channel, once the handler has opened it.
    var download: ResponseStream?
    /// It broke before a byte of it was sent on.
    var isDownloadLost = false
    /// Body bytes of a streamed response so far.
    var streamedBytes = 0

    /// Global middleware is still to be called or being called: the body is not touched before it has passed.
    var isGuarded = false
    var requestCount = 0
    /// Exists while the access log has chosen the current request.
    var accessRecord: AccessRecord?
    /// Where in `output` the current response starts.
    var responseStart = 0

    /// Parts that arrived while the request before them was still in work.
    private var parts = CircularBuffer<HTTPServerRequestPart>()
    private var isProcessing = false
    private var isReadWanted = false
    private(set) var isWritable = true
    private var sawPart = false
    var hasPartialHead = false
    /// The decoder failed behind requests that are still to be answered.
    private var deferredError: GatewayError?

    var output = ByteBuffer()
    var isFlushScheduled = false
    var closesAfterFlush = false
    var bufferedBytesBefore = 0

    /// An outgoing buffer that has grown beyond this is not kept for the next response.
    private static var keptOutputCapacity: Int { 64 * 1024 }

    init(gateway: GatewayCore<Link>) {
        self.gateway = gateway
        settings = gateway.settings
        timer.bind(to: self)
    }

    // MARK: Lifecycle

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if context.channel.isActive { opened() }
    }

    func channelActive(context: ChannelHandlerContext) {
        opened()
        context.fireChannelActive()
    }

    private func opened() {
        settings.headTimers.start(timer)
        if !gateway.isDraining { slot = gateway.opened(self) }
        if slot == nil { failOutsideRequest(.overloaded) }
    }

    func channelInactive(context: ChannelHandlerContext) {
        ended()
        context.fireChannelInactive()
    }

    func handlerRemoved(context: ChannelHandlerContext) { ended() }

    private func ended() {
        guard context != nil else { return }
        self.context = nil
        exchange &+= 1
        abandonCall()
        // The client left before its answer: the code that proxies use for that.
        if accessRecord != nil { logAccess(499, byteCount: 0) }
        if phase == .queued { gateway.withdraw(self) } else { givePlaceBack() }
        phase = .closing
        isGuarded = false
        timer.cancel()
        bodyTimer?.cancel()
        stallTimer?.cancel()
        releaseChannels()
        // A call that is never answered keeps this object: it must not keep buffers with it.
        parts = CircularBuffer()
        output = ByteBuffer()
        request = nil
        facts = nil
        if let slot { gateway.closed(slot) }
    }

    /// The gateway drains: an idle connection is closed now, a busy one after its response.
    func drain() {
        if phase == .idle, parts.isEmpty { beginClosing() }
    }

    func abort() {
        closesUncleanly()
        context?.close(promise: nil)
    }

    /// The close that follows is no end of a complete response; over TLS the client can tell.
    func closesUncleanly() { context?.triggerUserOutboundEvent(TLSUncleanClose(), promise: nil) }

    // MARK: Reading

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        sawPart = true
        guard phase != .closing else { return }
        let part = Self.unwrapInboundIn(data)
        if isBlocked || !parts.isEmpty {
            parts.append(part)
        } else {
            process(part)
        }
    }

    /// Whether the request before the next part is still in work.
    private var isBlocked: Bool { (hasRequestEnded && phase != .idle) || isGuarded }

    private func process(_ part: HTTPServerRequestPart) {
        isProcessing = true
        defer { isProcessing = false }
        switch part {
        case .head(let head): begin(head)
        case .body(let bytes): bodyReceived(bytes)
        case .end: endReceived()
        }
    }

    /// Goes on with what waited behind an exchange that has just ended.
    func processWaitingParts() {
        guard !isProcessing else { return }
        while !isBlocked, isWritable, phase != .closing, let part = parts.popFirst() { process(part) }
        guard phase != .closing, parts.isEmpty else { return }
        if !isBlocked, let error = deferredError {
            deferredError = nil
            // A guard may have answered the broken request already.
            if phase == .answered { beginClosing() } else { failOutsideRequest(error) }
        }
        resumeReading()
    }

    /// Reads on if that was asked for and nothing stands against it any more.
    func resumeReading() {
        guard isReadWanted, mayRead else { return }
        isReadWanted = false
        context?.read()
    }

    /// While a body is on its way its pump decides, afterwards whether the client takes its responses.
    private var mayRead: Bool {
        if phase == .closing { return true }
        guard parts.isEmpty else { return false }
        if !hasRequestEnded, let upload, phase != .collecting { return !upload.isFull }
        return isWritable
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        if !sawPart, phase == .idle, !hasPartialHead {
            // Bytes without a complete head: the sender has the header time from here, not the idle time.
            hasPartialHead = true
            if !timer.isRunning(in: settings.headTimers) { settings.headTimers.start(timer) }
        }
        sawPart = false
        if phase == .collecting { startBodyTimer() }
        processWaitingParts()
        context.fireChannelReadComplete()
    }

    func read(context: ChannelHandlerContext) {
        if mayRead { context.read() } else { isReadWanted = true }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        isWritable = context.channel.isWritable
        streamWritabilityChanged(isWritable)
        if isWritable {
            stallTimer?.cancel()
            processWaitingParts()
        } else {
            startStallTimer()
        }
        context.fireChannelWritabilityChanged()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        guard let parserError = error as? HTTPParserError else {
            context.close(promise: nil)
            return
        }
        guard phase != .closing else { return }
        if parserError == .closedConnection || parserError == .invalidEOFState {
            context.close(promise: nil)
            return
        }
        let answer: GatewayError =
            switch parserError {
            case .headerOverflow: .headersTooLarge
            case .invalidVersion: .badRequest("malformed or unsupported HTTP version")
            default: .badRequest("malformed request")
            }
        if phase == .answered, !hasRequestEnded {
            beginClosing()
        } else if isBlocked || !parts.isEmpty {
            deferredError = answer
        } else {
            failOutsideRequest(answer)
        }
    }

    /// Answers although there is no complete request, and closes. More input may be on its way: it is waited out.
    func failOutsideRequest(_ error: GatewayError) {
        hasRequestEnded = false
        fail(error, closes: true)
    }

    // MARK: Writing

    /// Has `output` flushed at the end of this turn of the loop.
    func scheduleFlush() {
        guard !isFlushScheduled else { return }
        isFlushScheduled = true
        gateway.scheduleFlush(self)
    }

    func flush() {
        isFlushScheduled = false
        guard let context else { return }
        if closesAfterFlush {
            closesAfterFlush = false
            let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
            let written = context.eventLoop.makePromise(of: Void.self)
            written.futureResult.whenComplete { _ in bound.value.lastResponseWritten() }
            context.writeAndFlush(Self.wrapOutboundOut(output), promise: written)
        } else {
            context.writeAndFlush(Self.wrapOutboundOut(output), promise: nil)
        }
        // Mostly the write is done by now and the storage is reused; otherwise `clear` takes fresh storage.
        if output.capacity > Self.keptOutputCapacity { output = ByteBuffer() } else { output.clear() }
    }

    /// No request is read any more; the connection ends when its output is out.
    func beginClosing() {
        phase = .closing
        parts.removeAll()
        closesAfterFlush = true
        timer.cancel()
        // A peer that never reads must not keep the connection for ever.
        settings.idleTimers.start(timer)
        scheduleFlush()
    }

    private func lastResponseWritten() {
        guard let context else { return }
        if hasRequestEnded {
            context.close(promise: nil)
            return
        }
        // Closing with unread input would reset the connection and could cost the client its response.
        settings.lingerTimers.start(timer)
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        context.close(mode: .output).whenFailure { _ in bound.value.close(promise: nil) }
        if isReadWanted {
            isReadWanted = false
            context.read()
        }
    }

    /// Between requests again.
    func becomeIdle() {
        phase = .idle
        form = ResponseWriter.Form()
        facts = nil
        hasPartialHead = false
        bufferedBytesBefore = 0
        settings.idleTimers.start(timer)
    }
}
