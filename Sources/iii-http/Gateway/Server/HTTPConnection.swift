import IIICrypto
import IIIProtocol
import IIITLS
import IIITelemetry
import IIIWorker
import NIOCore
import NIOHTTP1

/// One client connection: the shell around its `HTTPConnectionMachine`, which decides everything.
///
/// It turns what the channel, the link, sockets and timers say into events of the machine, and does what it wants:
/// `perform` takes its actions one after the other, so an action that brings the next event at once needs no stack. Responses
/// are appended to one outgoing buffer that is flushed once per turn of the loop. Confined to the gateway's event loop.
final class HTTPConnection: ChannelDuplexHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundIn = Never
    typealias OutboundOut = ByteBuffer

    let gateway: GatewayCore
    /// Of the current request, or the last one.
    var settings: GatewaySettings
    private(set) var context: ChannelHandlerContext?
    var machine = HTTPConnectionMachine()
    private var isPerforming = false
    private var timers: [DeadlineEntry<HTTPConnection>?] = ExchangeTimer.Slot.allCases.map { _ in nil }

    // What the actions of the current exchange are about.
    var form = ResponseWriter.Form()
    var facts: RequestFacts?
    var request: RoutedRequest?
    /// The answer of a plan that needs no function.
    var plannedAnswer: PlannedAnswer?
    /// Of the current request: when its head came, and by which method; nil between requests.
    var began: (at: NIODeadline, method: String)?
    /// What the current request's calls belong to; nil without a route.
    var span: TraceSpan?
    /// Exists while the access log has chosen the current request.
    var accessRecord: AccessRecord?
    var call: UUIDBits?
    /// A return value that waits for what may still come through the response channel.
    var heldResult: [UInt8]?
    var upload: ChannelSocket?
    var download: ChannelSocket?
    var requestCount = 0

    /// This connection's place among the gateway's; nil when there was none left.
    private(set) var slot: Int?

    var output = ByteBuffer()
    /// Of the response that is or was written last.
    var lastStatus = 0
    var lastByteCount = 0
    private var isFlushScheduled = false
    private var closesAfterFlush = false
    /// What counts against `max_buffered_bytes`: bodies that wait, and answers that the client does not take.
    private(set) var countedBytes = 0
    /// Output that the client had not taken when that was last looked at, and how much was written since.
    private(set) var unreadBytes = 0
    private var uncheckedBytes = 0
    /// When the client was last seen to take something, or had taken everything.
    private(set) var unreadSince = NIODeadline.distantPast

    /// An outgoing buffer that has grown beyond this is not kept for the next response.
    private static var keptOutputCapacity: Int { 64 * 1024 }
    /// How much may be written before it is looked at whether the client takes it.
    private static var uncheckedLimit: Int { 4096 }

    init(gateway: GatewayCore) {
        self.gateway = gateway
        settings = gateway.settings
    }

    // MARK: Events of the channel

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        // A client may close its side behind its last request and wait for the answer.
        try? context.channel.syncOptions?.setOption(.allowRemoteHalfClosure, value: true)
        if context.channel.isActive { connected() }
    }

    func channelActive(context: ChannelHandlerContext) {
        connected()
        context.fireChannelActive()
    }

    private func connected() {
        guard slot == nil else { return }
        if !gateway.isDraining { slot = gateway.opened(self) }
        machine.connected(hasSlot: slot != nil)
        perform()
    }

    func channelInactive(context: ChannelHandlerContext) {
        disconnected()
        context.fireChannelInactive()
    }

    func handlerRemoved(context: ChannelHandlerContext) { disconnected() }

    private func disconnected() {
        machine.disconnected()
        perform()
    }

    /// The gateway drains: the next response closes the connection, and with `closesIdle` an idle one is closed now.
    func drain(closesIdle: Bool) {
        machine.drain(closesIdle: closesIdle)
        perform()
    }

    func abort() {
        closesUncleanly()
        context?.close(promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        machine.received(Self.unwrapInboundIn(data))
        perform()
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        machine.readCompleted()
        perform()
        context.fireChannelReadComplete()
    }

    func read(context: ChannelHandlerContext) {
        if machine.wantsRead() { context.read() }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        noteUnread()
        machine.writabilityChanged(context.channel.isWritable, buffered: unreadBytes)
        perform()
        context.fireChannelWritabilityChanged()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event as? ChannelEvent == .inputClosed {
            machine.inputClosed()
            perform()
        }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        switch error {
        case HTTPParserError.closedConnection: machine.leftoversReceived()
        // Behind an error that has been dealt with.
        case is ByteToMessageDecoderError: machine.leftoversReceived()
        // The end of the input itself is an event of its own.
        case HTTPParserError.invalidEOFState: break
        case HTTPParserError.headerOverflow: machine.inputFailed(.headersTooLarge)
        case HTTPParserError.invalidVersion: machine.inputFailed(.badRequest("malformed or unsupported HTTP version"))
        case is HTTPParserError: machine.inputFailed(.badRequest("malformed request"))
        default: machine.inputBroke()
        }
        perform()
    }

    func timerFired(_ timer: ExchangeTimer) {
        machine.timerFired(timer, buffered: timer == .idle || timer == .stall ? bufferedBytes : 0)
        perform()
    }

    // MARK: Actions

    /// Does what the machine wants until it wants nothing more.
    func perform() {
        guard !isPerforming else { return }
        isPerforming = true
        while let action = machine.nextAction() { perform(action) }
        isPerforming = false
        countBytes()
    }

    private func perform(_ action: ExchangeAction) {
        switch action {
        case .plan: planNext()
        case .planAgain: planAgain()
        case .hold: holdDecided()
        case .unhold: gateway.unhold(self)
        case .requestPlace: placeDecided()
        case .returnPlace: gateway.releasePlace()
        case .withdrawFromQueue: gateway.withdraw(self)
        case .attachBody: request?.body = machine.exchange.collectedBody
        case .call(let callee, let number): call(callee, number)
        case .abandonCall: abandonCall()
        case .sayContinue:
            output.writeStaticString(ResponseWriter.continueLine)
            scheduleFlush()
        case .pumpBody: pumpBody()
        case .answer(let answer, let closes): write(answer, closes: closes)
        case .deliverHeldResult: deliverHeldResult()
        case .writeStreamEnd: writeStreamEnd()
        case .pauseStream: download?.readsAutomatically = false
        case .resumeStream: download?.readsAutomatically = true
        case .conclude(let isAnswered): conclude(isAnswered)
        case .releaseChannels: releaseChannels()
        case .clear: clear()
        case .start(let timer): settings.timers(timer).start(entry(timer.slot))
        case .cancel(let slot): timers[slot.rawValue]?.cancel()
        case .read: context?.read()
        case .report(let violation): gateway.logger.error(.exchangeBroken, "\(violation.rawValue); the connection is closed")
        case .closeAfterOutput:
            closesAfterFlush = true
            scheduleFlush()
        case .markUnclean: closesUncleanly()
        case .closeOutput: closeOutput()
        case .close: context?.close(promise: nil)
        case .release: release()
        }
    }

    private func holdDecided() {
        let isHeld = request.map { gateway.hold(self, for: $0.match.route) } ?? false
        machine.handle { $0.holdDecided(isHeld) }
    }

    private func placeDecided() {
        let admission = gateway.acquirePlace(self)
        machine.handle { $0.placeDecided(admission) }
    }

    private func entry(_ slot: ExchangeTimer.Slot) -> DeadlineEntry<HTTPConnection> {
        if let entry = timers[slot.rawValue] { return entry }
        let entry = DeadlineEntry(owner: self)
        timers[slot.rawValue] = entry
        return entry
    }

    private func conclude(_ isAnswered: Bool) {
        // A client that left before its answer: the code that proxies use for that.
        let status = isAnswered ? lastStatus : 499
        if accessRecord != nil { logAccess(status, byteCount: isAnswered ? lastByteCount : 0) }
        endTelemetry(status)
        request = nil
        plannedAnswer = nil
        heldResult = nil
    }

    private func clear() {
        machine.handle { $0.cleared() }
        form = ResponseWriter.Form()
        facts = nil
    }

    /// A call that is never answered keeps this object: it must not keep buffers with it.
    private func release() {
        context = nil
        for timer in timers { timer?.cancel() }
        output = ByteBuffer()
        facts = nil
        unreadBytes = 0
        if let slot { gateway.closed(slot) }
        slot = nil
    }

    /// The close that follows is no end of a complete response; over TLS the client can tell.
    private func closesUncleanly() { context?.triggerUserOutboundEvent(TLSUncleanClose(), promise: nil) }

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
        uncheckedBytes += output.readableBytes
        if closesAfterFlush {
            closesAfterFlush = false
            let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
            let written = context.eventLoop.makePromise(of: Void.self)
            written.futureResult.whenComplete { _ in
                bound.value.machine.outputWritten()
                bound.value.perform()
            }
            context.writeAndFlush(Self.wrapOutboundOut(output), promise: written)
        } else {
            context.writeAndFlush(Self.wrapOutboundOut(output), promise: nil)
        }
        // Mostly the write is done by now and the storage is reused; otherwise `clear` takes fresh storage.
        if output.capacity > Self.keptOutputCapacity { output = ByteBuffer() } else { output.clear() }
        if uncheckedBytes >= Self.uncheckedLimit || unreadBytes > 0 {
            uncheckedBytes = 0
            noteUnread()
        }
    }

    private func closeOutput() {
        guard let context else { return }
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        context.close(mode: .output).whenFailure { _ in bound.value.close(promise: nil) }
    }

    /// Bytes written and not yet taken by the kernel.
    private var bufferedBytes: Int {
        guard let context else { return 0 }
        return (try? context.channel.syncOptions?.getOption(.bufferedWritableBytes)) ?? 0
    }

    // MARK: Memory

    private func noteUnread() {
        let bytes = bufferedBytes
        if bytes > 0, unreadBytes == 0 || bytes < unreadBytes { unreadSince = gateway.eventLoop.now }
        unreadBytes = bytes
        countBytes()
    }

    private func countBytes() {
        let bytes = machine.waitingBytes + unreadBytes + (heldResult?.count ?? 0)
        guard bytes != countedBytes else { return }
        let grew = bytes > countedBytes
        gateway.memory.change(from: countedBytes, to: bytes)
        countedBytes = bytes
        if grew, gateway.memory.isExhausted { gateway.relieve(self) }
    }

    /// Looks anew at what the client has not taken. Whether it has taken nothing for a second.
    func isStalled(_ now: NIODeadline) -> Bool {
        guard unreadBytes > 0 else { return false }
        let bytes = bufferedBytes
        if bytes < unreadBytes { unreadSince = now }
        unreadBytes = bytes
        countBytes()
        return bytes > 0 && now - unreadSince >= .seconds(1)
    }

    /// The gateway cannot keep more: the request whose body waits here is turned away.
    func memoryExhausted() {
        machine.handle { $0.memoryExhausted() }
        perform()
    }
}
