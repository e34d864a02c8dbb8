import IIIProtocol
import NIOCore

/// A request body between the client and the function, which may open its channel early, late or never
/// (docs/reference/http.md#streaming).
///
/// A value without I/O. Bytes wait here until the channel is open and go out in messages of at most 64 KiB, because readers of
/// Python SDKs take at most 1 MiB. From 256 KiB waiting on the client is not read; a JSON body is collected whole instead,
/// within `body_limit`. What waits counts against the gateway's `max_buffered_bytes`.
struct RequestBody {
    enum Message: Equatable {
        case send(ByteBuffer)
        /// Everything has been sent: the channel ends when it is out.
        case finish
    }

    private enum Outlet {
        /// Nobody has asked for the body. Next: `opening`, `closed`.
        case unopened
        /// Its channel is being opened. Next: `open`, `closed`.
        case opening
        /// Next: `closed`.
        case open
        /// All is sent, or nobody wants it: what comes is discarded. Final.
        case closed
    }

    static let waitingLimit = 256 << 10
    static let messageLength = 64 << 10

    private var outlet = Outlet.unopened
    /// What the client has sent and the function has not taken.
    private var waiting = ByteBuffer()
    /// In the channel's socket as far as known.
    private var queuedBytes = 0
    private var hasSaidContinue = false
    private(set) var receivedBytes = 0
    /// Whether all of the request has come. True between requests.
    private(set) var hasEnded = true

    var waitingBytes: Int { waiting.readableBytes }

    /// Whether the client must wait.
    var isFull: Bool { outlet != .closed && waiting.readableBytes + queuedBytes >= Self.waitingLimit }

    /// A head has come: this is the body of another request.
    mutating func begin() {
        self = RequestBody()
        hasEnded = false
    }

    mutating func received(_ bytes: ByteBuffer) {
        receivedBytes += bytes.readableBytes
        guard outlet != .closed else { return }
        if waiting.readableBytes == 0 { waiting = bytes } else { waiting.writeImmutableBuffer(bytes) }
    }

    mutating func end() { hasEnded = true }

    /// Whether the client is to be told to send: once, and only while it still waits for that.
    mutating func invites(_ plan: RequestPlan) -> Bool {
        guard plan.expectsContinue, plan.hasBody, !hasSaidContinue, receivedBytes == 0, !hasEnded else { return false }
        hasSaidContinue = true
        return true
    }

    /// Whether a response now leaves it unknown what the client sends next, or leaves too much of it to read over.
    func obstructs(_ plan: RequestPlan) -> Bool {
        guard !hasEnded else { return false }
        // Nobody knows whether a client that still waits for `100 Continue` will send its body after all.
        if plan.expectsContinue, plan.hasBody, !hasSaidContinue { return true }
        return plan.contentLength.map { $0 - receivedBytes > plan.discardLimit } ?? false
    }

    /// The response is out: from here on bytes are only counted.
    mutating func discardRest() {
        discard()
        receivedBytes = 0
    }

    /// The body as JSON for the payload; nil when it is none. A byte order mark is not part of it (RFC 8259 §8.1).
    func collected() -> ByteBuffer? {
        var text = waiting
        if text.starts(with: [0xEF, 0xBB, 0xBF]) { text.moveReaderIndex(forwardBy: 3) }
        guard text.readableBytes > 0, text.withUnsafeReadableBytes({ JSONText.isValid($0) }) else { return nil }
        return text
    }

    // MARK: Channel

    /// The function wants it. False when it has done so already.
    mutating func open() -> Bool {
        guard outlet == .unopened else { return false }
        outlet = .opening
        return true
    }

    mutating func opened() {
        if outlet == .opening { outlet = .open }
    }

    mutating func drained(queuedBytes: Int) { self.queuedBytes = queuedBytes }

    /// Nobody takes it any more.
    mutating func discard() {
        outlet = .closed
        waiting = ByteBuffer()
        queuedBytes = 0
    }

    /// Whether there is a socket that takes messages.
    var isOpen: Bool { outlet == .open }

    /// What the socket is to be given next; nil when there is nothing, or it has enough.
    mutating func nextMessage() -> Message? {
        guard outlet == .open else { return nil }
        if waiting.readableBytes > 0 {
            let length = min(waiting.readableBytes, Self.messageLength)
            guard queuedBytes < Self.waitingLimit, let slice = waiting.readSlice(length: length) else { return nil }
            queuedBytes += length
            return .send(slice)
        }
        guard hasEnded else { return nil }
        discard()
        return .finish
    }
}

extension ByteBuffer {
    fileprivate func starts(with prefix: [UInt8]) -> Bool {
        readableBytes >= prefix.count && readableBytesView.prefix(prefix.count).elementsEqual(prefix)
    }
}
