import NIOCore

/// The client's side of TLS in front of a plaintext pipeline. Confined to the channel's event loop.
///
/// Bytes written before the end of the handshake wait for it, 1 MiB at the most. A failed handshake, a certificate that is not
/// accepted and an end without close_notify are errors at the handlers behind, and close the channel. How long a handshake may
/// take is for whoever connects to say.
package final class TLSClientHandler: ChannelDuplexHandler {
    package typealias InboundIn = ByteBuffer
    package typealias InboundOut = ByteBuffer
    package typealias OutboundIn = ByteBuffer
    package typealias OutboundOut = ByteBuffer

    private static let maximumEarlyBytes = 1024 * 1024

    private let session: TLSSession
    private var early: [(bytes: ByteBuffer, promise: EventLoopPromise<Void>?)] = []
    private var earlyBytes = 0
    private var isClosing = false

    package init(_ session: TLSSession) { self.session = session }

    package func handlerAdded(context: ChannelHandlerContext) {
        if context.channel.isActive { begin(context) }
    }

    package func channelActive(context: ChannelHandlerContext) {
        begin(context)
        context.fireChannelActive()
    }

    private func begin(_ context: ChannelHandlerContext) {
        guard !session.isEstablished, session.outputCount == 0 else { return }
        if case .failed(let reason) = session.startHandshake() { return fail(context, reason) }
        sendOutput(context, promise: nil)
        context.flush()
    }

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isClosing else { return }
        let wasEstablished = session.isEstablished
        var plaintext = context.channel.allocator.buffer(capacity: 0)
        let outcome = Self.unwrapInboundIn(data).withUnsafeReadableBytes { session.receive($0, into: &plaintext) }
        let isNew = session.isEstablished && !wasEstablished
        if isNew { established(context) }
        let hasReplies = session.outputCount > 0
        if hasReplies { sendOutput(context, promise: nil) }
        // What waited for the handshake was flushed by its writer before there was anything to flush.
        if isNew || hasReplies { context.flush() }
        if plaintext.readableBytes > 0 { context.fireChannelRead(Self.wrapInboundOut(plaintext)) }
        switch outcome {
        case .needsMore: break
        case .closed: context.close(promise: nil)
        case .failed(let reason): fail(context, session.verificationFailure.map { "the server's certificate is refused: \($0)" } ?? reason)
        }
    }

    package func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let bytes = Self.unwrapOutboundIn(data)
        guard !isClosing else {
            promise?.fail(ChannelError.ioOnClosedChannel)
            return
        }
        guard session.isEstablished else {
            early.append((bytes, promise))
            earlyBytes += bytes.readableBytes
            if earlyBytes > Self.maximumEarlyBytes { fail(context, "too much was written before the handshake") }
            return
        }
        encrypt(context, bytes, promise)
    }

    private func established(_ context: ChannelHandlerContext) {
        let writes = early
        early = []
        for write in writes { encrypt(context, write.bytes, write.promise) }
    }

    private func encrypt(_ context: ChannelHandlerContext, _ bytes: ByteBuffer, _ promise: EventLoopPromise<Void>?) {
        if let failure = session.send(bytes) {
            promise?.fail(TLSFailure(failure))
            return fail(context, failure)
        }
        sendOutput(context, promise: promise)
    }

    private func sendOutput(_ context: ChannelHandlerContext, promise: EventLoopPromise<Void>?) {
        context.write(Self.wrapOutboundOut(session.takeOutput()), promise: promise)
    }

    private func fail(_ context: ChannelHandlerContext, _ reason: String) {
        guard !isClosing else { return }
        isClosing = true
        for write in early { write.promise?.fail(TLSFailure(reason)) }
        early = []
        if session.outputCount > 0 {
            sendOutput(context, promise: nil)
            context.flush()
        }
        context.fireErrorCaught(TLSFailure(reason))
        context.close(promise: nil)
    }

    package func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        if mode == .all, !isClosing {
            isClosing = true
            session.sendCloseNotify()
            sendOutput(context, promise: nil)
            context.flush()
        }
        context.close(mode: mode, promise: promise)
    }

    package func channelInactive(context: ChannelHandlerContext) {
        if !isClosing {
            isClosing = true
            for write in early { write.promise?.fail(ChannelError.ioOnClosedChannel) }
            early = []
            context.fireErrorCaught(TLSFailure("the connection ended without close_notify"))
        }
        context.fireChannelInactive()
    }
}
