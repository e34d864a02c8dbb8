import NIOCore

/// The server's side of TLS in front of a plaintext pipeline.
///
/// Back-pressure: everything that is written goes on to the channel as ciphertext at once, except for less than one record
/// (16 KiB) that waits for a flush, so the channel's writability tells the truth. Reading is asked for by the handlers behind.
/// What the peer can make TLS itself answer (key updates, refused renegotiation) is bounded by `maximumUnreadReplies`.
///
/// Ends: a close by us sends close_notify, after `TLSUncleanClose` it does not. A close of the output sends it and half-closes
/// the socket. The peer's close_notify closes the connection, like the end of a plain connection. An end without it fires
/// `TLSServerHandler.Failure.truncated`. A failed handshake sends its alert and then waits for the peer, at most until the
/// handshake would have timed out; plain HTTP is answered with a plain 400. Confined to the channel's event loop.
package final class TLSServerHandler: ChannelDuplexHandler {
    package typealias InboundIn = ByteBuffer
    package typealias InboundOut = ByteBuffer
    package typealias OutboundIn = ByteBuffer
    package typealias OutboundOut = ByteBuffer

    /// Fired as an error at the handlers behind; the connection is of no use then.
    package enum Failure: Error, Equatable {
        case truncated
        case broken(String)
    }

    enum State {
        /// Nothing has come yet. Next: `handshaking`, `refused`, `closed`.
        case awaitingBytes
        /// Next: `open`, `refused`, `closed`.
        case handshaking
        /// Next: `outputClosed`, `refused`, `closed`.
        case open
        /// We have sent close_notify and still read. Next: `refused`, `closed`.
        case outputClosed
        /// The last bytes are out; input is discarded until the peer leaves or time is up. Next: `closed`.
        case refused
        case closed
    }

    /// Bytes that TLS itself may have sent since the peer last took any. An honest peer needs a few dozen.
    static var maximumUnreadReplies: Int { 64 * 1024 }
    /// Plaintext that may wait for the end of the handshake: an early refusal, not a response of any size.
    static var maximumEarlyBytes: Int { 1024 * 1024 }

    /// How long a close waits for its close_notify to be written.
    static var closeTime: TimeAmount { .seconds(2) }

    let endpoint: TLSEndpoint
    let session: TLSSession
    var state = State.awaitingBytes
    var timeout: Scheduled<Void>?

    /// Plaintext that waits for a flush, for a full record, or for the end of the handshake.
    var pending: [(bytes: ByteBuffer, promise: EventLoopPromise<Void>?)] = []
    private var pendingBytes = 0
    private var needsFlush = false
    private var hasDelivered = false
    var closesUncleanly = false
    private var unreadReplies = 0

    package init(_ endpoint: TLSEndpoint) throws(TLSFailure) {
        self.endpoint = endpoint
        session = try TLSSession(server: endpoint.context)
    }

    // MARK: Lifecycle

    package func handlerAdded(context: ChannelHandlerContext) {
        if context.channel.isActive { startTimeout(context) }
    }

    package func channelActive(context: ChannelHandlerContext) {
        startTimeout(context)
        context.fireChannelActive()
    }

    private func startTimeout(_ context: ChannelHandlerContext) {
        guard timeout == nil else { return }
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        timeout = context.eventLoop.scheduleTask(in: endpoint.handshakeTimeout) {
            let (handler, context) = bound.value
            handler.handshakeTimeExpired(context)
        }
    }

    private func handshakeTimeExpired(_ context: ChannelHandlerContext) {
        switch state {
        case .awaitingBytes, .handshaking: endpoint.happened(.handshakeTimedOut)
        case .refused: break
        case .open, .outputClosed, .closed: return
        }
        state = .closed
        context.close(promise: nil)
    }

    package func channelInactive(context: ChannelHandlerContext) {
        let last = state
        end(ChannelError.ioOnClosedChannel)
        switch last {
        case .handshaking: endpoint.happened(.handshakeFailed("the peer left during the handshake"))
        case .open:
            endpoint.happened(.truncated)
            context.fireErrorCaught(Failure.truncated)
        case .awaitingBytes, .outputClosed, .refused, .closed: break
        }
        context.fireChannelInactive()
    }

    package func handlerRemoved(context: ChannelHandlerContext) { end(ChannelError.ioOnClosedChannel) }

    func end(_ error: any Error) {
        state = .closed
        timeout?.cancel()
        timeout = nil
        failPending(error)
    }

    func failPending(_ error: any Error) {
        let waiting = pending
        pending = []
        pendingBytes = 0
        for write in waiting { write.promise?.fail(error) }
    }

    // MARK: Reading

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = Self.unwrapInboundIn(data)
        switch state {
        case .refused, .closed: return
        case .awaitingBytes:
            guard let first = bytes.getInteger(at: bytes.readerIndex, as: UInt8.self) else { return }
            // A handshake begins with 22; a request line with the letter of a method.
            if first >= UInt8(ascii: "A"), first <= UInt8(ascii: "Z") { return refusePlaintext(context) }
            state = .handshaking
        case .handshaking, .open, .outputClosed: break
        }
        var plaintext = ByteBuffer()
        let outcome = bytes.withUnsafeReadableBytes { session.receive($0, into: &plaintext) }
        if state == .handshaking, session.isEstablished { established(context) }
        if case .failed(let reason) = outcome { return fail(context, reason) }
        sendReplies(context)
        if plaintext.readableBytes > 0, state != .closed {
            hasDelivered = true
            context.fireChannelRead(Self.wrapInboundOut(plaintext))
        }
        if outcome == .closed, state == .open || state == .outputClosed { close(context: context, mode: .all, promise: nil) }
    }

    package func channelReadComplete(context: ChannelHandlerContext) {
        if needsFlush {
            needsFlush = false
            context.flush()
        }
        // Handshake and partial records are nothing that the handlers behind could have seen.
        guard hasDelivered else { return }
        hasDelivered = false
        context.fireChannelReadComplete()
    }

    package func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable { unreadReplies = 0 }
        context.fireChannelWritabilityChanged()
    }

    private func established(_ context: ChannelHandlerContext) {
        state = .open
        timeout?.cancel()
        timeout = nil
        endpoint.happened(.established(version: session.version, isResumed: session.wasResumed))
        guard !pending.isEmpty else { return }
        needsFlush = true
        encrypt(context)
    }

    /// Hands on what TLS itself has to say.
    private func sendReplies(_ context: ChannelHandlerContext) {
        let count = session.outputCount
        guard count > 0 else { return }
        // After our close_notify there is nothing more to say.
        guard state != .outputClosed, state != .closed else {
            _ = session.takeOutput()
            return
        }
        if state == .open, !context.channel.isWritable {
            unreadReplies += count
            guard unreadReplies <= Self.maximumUnreadReplies else { return fail(context, "the peer does not read what it asks for") }
        }
        needsFlush = true
        writeOutput(context, promise: nil)
    }

    // MARK: Writing

    package func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        switch state {
        case .outputClosed: promise?.fail(ChannelError.outputClosed)
        case .refused, .closed: promise?.fail(ChannelError.ioOnClosedChannel)
        case .awaitingBytes, .handshaking, .open:
            let bytes = Self.unwrapOutboundIn(data)
            // Nothing to encrypt: who writes that wants to know that all before it is out, and need not wait for a handshake.
            if bytes.readableBytes == 0, pending.isEmpty, state != .open {
                promise?.succeed(())
                return
            }
            pending.append((bytes, promise))
            pendingBytes += bytes.readableBytes
            if state == .open {
                if pendingBytes >= TLSSession.recordBytes { encrypt(context) }
            } else if pendingBytes > Self.maximumEarlyBytes {
                fail(context, "too much was written before the handshake")
            }
        }
    }

    package func flush(context: ChannelHandlerContext) {
        if state == .open, !pending.isEmpty { encrypt(context) }
        needsFlush = false
        context.flush()
    }

    /// Turns `pending` into ciphertext on its way to the socket: small pieces share a record, a large one goes as it is.
    func encrypt(_ context: ChannelHandlerContext) {
        let writes = pending
        pending = []
        pendingBytes = 0
        var failure: String?
        var batch = ByteBuffer()
        for write in writes where failure == nil {
            if batch.readableBytes == 0 {
                batch = write.bytes
            } else if write.bytes.readableBytes >= TLSSession.recordBytes {
                failure = session.send(batch)
                batch = write.bytes
            } else {
                batch.writeImmutableBuffer(write.bytes)
            }
        }
        failure = failure ?? session.send(batch)
        let promise = Self.joined(writes.compactMap(\.promise), on: context.eventLoop)
        if let failure {
            promise?.fail(Failure.broken(failure))
            fail(context, failure)
        } else {
            writeOutput(context, promise: promise)
        }
    }

    /// One promise that settles all.
    private static func joined(_ promises: [EventLoopPromise<Void>], on eventLoop: any EventLoop) -> EventLoopPromise<Void>? {
        guard promises.count > 1 else { return promises.first }
        let one = eventLoop.makePromise(of: Void.self)
        for promise in promises { one.futureResult.cascade(to: promise) }
        return one
    }

    func writeOutput(_ context: ChannelHandlerContext, promise: EventLoopPromise<Void>?) {
        context.write(Self.wrapOutboundOut(session.takeOutput()), promise: promise)
    }
}
