import IIIProtocol
import IIITransport
import NIOCore

/// One end of a channel on its own socket to the engine (docs/reference/worker-protocol.md#channels). Confined to the
/// link's event loop.
///
/// The callbacks are dropped when the socket ends, so whoever they capture is let go.
package final class ChannelSocket: WebSocketConnection {
    package enum Ending: Equatable { case complete, broken }

    /// The socket is open. Messages may be sent from now on.
    package var onOpen: (() -> Void)?
    /// One message; the bytes are valid during the call only.
    package var onMessage: ((_ bytes: UnsafeRawBufferPointer, _ isText: Bool) -> Void)?
    /// All that waited in the engine when this reader came has been received.
    package var onCaughtUp: (() -> Void)?
    /// Bytes left for the engine: `queuedBytes` has shrunk.
    package var onDrained: (() -> Void)?
    /// The end, once: also when the socket could not be opened.
    package var onEnd: ((Ending) -> Void)?

    /// Messages up to the engine's own limit; the engine bounds what waits.
    package init(coalescer: WriteCoalescer) {
        super.init(role: .client, limits: WebSocketLimits(), coalescer: coalescer)
        closeTimeout = .seconds(30)
    }

    package var isOpen: Bool { phase == .open }

    private var isAborted = false

    override package func connectionOpened() {
        if isAborted { return cut() }
        onOpen?()
    }

    override package func messageReceived(_ bytes: UnsafeRawBufferPointer, isText: Bool) { onMessage?(bytes, isText) }
    override package func pingReceived() { onCaughtUp?() }
    override package func queuedBytesShrank() { onDrained?() }
    override package func connectionClosed() { ended(hasClosedCleanly ? .complete : .broken) }

    /// All that was sent is the whole: the reader gets it and then its end.
    package func finish() { close(.normal) }

    /// What was sent is not the whole, or nobody reads any more: the other end is told so.
    package func abort() {
        isAborted = true
        onEnd = nil
        ended(.broken)
        if phase == .open { drop(.internalError) } else { cut() }
    }

    fileprivate func ended(_ ending: Ending) {
        let report = onEnd
        (onOpen, onMessage, onCaughtUp, onDrained, onEnd) = (nil, nil, nil, nil, nil)
        report?(ending)
    }
}

extension WorkerLink {
    /// Opens the end that `ref` stands for; `socket` reports what happens. Needs no registration and survives the link.
    package func open(_ ref: ChannelRef, with socket: ChannelSocket) {
        let bound = NIOLoopBound(socket, eventLoop: eventLoop)
        WebSocketDialer.connect(
            to: options.url.channel(ref), headers: options.headers, timeout: options.connectTimeout, connection: socket, on: eventLoop
        ).whenFailure { _ in bound.value.ended(.broken) }
    }

    package func makeChannelSocket() -> ChannelSocket { ChannelSocket(coalescer: coalescer) }
}

extension WebSocketURL {
    /// The endpoint of a channel behind this base address; a query of the base is kept.
    func channel(_ ref: ChannelRef) -> WebSocketURL {
        let parts = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        var path = String(parts[0])
        while path.hasSuffix("/") { path.removeLast() }
        let query = parts.count > 1 && !parts[1].isEmpty ? "\(parts[1])&" : ""
        return WebSocketURL(
            host: host, port: port,
            target: "\(path)/ws/channels/\(ref.channelID)?\(query)key=\(ref.accessKey)&dir=\(ref.direction.rawValue)")
    }
}
