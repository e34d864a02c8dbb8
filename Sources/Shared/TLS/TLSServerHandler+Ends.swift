import NIOCore

// How a TLS connection ends: by us, by a refusal, by a failure.
extension TLSServerHandler {
    package func triggerUserOutboundEvent(context: ChannelHandlerContext, event: Any, promise: EventLoopPromise<Void>?) {
        guard event is TLSUncleanClose else { return context.triggerUserOutboundEvent(event, promise: promise) }
        closesUncleanly = true
        promise?.succeed(())
    }

    package func close(context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?) {
        switch (mode, state) {
        case (.output, .open):
            if !pending.isEmpty { encrypt(context) }
            guard state == .open else { return context.close(promise: promise) }
            state = .outputClosed
            if !closesUncleanly { session.sendCloseNotify() }
            closeOutputAfterLastBytes(context, promise: promise)
        case (.input, _), (.output, .outputClosed), (.output, .refused), (.output, .closed):
            context.close(mode: mode, promise: promise)
        case (.all, _), (.output, .awaitingBytes), (.output, .handshaking):
            // A peer that has let output pile up would not see a close_notify behind it either.
            let says = state == .open && !closesUncleanly && context.channel.isWritable
            end(ChannelError.ioOnClosedChannel)
            if says { sayAndClose(context, promise: promise) } else { context.close(promise: promise) }
        }
    }

    /// Closes once the close_notify is out. Flushing and closing at once would lose it where we are called out of a write that has
    /// just completed: the channel does not write then.
    private func sayAndClose(_ context: ChannelHandlerContext, promise: EventLoopPromise<Void>?) {
        session.sendCloseNotify()
        let written = context.eventLoop.makePromise(of: Void.self)
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        timeout = context.eventLoop.scheduleTask(in: Self.closeTime) { bound.value.1.close(promise: nil) }
        written.futureResult.whenComplete { _ in
            let (handler, context) = bound.value
            handler.timeout?.cancel()
            handler.timeout = nil
            context.close(promise: promise)
        }
        writeOutput(context, promise: written)
        context.flush()
    }

    /// The peer gets what is in `output`, then the end of the stream.
    private func closeOutputAfterLastBytes(_ context: ChannelHandlerContext, promise: EventLoopPromise<Void>?) {
        let written = context.eventLoop.makePromise(of: Void.self)
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        written.futureResult.whenComplete { _ in
            let context = bound.value
            context.close(mode: .output, promise: promise)
        }
        writeOutput(context, promise: written)
        context.flush()
    }

    func refusePlaintext(_ context: ChannelHandlerContext) {
        state = .refused
        endpoint.happened(.plaintextRefused)
        failPending(Failure.broken("plain HTTP"))
        let answer: StaticString =
            "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: 20\r\nconnection: close\r\n\r\nthis port speaks TLS"
        var output = ByteBuffer()
        output.writeStaticString(answer)
        let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
        let written = context.eventLoop.makePromise(of: Void.self)
        written.futureResult.whenComplete { _ in bound.value.close(mode: .output, promise: nil) }
        context.writeAndFlush(Self.wrapOutboundOut(output), promise: written)
    }

    /// The alert goes out. Before the handshake nobody behind has seen anything: the peer gets time to read the alert, for a
    /// close with unread input would take it away. Afterwards the handlers behind must know.
    func fail(_ context: ChannelHandlerContext, _ reason: String) {
        guard state != .closed, state != .refused else { return }
        state = .refused
        failPending(Failure.broken(reason))
        if session.isEstablished {
            endpoint.happened(.connectionFailed(reason))
            writeOutput(context, promise: nil)
            context.flush()
            context.fireErrorCaught(Failure.broken(reason))
            context.close(promise: nil)
        } else {
            endpoint.happened(.handshakeFailed(reason))
            closeOutputAfterLastBytes(context, promise: nil)
        }
    }
}
