import NIOCore

/// The state of one channel: who has taken which end, what waits between them, and how it ended
/// (docs/reference/worker-protocol.md#channels).
///
/// A pure value: no sockets, no clock. The owner carries out what the answers say. Messages pass straight through while the
/// reader keeps up and wait here in order otherwise, bounded in number and bytes; a single message may exceed the byte
/// limit when nothing else waits, so that every legal message fits.
package struct ChannelPipe {
    package enum End: Equatable, Sendable {
        /// May still be opened. Next: taken.
        case vacant
        /// A socket holds it. Next: gone.
        case taken
        /// Its socket has ended; it cannot be opened again. Final.
        case gone
    }

    /// How the writer ended: with a close frame of its own, or torn off.
    package enum Ending: Equatable, Sendable { case complete, broken }

    package struct Message: Equatable {
        package let isText: Bool
        package let bytes: ByteBuffer
    }

    package enum Acceptance: Equatable { case passOn, kept, discarded }

    /// Most messages and bytes that wait. Defaults 64 and 16 MiB.
    package let maximumMessages: Int
    package let maximumBytes: Int

    package private(set) var writer = End.vacant
    package private(set) var reader = End.vacant
    package private(set) var ending: Ending?
    package private(set) var waitingBytes = 0
    private var waiting = CircularBuffer<Message>()

    package init(maximumMessages: Int = 64, maximumBytes: Int = 16 << 20) {
        self.maximumMessages = maximumMessages
        self.maximumBytes = maximumBytes
    }

    package var waitingMessages: Int { waiting.count }
    /// The writer is not read while this holds.
    package var isFull: Bool { waiting.count >= maximumMessages || waitingBytes >= maximumBytes }
    /// Everything was handed to the reader, whose end may be closed now.
    package var isDelivered: Bool { ending != nil && waiting.isEmpty }

    /// Takes an end; false when somebody had it before.
    package mutating func takeWriter() -> Bool {
        guard writer == .vacant, reader != .gone else { return false }
        writer = .taken
        return true
    }

    package mutating func takeReader() -> Bool {
        guard reader == .vacant else { return false }
        reader = .taken
        return true
    }

    /// What becomes of a message. `readerKeepsUp`: little waits in the reader's socket.
    package mutating func accept(_ bytes: UnsafeRawBufferPointer, isText: Bool, readerKeepsUp: Bool) -> Acceptance {
        guard reader != .gone else { return .discarded }
        if reader == .taken, readerKeepsUp, waiting.isEmpty { return .passOn }
        waiting.append(Message(isText: isText, bytes: ByteBuffer(bytes: bytes)))
        waitingBytes += bytes.count
        return .kept
    }

    package mutating func takeNext() -> Message? {
        guard reader == .taken, let message = waiting.popFirst() else { return nil }
        waitingBytes -= message.bytes.readableBytes
        return message
    }

    package mutating func writerEnded(_ ending: Ending) {
        writer = .gone
        self.ending = ending
    }

    package mutating func readerEnded() {
        reader = .gone
        waiting.removeAll()
        waitingBytes = 0
    }
}
