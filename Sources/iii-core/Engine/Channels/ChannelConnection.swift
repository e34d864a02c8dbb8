import IIIProtocol
import IIITransport

/// One end of a channel: a socket on `/ws/channels/{id}` (docs/reference/worker-protocol.md#channels).
package final class ChannelConnection: WebSocketConnection {
    let channels: Channels
    let channel: DataChannel
    let direction: ChannelRef.Direction
    /// False when somebody else holds the end: then this socket is closed at once and touches nothing.
    private(set) var holdsEnd = false

    init(channels: Channels, channel: DataChannel, direction: ChannelRef.Direction, limits: WebSocketLimits, coalescer: WriteCoalescer) {
        self.channels = channels
        self.channel = channel
        self.direction = direction
        super.init(role: .server, limits: limits, coalescer: coalescer)
    }

    override package func connectionOpened() {
        holdsEnd = channels.opened(self)
        // The reader may take its time with what the kernel still holds for it.
        closeTimeout = .seconds(30)
        if !holdsEnd { closeWithoutCode() }
    }

    override package func messageReceived(_ bytes: UnsafeRawBufferPointer, isText: Bool) {
        guard holdsEnd, direction == .write else { return }
        // Nothing behind a channel scans its text, so it is checked here.
        if isText, !UTF8Validation.isValid(bytes) { return closeUnlessUTF8(bytes) }
        channels.received(bytes, isText: isText, from: self)
    }

    override package func queuedBytesShrank() {
        if holdsEnd, direction == .read { channels.readerAdvanced(channel) }
    }

    override package func connectionClosed() {
        if holdsEnd { channels.ended(self) }
    }
}
