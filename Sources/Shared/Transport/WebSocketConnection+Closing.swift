import IIIProtocol
import NIOCore

// How a connection ends: our close handshake, the peer's, and the end of the socket (docs/reference/worker-protocol.md#closing).
extension WebSocketConnection {
    /// Starts the close handshake; the peer has `closeTimeout` to answer it.
    package func close(_ code: WebSocketCloseCode, reason: String = "") {
        startClosing(code.rawValue, reason: reason)
    }

    /// The same without a code, which clients see as 1005: how channels end (docs/reference/worker-protocol.md#channels).
    package func closeWithoutCode() { startClosing(nil, reason: "") }

    func startClosing(_ code: UInt16?, reason: String) {
        guard phase == .open else {
            if phase == .idle { phase = .closed }
            if phase == .draining { finish() }
            return
        }
        sendClose(code, reason: reason)
        scheduleHardClose(after: closeTimeout)
    }

    /// Ends the connection without waiting for the peer to read what is queued: for slow, silent or hostile peers.
    package func drop(_ code: WebSocketCloseCode) {
        if phase == .draining { return finish() }
        guard phase == .open else { return }
        sendClose(code.rawValue, reason: "")
        writeOff()
        forgetInput()
        flush()
        // The close frame may be read if the peer still reads; a peer that does not is gone in a moment either way.
        scheduleHardClose(after: .milliseconds(100))
    }

    func writeOff() {
        guard !isWrittenOff else { return }
        isWrittenOff = true
        coalescer.budget.removeOutbound(queuedBytes)
    }

    /// Cuts the TCP connection at once, so that no SDK mistakes it for a clean close (docs/reference/worker-protocol.md#closing).
    package func cut() {
        guard phase != .closed else { return }
        forgetInput()
        if phase == .draining { return finish() }
        context?.close(promise: nil)
    }

    /// The last frame: not subject to the cap on queued bytes, which may be the reason for it.
    func sendClose(_ code: UInt16?, reason: String) {
        phase = .closing
        append(.close, expectedLength: 2 &+ reason.utf8.count) { buffer in
            guard let code else { return }
            buffer.writeInteger(code)
            buffer.writeString(reason)
        }
    }

    func scheduleHardClose(after delay: TimeAmount) {
        guard let context else { return }
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        context.eventLoop.scheduleTask(in: delay) { bound.value.cut() }
    }

    /// For the caller whose scan of a text message failed: ends the connection with 1007 if the text is not even UTF-8.
    package func closeUnlessUTF8(_ bytes: UnsafeRawBufferPointer) {
        if !UTF8Validation.isValid(bytes) { close(.invalidPayload, reason: WebSocketFrameHeader.StaticReason.invalidUTF8.rawValue) }
    }

    func closeReceived(_ payload: UnsafeRawBufferPointer) {
        var code: UInt16?
        if payload.count >= 2 {
            let value = UInt16(payload[0]) << 8 | UInt16(payload[1])
            guard WebSocketFrameHeader.isLegalCloseCode(value), UTF8Validation.isValid(UnsafeRawBufferPointer(rebasing: payload[2...]))
            else {
                return closeReceivedMalformed()
            }
            code = value
        } else if payload.count == 1 {
            return closeReceivedMalformed()
        }
        peerCloseCode = code
        if phase == .open || phase == .draining {
            hasClosedCleanly = code == nil || code == WebSocketCloseCode.normal.rawValue
        }
        // Nothing counts behind it.
        if phase == .draining { return finish() }
        if phase == .open { sendClose(code, reason: "") }
        flush()
        context?.close(promise: nil)
    }

    /// The peer has said its last word, however badly: nothing is to be waited for.
    func closeReceivedMalformed() {
        if phase == .open {
            sendClose(WebSocketCloseCode.protocolError.rawValue, reason: WebSocketFrameHeader.StaticReason.malformedClose.rawValue)
        }
        flush()
        context?.close(promise: nil)
    }

    func fail(_ code: WebSocketCloseCode, _ reason: WebSocketFrameHeader.StaticReason) {
        close(code, reason: reason.rawValue)
    }

    func ended() {
        guard phase != .closed, phase != .draining else { return }
        if phase == .open, isBacklogged {
            phase = .draining
            discardOutput()
            isHeld = false
            return
        }
        finish()
    }

    func discardOutput() {
        if !isWrittenOff { coalescer.budget.removeOutbound(outgoing.readableBytes) }
        outgoing = ByteBuffer()
    }

    func finish() {
        guard phase != .closed else { return }
        phase = .closed
        forgetInput()
        discardOutput()
        connectionClosed()
    }
}
