import IIIWorker
import NIOCore

/// A request body on its way from the client to the function, which may open its channel early, late or never (http.md §7.2).
///
/// Bytes wait here until the channel is open, and go out in messages of at most 64 KiB: the limit of Python readers is 1 MiB.
/// From 256 KiB waiting on the client is not read. Confined to the gateway's event loop.
final class RequestBodyPump {
    private static let maximumWaitingBytes = 256 << 10
    private static let messageLength = 64 << 10

    /// What the client has sent and the channel has not taken.
    private(set) var waiting = ByteBuffer()
    /// All that the client has sent.
    private(set) var byteCount = 0
    private var isComplete = false
    private var isDiscarding = false
    private var socket: ChannelSocket?
    /// Called when the client may be read again.
    var onRoom: (() -> Void)?

    /// Whether the client must wait.
    var isFull: Bool { !isDiscarding && waiting.readableBytes + (socket?.queuedBytes ?? 0) >= Self.maximumWaitingBytes }

    func received(_ bytes: ByteBuffer) {
        byteCount += bytes.readableBytes
        guard !isDiscarding else { return }
        if waiting.readableBytes == 0 { waiting = bytes } else { waiting.writeImmutableBuffer(bytes) }
        advance()
    }

    /// The client has sent everything.
    func completed() {
        isComplete = true
        advance()
    }

    /// The function reads: `socket` is being opened.
    func start(_ socket: ChannelSocket) {
        self.socket = socket
        socket.onOpen = { [unowned self] in advance() }
        socket.onDrained = { [unowned self] in advance() }
        socket.onEnd = { [unowned self] _ in discard() }
    }

    /// The exchange is over. What the function has not been given by now is lost to it, and it is told so.
    func stop() {
        onRoom = nil
        socket?.abort()
        discard()
    }

    private func discard() {
        socket = nil
        isDiscarding = true
        waiting = ByteBuffer()
        onRoom?()
    }

    private func advance() {
        guard let socket, socket.isOpen else { return }
        while waiting.readableBytes > 0, socket.queuedBytes < Self.maximumWaitingBytes {
            waiting.readWithUnsafeReadableBytes { bytes in
                let length = min(bytes.count, Self.messageLength)
                socket.sendBinary(UnsafeRawBufferPointer(rebasing: bytes[..<length]))
                return length
            }
        }
        if isComplete, waiting.readableBytes == 0 {
            // From here the socket looks after itself: the function gets all of it even if the exchange ends now.
            (socket.onDrained, socket.onEnd) = (nil, nil)
            self.socket = nil
            isDiscarding = true
            socket.finish()
        } else if !isFull {
            onRoom?()
        }
    }
}
