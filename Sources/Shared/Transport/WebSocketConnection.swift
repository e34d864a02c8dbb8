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
    /// Bytes that may wait for a peer that does not read; beyond, it is dropped with 1013. Default 256 MiB.
    package var maximumQueuedBytes = 256 << 20

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
        /// Messages flow. Exits: closing, closed.
        case open
        /// A close frame was sent; input other than the peer's close is ignored. Exit: closed.
        case closing
        case closed
    }

    package let role: Role
    package let limits: WebSocketLimits
    package let coalescer: WriteCoalescer
    package private(set) var phase = Phase.idle
    /// When the peer last sent anything at all.
    package private(set) var lastInbound = NIODeadline.now()
    /// Close code the peer sent, if it did.
    package private(set) var peerCloseCode: UInt16?
    /// Whether the peer ended an open connection by a close frame without a complaint in it: no code, or 1000.
    package private(set) var hasClosedCleanly = false
    /// How long the peer may take to answer our close frame. Default 2 s.
    package var closeTimeout = TimeAmount.seconds(2)

    private var context: ChannelHandlerContext?
    private var partial: ByteBuffer?
    private var message = ByteBuffer()
    private var messageOpcode: WebSocketOpcode?
    private var outgoing = ByteBuffer()
    private var isDirty = false
    private var writtenBytes = 0
    private var maskState: UInt64
    /// Outgoing storage above this many bytes is given back after a burst, so that one large message does not stay resident.
    private static let keptCapacity = 256 << 10
    /// A burst of calls goes out in pieces of this many bytes, so that the next process works on the first of them while we
    /// work on the rest; sent all at once, a burst would keep only one process busy at a time.
    private static let burstLength = 16 << 10

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

    private func append(_ opcode: WebSocketOpcode, expectedLength: Int, _ write: (inout ByteBuffer) -> Void) {
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
        promise.futureResult.whenComplete { _ in
            let connection = bound.value
            connection.writtenBytes &-= count
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

    // MARK: Closing

    /// Starts the close handshake; the peer has `closeTimeout` to answer it.
    package func close(_ code: WebSocketCloseCode, reason: String = "") {
        startClosing(code.rawValue, reason: reason)
    }

    /// The same without a code, which clients see as 1005: how channels end (protocol.md §6.3).
    package func closeWithoutCode() { startClosing(nil, reason: "") }

    private func startClosing(_ code: UInt16?, reason: String) {
        guard phase == .open else {
            if phase == .idle { phase = .closed }
            return
        }
        sendClose(code, reason: reason)
        scheduleHardClose(after: closeTimeout)
    }

    /// Ends the connection without waiting for the peer to read what is queued: for slow, silent or hostile peers.
    package func drop(_ code: WebSocketCloseCode) {
        guard phase == .open else { return }
        sendClose(code.rawValue, reason: "")
        flush()
        // The close frame may be read if the peer still reads; a peer that does not is gone in a moment either way.
        scheduleHardClose(after: .milliseconds(100))
    }

    /// Cuts the TCP connection at once, so that no SDK mistakes it for a clean close (protocol.md §1.6).
    package func cut() {
        guard phase != .closed else { return }
        context?.close(promise: nil)
    }

    /// The last frame: not subject to the cap on queued bytes, which may be the reason for it.
    private func sendClose(_ code: UInt16?, reason: String) {
        phase = .closing
        append(.close, expectedLength: 2 &+ reason.utf8.count) { buffer in
            guard let code else { return }
            buffer.writeInteger(code)
            buffer.writeString(reason)
        }
    }

    private func scheduleHardClose(after delay: TimeAmount) {
        guard let context else { return }
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        context.eventLoop.scheduleTask(in: delay) { bound.value.cut() }
    }

    /// For the caller whose scan of a text message failed: ends the connection with 1007 if the text is not even UTF-8.
    package func closeUnlessUTF8(_ bytes: UnsafeRawBufferPointer) {
        if !UTF8Validation.isValid(bytes) { close(.invalidPayload, reason: WebSocketFrameHeader.StaticReason.invalidUTF8.rawValue) }
    }

    // MARK: Reading

    /// Whether the socket is read. Off while this peer feeds one that cannot keep up.
    package var readsAutomatically: Bool = true {
        didSet {
            guard readsAutomatically != oldValue, let context else { return }
            _ = context.channel.setOption(.autoRead, value: readsAutomatically)
            if readsAutomatically { context.read() }
        }
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

    func open() {
        guard let context, context.channel.isActive, phase == .idle else { return }
        phase = .open
        lastInbound = .now()
        connectionOpened()
        guard var buffer = partial else { return }
        partial = nil
        process(&buffer)
        keepRest(of: &buffer)
    }

    public func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var incoming = unwrapInboundIn(data)
        lastInbound = .now()
        if phase == .idle {
            // Frames that came with the upgrade response, while the HTTP decoder still stands between us and the socket: an
            // answer to them would run into it.
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
    }

    private func keepRest(of buffer: inout ByteBuffer) {
        guard buffer.readableBytes > 0 && phase != .closed else { return }
        buffer.discardReadBytes()
        partial = buffer
    }

    /// Takes every whole frame off the front of `buffer`.
    private func process(_ buffer: inout ByteBuffer) {
        var consumed = 0
        buffer.withUnsafeMutableReadableBytes { bytes in
            while phase == .open || phase == .closing {
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
                case .header(let header):
                    guard rest.count >= header.headerLength &+ header.payloadLength else { return }
                    let payload = UnsafeMutableRawBufferPointer(
                        rebasing: rest[header.headerLength..<header.headerLength &+ header.payloadLength])
                    if let key = header.maskingKey { WebSocketFrameHeader.applyMask(key, to: payload) }
                    consumed &+= header.headerLength &+ header.payloadLength
                    frameReceived(header, UnsafeRawBufferPointer(payload))
                }
            }
            consumed = bytes.count
        }
        buffer.moveReaderIndex(forwardBy: consumed)
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
                guard append(payload) else { return }
                messageOpcode = header.opcode
            }
        case .continuation:
            guard let opcode = messageOpcode else { return fail(.protocolError, .unexpectedContinuation) }
            guard append(payload), header.isFinal else { return }
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

    private func append(_ payload: UnsafeRawBufferPointer) -> Bool {
        guard message.readableBytes &+ payload.count <= limits.maximumMessageLength else {
            fail(.messageTooBig, .messageTooBig)
            return false
        }
        message.writeBytes(payload)
        return true
    }

    private func closeReceived(_ payload: UnsafeRawBufferPointer) {
        var code: UInt16?
        if payload.count >= 2 {
            let value = UInt16(payload[0]) << 8 | UInt16(payload[1])
            guard WebSocketFrameHeader.isLegalCloseCode(value), UTF8Validation.isValid(UnsafeRawBufferPointer(rebasing: payload[2...]))
            else {
                return fail(.protocolError, .malformedClose)
            }
            code = value
        } else if payload.count == 1 {
            return fail(.protocolError, .malformedClose)
        }
        peerCloseCode = code
        if phase == .open {
            hasClosedCleanly = code == nil || code == WebSocketCloseCode.normal.rawValue
            sendClose(code, reason: "")
        }
        flush()
        context?.close(promise: nil)
    }

    private func fail(_ code: WebSocketCloseCode, _ reason: WebSocketFrameHeader.StaticReason) {
        close(code, reason: reason.rawValue)
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

    private func ended() {
        guard phase != .closed else { return }
        phase = .closed
        partial = nil
        message = ByteBuffer()
        outgoing = ByteBuffer()
        connectionClosed()
    }
}
