import IIIProtocol
import NIOCore

/// Sizes that bound what one peer can make a connection hold.
package struct WebSocketLimits: Sendable {
    /// Longest accepted frame payload in bytes; longer ones end the connection with 1009. Default 64 MiB.
    package var maximumFrameLength = 64 << 20
    /// Longest accepted message after joining its fragments, in bytes; 1009 beyond. Default 64 MiB.
    package var maximumMessageLength = 64 << 20
    /// Outgoing text over this many bytes is cut into fragments (the Rust SDK refuses frames over 16 MiB). Default 1 MiB.
    package var fragmentLength = 1 << 20
    /// Bytes that may wait for a peer that does not read; beyond, it is dropped with 1013. Default 128 MiB.
    package var maximumQueuedBytes = 128 << 20

    package init() {}
}

/// One end of a WebSocket: framing, reassembly, masks, control frames, close handshake and coalesced writes.
///
/// Subclassed by whoever owns the connection; a virtual call per message is all the indirection there is on the hot path.
/// Confined to its event loop: every method must be called there. Text is not checked for UTF-8 here, because the JSON scan
/// that follows checks it anyway: call `closeUnlessUTF8` where that scan fails.
open class WebSocketConnection: ChannelInboundHandler, RemovableChannelHandler {
    public typealias InboundIn = ByteBuffer
    public typealias OutboundOut = ByteBuffer

    package enum Role: Sendable { case server, client }

    package enum Phase: Sendable {
        /// Not yet in a pipeline. Exits: open, closed.
        case idle
        /// Messages flow. Exits: closing, draining, closed.
        case open
        /// The peer is gone, and whole messages it had sent before wait for their turns. Nothing is sent any more. Exit: closed.
        case draining
        /// A close frame was sent; input other than the peer's close is ignored. Exit: closed.
        case closing
        case closed
    }

    package let role: Role
    package let limits: WebSocketLimits
    package let coalescer: WriteCoalescer
    package internal(set) var phase = Phase.idle
    /// When the peer last sent anything at all, moved on by time that is not its silence: ours, or while it was not read.
    package private(set) var lastInbound = NIODeadline.now()
    /// Close code the peer sent, if it did.
    package internal(set) var peerCloseCode: UInt16?
    /// Whether the peer ended an open connection by a close frame without a complaint in it: no code, or 1000.
    package internal(set) var hasClosedCleanly = false
    /// How long the peer may take to answer our close frame. Default 2 s.
    package var closeTimeout = TimeAmount.seconds(2)

    var context: ChannelHandlerContext?
    private var partial: ByteBuffer?
    private var message = ByteBuffer()
    private var messageOpcode: WebSocketOpcode?
    var outgoing = ByteBuffer()
    private var isDirty = false
    /// Whether a frame over the limit waits for its first bytes, which say what it was to be.
    private var tooLongHead = TooLongHead.none
    private var writtenBytes = 0
    /// Bytes the kernel has taken since the connection opened.
    package private(set) var deliveredBytes = 0
    /// What waits for a peer that is being dropped counts no longer.
    var isWrittenOff = false
    private var turnBudget = WebSocketConnection.turnLength
    /// `partial` may hold whole messages: handling stopped before its end.
    var isBacklogged = false
    private var isWaitingForTurn = false
    private var isReading = true
    /// What this connection has entered in the loop's inbound budget.
    private var inboundBytes = 0
    private var maskState: UInt64
    /// Outgoing storage above this many bytes is given back after a burst, so that one large message does not stay resident.
    private static let keptCapacity = 256 << 10
    /// A burst of calls goes out in pieces of this many bytes, so that the next process works on the first of them while we
    /// work on the rest; sent all at once, a burst would keep only one process busy at a time.
    private static let burstLength = 16 << 10
    /// What one connection may have handled in one turn of the loop, in bytes received, about as many nanoseconds of work, and
    /// `messageWeight` a message. A read burst of ordinary calls stays below.
    private static let turnLength = 2 << 20
    private static let messageWeight = 256
    /// As much of an overlong frame is waited for, and for as long.
    private static let tooLongHeadLength = 1_024
    private static let tooLongHeadTime = TimeAmount.milliseconds(100)
    private enum TooLongHead { case none, awaited, late }

    package init(role: Role, limits: WebSocketLimits, coalescer: WriteCoalescer) {
        self.role = role
        self.limits = limits
        self.coalescer = coalescer
        // Masking guards old proxies against cache poisoning; it is no secret, so a cheap generator will do.
        maskState = UInt64.random(in: 1 ... .max)
    }

    // MARK: For subclasses

    /// The connection is open and may send.
    open func connectionOpened() {}
    /// One whole message. `bytes` are valid during the call only.
    open func messageReceived(_ bytes: UnsafeRawBufferPointer, isText: Bool) {}
    /// A message over the limits has begun; the connection ends with 1009 after this. `head` is what has come of it, `size` its
    /// length if that is known (`isWhole`), else what was counted so far.
    open func messageTooLong(_ head: UnsafeRawBufferPointer, size: Int, isWhole: Bool) {}
    /// An answer to a ping of ours.
    open func pongReceived() {}
    /// A ping, which is answered by itself.
    open func pingReceived() {}
    /// The last call: the connection is gone, for whatever reason.
    open func connectionClosed() {}
    /// Bytes waiting for the peer changed by a completed write.
    open func queuedBytesShrank() {}
    /// More than `maximumQueuedBytes` wait for the peer, which is being dropped.
    open func queueOverflowed() {}

    // MARK: Sending

    /// Bytes accepted for the peer and not yet taken by the kernel.
    package var queuedBytes: Int { outgoing.readableBytes &+ writtenBytes }

    package var remoteAddress: SocketAddress? { context?.remoteAddress }

    /// Appends one text message whose bytes `write` puts straight into the outgoing buffer.
    ///
    /// `expectedLength` chooses the header's size in advance; a wrong guess costs one move of the payload.
    /// Does nothing unless the connection is open. Overflowing `maximumQueuedBytes` drops the peer with 1013.
    package func sendText(expectedLength: Int, _ write: (inout ByteBuffer) -> Void) {
        send(.text, expectedLength: expectedLength, write)
        if outgoing.readableBytes >= Self.burstLength { flush() }
    }

    package func sendText(_ bytes: [UInt8]) {
        send(.text, expectedLength: bytes.count) { $0.writeBytes(bytes) }
    }

    package func sendBinary(_ bytes: UnsafeRawBufferPointer) { send(bytes, isText: false) }

    package func send(_ bytes: UnsafeRawBufferPointer, isText: Bool) {
        send(isText ? .text : .binary, expectedLength: bytes.count) { $0.writeBytes(bytes) }
    }

    /// Appends one piece of a text message that is too large to be handed over at once; a message's pieces follow one another without
    /// anything in between, and end between two characters. Does nothing unless the connection is open.
    package func sendTextPiece(_ bytes: UnsafeRawBufferPointer, isFirst: Bool, isLast: Bool) {
        guard phase == .open else { return }
        let start = outgoing.writerIndex
        let guessed = WebSocketFrameHeader.length(forPayload: bytes.count, masked: role == .client)
        outgoing.writeRepeatingByte(0, count: guessed)
        outgoing.writeBytes(bytes)
        finishFrame(isFirst ? .text : .continuation, isFinal: isLast, start: start, guessed: guessed, length: bytes.count)
        if !isWrittenOff { coalescer.budget.addOutbound(outgoing.writerIndex &- start) }
        markDirty()
    }

    package func sendPing() {
        send(.ping, expectedLength: 0) { _ in }
    }

    private func send(_ opcode: WebSocketOpcode, expectedLength: Int, _ write: (inout ByteBuffer) -> Void) {
        guard phase == .open else { return }
        append(opcode, expectedLength: expectedLength, write)
        if queuedBytes > limits.maximumQueuedBytes {
            queueOverflowed()
            drop(.tryAgainLater)
        }
    }

    func append(_ opcode: WebSocketOpcode, expectedLength: Int, _ write: (inout ByteBuffer) -> Void) {
        let start = outgoing.writerIndex
        let masked = role == .client
        let guessed = WebSocketFrameHeader.length(forPayload: expectedLength, masked: masked)
        outgoing.reserveCapacity(minimumWritableBytes: guessed &+ expectedLength)
        outgoing.moveWriterIndex(forwardBy: guessed)
        write(&outgoing)
        let length = outgoing.writerIndex &- start &- guessed
        if length > limits.fragmentLength && !opcode.isControl {
            refragment(opcode, start: start, headerLength: guessed)
        } else {
            finishFrame(opcode, isFinal: true, start: start, guessed: guessed, length: length)
        }
        if !isWrittenOff { coalescer.budget.addOutbound(outgoing.writerIndex &- start) }
        markDirty()
    }

    /// Moves the payload if the header's size was guessed wrong, then writes header and mask around it.
    private func finishFrame(_ opcode: WebSocketOpcode, isFinal: Bool, start: Int, guessed: Int, length: Int) {
        let key = role == .client ? nextMask() : nil
        let actual = WebSocketFrameHeader.length(forPayload: length, masked: key != nil)
        if actual != guessed {
            if actual > guessed { outgoing.writeRepeatingByte(0, count: actual &- guessed) }
            outgoing.withVeryUnsafeMutableBytes { all in
                let base = all.baseAddress.unsafelyUnwrapped
                (base + start + actual).copyMemory(from: base + start + guessed, byteCount: length)
            }
            outgoing.moveWriterIndex(to: start &+ actual &+ length)
        }
        outgoing.withVeryUnsafeMutableBytes { all in
            let base = all.baseAddress.unsafelyUnwrapped + start
            WebSocketFrameHeader.write(to: base, isFinal: isFinal, opcode: opcode, payloadLength: length, maskingKey: key)
            if let key {
                WebSocketFrameHeader.applyMask(key, to: UnsafeMutableRawBufferPointer(start: base + actual, count: length))
            }
        }
    }

    /// Cuts the payload that stands behind `start` into fragments that end between UTF-8 scalars.
    private func refragment(_ opcode: WebSocketOpcode, start: Int, headerLength: Int) {
        guard let payload = outgoing.getSlice(at: start &+ headerLength, length: outgoing.writerIndex &- start &- headerLength) else {
            return
        }
        outgoing.moveWriterIndex(to: start)
        var offset = 0
        while offset < payload.readableBytes {
            var length = min(limits.fragmentLength, payload.readableBytes &- offset)
            let isFinal = offset &+ length == payload.readableBytes
            if opcode == .text && !isFinal {
                payload.withUnsafeReadableBytes { bytes in
                    while length > 1, bytes[offset &+ length] & 0xC0 == 0x80 { length &-= 1 }
                }
            }
            let guessed = WebSocketFrameHeader.length(forPayload: length, masked: role == .client)
            let frameStart = outgoing.writerIndex
            outgoing.writeRepeatingByte(0, count: guessed)
            if let piece = payload.getSlice(at: payload.readerIndex &+ offset, length: length) { outgoing.writeImmutableBuffer(piece) }
            finishFrame(offset == 0 ? opcode : .continuation, isFinal: isFinal, start: frameStart, guessed: guessed, length: length)
            offset &+= length
        }
    }

    private func nextMask() -> UInt32 {
        // xorshift64*
        maskState ^= maskState >> 12
        maskState ^= maskState << 25
        maskState ^= maskState >> 27
        return UInt32(truncatingIfNeeded: (maskState &* 0x2545_F491_4F6C_DD1D) >> 32)
    }

    private func markDirty() {
        guard !isDirty else { return }
        isDirty = true
        coalescer.add(self)
    }

    func flush() {
        isDirty = false
        guard let context, outgoing.readableBytes > 0 else { return }
        let count = outgoing.readableBytes
        writtenBytes &+= count
        let promise = context.eventLoop.makePromise(of: Void.self)
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        promise.futureResult.whenComplete { outcome in
            let connection = bound.value
            connection.writtenBytes &-= count
            if case .success = outcome { connection.deliveredBytes &+= count }
            if !connection.isWrittenOff { connection.coalescer.budget.removeOutbound(count) }
            connection.queuedBytesShrank()
        }
        var buffer = ByteBuffer()
        swap(&buffer, &outgoing)
        context.writeAndFlush(wrapOutboundOut(buffer), promise: promise)
        // The kernel mostly takes all of it at once: then the storage is ours again and the next burst allocates nothing.
        if outgoing.capacity == 0 && buffer.capacity <= Self.keptCapacity {
            buffer.clear()
            outgoing = buffer
        }
    }

    // MARK: Reading

    /// Off while this peer feeds one that cannot keep up: then nothing more of it is handled and its socket is not read.
    package var readsAutomatically: Bool = true {
        didSet { if readsAutomatically != oldValue { pauseChanged() } }
    }

    /// On while too much of what we ourselves answered waits for this peer: the same, for its own good.
    package var isHeld: Bool = false {
        didSet { if isHeld != oldValue { pauseChanged() } }
    }

    /// On while it has yet to be decided whether this peer's messages are handled: they wait, mostly in the kernel.
    package var isGated: Bool = false {
        didSet { if isGated != oldValue { pauseChanged() } }
    }

    private var isPaused: Bool { !readsAutomatically || isHeld || isGated }

    /// Whether the socket is being read; a peer that is not cannot be heard.
    package var isBeingRead: Bool { isReading }

    /// Bytes received that belong to messages not whole or not handled yet.
    package var unhandledBytes: Int { inboundBytes }

    /// Counts work for this peer that its messages' length says nothing about against its turn.
    package func spend(nanoseconds: Int64) { turnBudget &-= Int(clamping: nanoseconds) }

    /// `gap` of the time that passed since the peer was last heard is not its silence.
    package func excuse(_ gap: TimeAmount) { lastInbound = min(.now(), lastInbound + gap) }

    private func pauseChanged() {
        if !isPaused { waitForTurn() }
        updateReading()
    }

    private func updateReading() {
        let wanted = !isPaused && !isBacklogged
        guard wanted != isReading else { return }
        isReading = wanted
        guard let context else { return }
        // It could not be heard meanwhile; what the kernel holds is read before anybody judges its silence.
        if wanted { lastInbound = max(lastInbound, .now()) }
        _ = context.channel.setOption(.autoRead, value: wanted)
        if wanted { context.read() }
    }

    private func waitForTurn() {
        guard isBacklogged, !isWaitingForTurn, phase != .closed else { return }
        isWaitingForTurn = true
        coalescer.turns.add(self)
    }

    /// Goes on where handling stopped.
    func takeTurn() {
        isWaitingForTurn = false
        guard isBacklogged, !isPaused || phase == .closing, phase != .closed else { return }
        isBacklogged = false
        turnBudget = Self.turnLength
        if var buffer = partial {
            partial = nil
            process(&buffer)
            keepRest(of: &buffer)
        }
        handledSome()
        turnBudget = Self.turnLength
    }

    /// After every piece of input: accounts for what is left, and waits or goes on.
    private func handledSome() {
        if isBacklogged, partial == nil { isBacklogged = false }
        let held = (partial?.readableBytes ?? 0) &+ message.readableBytes
        if held != inboundBytes {
            coalescer.budget.changeInbound(by: held &- inboundBytes)
            inboundBytes = held
        }
        if isBacklogged, !isPaused || phase == .closing { waitForTurn() }
        if phase == .draining, !isBacklogged { return finish() }
        updateReading()
    }

    func forgetInput() {
        partial = nil
        message = ByteBuffer()
        isBacklogged = false
        coalescer.budget.changeInbound(by: -inboundBytes)
        inboundBytes = 0
    }

    public func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        // A client's HTTP decoder still stands in the way of writes: the dialer opens the connection once it has left.
        if role == .server { open() }
    }

    public func channelActive(context: ChannelHandlerContext) {
        if role == .server { open() }
        context.fireChannelActive()
    }

    /// The channel is ours from now on; for clients, once the HTTP handlers have left.
    package func open() {
        guard let context, context.channel.isActive, phase == .idle else { return }
        phase = .open
        lastInbound = .now()
        connectionOpened()
        guard var buffer = partial else { return }
        partial = nil
        process(&buffer)
        keepRest(of: &buffer)
        handledSome()
    }

    public func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var incoming = unwrapInboundIn(data)
        lastInbound = .now()
        if phase == .idle || isBacklogged {
            // Idle: frames that came with the upgrade response, while the HTTP decoder still stands between us and the socket; an
            // answer to them would run into it. Backlogged: others come first.
            partial.setOrWriteBuffer(&incoming)
        } else if var buffer = partial {
            partial = nil
            buffer.writeBuffer(&incoming)
            process(&buffer)
            keepRest(of: &buffer)
        } else {
            // NIO keeps a reference to its read buffer, so unmasking in place would copy it; copy into warm memory instead.
            var buffer = ByteBuffer()
            swap(&buffer, &coalescer.scratch)
            buffer.clear()
            buffer.writeBuffer(&incoming)
            process(&buffer)
            if buffer.readableBytes > 0 && phase != .closed {
                var rest = context.channel.allocator.buffer(capacity: buffer.readableBytes)
                rest.writeBuffer(&buffer)
                partial = rest
            }
            swap(&buffer, &coalescer.scratch)
        }
        handledSome()
    }

    public func channelReadComplete(context: ChannelHandlerContext) {
        turnBudget = Self.turnLength
        context.fireChannelReadComplete()
    }

    private func keepRest(of buffer: inout ByteBuffer) {
        guard buffer.readableBytes > 0 && phase != .closed else { return }
        if buffer.readerIndex > buffer.readableBytes { buffer.discardReadBytes() }
        partial = buffer
    }

    /// Takes whole frames off the front of `buffer`, as many as this turn allows.
    private func process(_ buffer: inout ByteBuffer) {
        var consumed = 0
        buffer.withUnsafeMutableReadableBytes { bytes in
            while phase == .open || phase == .closing || phase == .draining {
                if turnBudget <= 0 || (isPaused && phase != .closing) {
                    isBacklogged = consumed < bytes.count
                    return
                }
                let rest = UnsafeMutableRawBufferPointer(rebasing: bytes[consumed...])
                switch WebSocketFrameHeader.parse(
                    UnsafeRawBufferPointer(rest), expectsMask: role == .server, maximumFrameLength: limits.maximumFrameLength)
                {
                case .needsMoreBytes:
                    return
                case .violation(let code, let reason):
                    consumed = bytes.count
                    fail(code, reason)
                    return
                case .tooLong(let header):
                    guard tooLong(header, rest, .frameTooBig) else { return }
                    consumed = bytes.count
                    return
                case .header(let header):
                    // Before its payload is collected, so that a message never occupies more than it may.
                    let length = header.opcode == .continuation ? header.payloadLength &+ message.readableBytes : header.payloadLength
                    guard length <= limits.maximumMessageLength else {
                        guard tooLong(header, rest, .messageTooBig) else { return }
                        consumed = bytes.count
                        return
                    }
                    guard rest.count >= header.headerLength &+ header.payloadLength else { return }
                    let payload = UnsafeMutableRawBufferPointer(
                        rebasing: rest[header.headerLength..<header.headerLength &+ header.payloadLength])
                    if let key = header.maskingKey { WebSocketFrameHeader.applyMask(key, to: payload) }
                    consumed &+= header.headerLength &+ header.payloadLength
                    turnBudget &-= Self.messageWeight &+ header.payloadLength
                    frameReceived(header, UnsafeRawBufferPointer(payload))
                }
            }
            consumed = bytes.count
        }
        buffer.moveReaderIndex(forwardBy: consumed)
    }

    /// Tells of an overlong frame and fails; false while its first bytes are still on their way.
    private func tooLong(
        _ header: WebSocketFrameHeader, _ frame: UnsafeMutableRawBufferPointer, _ reason: WebSocketFrameHeader.StaticReason
    ) -> Bool {
        // The fragments before this one are the head of their message.
        let wanted = header.opcode == .continuation ? 0 : min(header.payloadLength, Self.tooLongHeadLength)
        if phase == .open, frame.count &- header.headerLength < wanted, tooLongHead != .late, let context {
            guard tooLongHead == .none else { return false }
            tooLongHead = .awaited
            let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
            context.eventLoop.scheduleTask(in: Self.tooLongHeadTime) { bound.value.tooLongHeadIsLate() }
            return false
        }
        guard phase == .open else { return true }
        let head = UnsafeMutableRawBufferPointer(rebasing: frame[header.headerLength...].prefix(4 * Self.tooLongHeadLength))
        if let key = header.maskingKey { WebSocketFrameHeader.applyMask(key, to: head) }
        if header.opcode == .continuation {
            tellOfLongMessage(adding: header.payloadLength, isWhole: header.isFinal)
        } else {
            messageTooLong(UnsafeRawBufferPointer(head), size: header.payloadLength, isWhole: header.isFinal)
        }
        fail(.messageTooBig, reason)
        return true
    }

    private func tooLongHeadIsLate() {
        guard phase == .open, var buffer = partial else { return }
        tooLongHead = .late
        // Behind a backlog its turn comes anyway.
        guard !isBacklogged else { return }
        partial = nil
        process(&buffer)
        keepRest(of: &buffer)
        handledSome()
    }

    /// The fragments so far hold the head of a message that has become too long.
    private func tellOfLongMessage(adding length: Int, isWhole: Bool) {
        let size = message.readableBytes.addingReportingOverflow(length)
        message.withUnsafeReadableBytes { bytes in
            messageTooLong(
                UnsafeRawBufferPointer(rebasing: bytes.prefix(4 * Self.tooLongHeadLength)),
                size: size.overflow ? Int.max : size.partialValue, isWhole: isWhole)
        }
    }

    private func frameReceived(_ header: WebSocketFrameHeader, _ payload: UnsafeRawBufferPointer) {
        // After our close frame only the peer's answer counts.
        if phase == .closing && header.opcode != .close { return }
        switch header.opcode {
        case .text, .binary:
            guard messageOpcode == nil else { return fail(.protocolError, .interruptedMessage) }
            if header.isFinal {
                messageReceived(payload, isText: header.opcode == .text)
            } else {
                message.writeBytes(payload)
                messageOpcode = header.opcode
            }
        case .continuation:
            guard let opcode = messageOpcode else { return fail(.protocolError, .unexpectedContinuation) }
            message.writeBytes(payload)
            guard header.isFinal else { return }
            messageOpcode = nil
            var whole = ByteBuffer()
            swap(&whole, &message)
            whole.withUnsafeReadableBytes { messageReceived($0, isText: opcode == .text) }
        case .ping:
            send(.pong, expectedLength: payload.count) { $0.writeBytes(payload) }
            pingReceived()
        case .pong:
            pongReceived()
        case .close:
            closeReceived(payload)
        }
    }

    public func channelInactive(context: ChannelHandlerContext) {
        ended()
        context.fireChannelInactive()
    }

    public func handlerRemoved(context: ChannelHandlerContext) {
        ended()
        self.context = nil
    }

    public func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // A reset or broken pipe: nothing to say to a peer that is gone.
        context.close(promise: nil)
    }
}
