import NIOCore
import NIOHTTP1

/// What has come of a connection's input and is not dealt with, and whether the client may send more.
///
/// Parts of pipelined successors wait here while a request is in work, and reading stops meanwhile: one burst of reads at most.
struct InputGate {
    private var parts = CircularBuffer<HTTPServerRequestPart>()
    /// Body bytes among `parts`.
    private(set) var waitingBytes = 0
    /// The channel has asked to read and was told to wait.
    private var isReadWanted = false
    private var sawPart = false
    /// The decoder failed behind requests that are still to be answered. It gives nothing any more.
    private(set) var failure: GatewayError?
    /// The client sends nothing more, or nothing that could be read.
    private(set) var isClosed = false
    /// Something came behind a request that was the last one: closing at once would reset the connection under its answer.
    private(set) var hasLeftovers = false
    /// Bytes of a head have come, not all of it.
    private(set) var hasPartialHead = false

    var isEmpty: Bool { parts.isEmpty }

    mutating func noteArrival() { sawPart = true }

    mutating func append(_ part: HTTPServerRequestPart) {
        if case .body(let bytes) = part { waitingBytes += bytes.readableBytes }
        parts.append(part)
    }

    mutating func popFirst() -> HTTPServerRequestPart? {
        guard let part = parts.popFirst() else { return nil }
        if case .body(let bytes) = part { waitingBytes -= bytes.readableBytes }
        return part
    }

    mutating func removeAll() {
        parts.removeAll()
        waitingBytes = 0
    }

    /// A burst of reads is over. True when it left a part of a head and nothing else.
    mutating func burstEnded(isIdle: Bool) -> Bool {
        defer { sawPart = false }
        guard !sawPart, isIdle, !hasPartialHead, failure == nil, !isClosed else { return false }
        hasPartialHead = true
        return true
    }

    mutating func headCompleted() { hasPartialHead = false }

    mutating func fail(_ error: GatewayError) { failure = error }

    mutating func takeFailure() -> GatewayError? {
        defer { failure = nil }
        return failure
    }

    mutating func noteLeftovers() { hasLeftovers = true }

    mutating func close() { isClosed = true }

    /// The channel wants to read: true lets it, false makes it wait for `takeWish`.
    mutating func wantsRead(_ mayRead: Bool) -> Bool {
        if !mayRead { isReadWanted = true }
        return mayRead
    }

    /// Whether a read waits that may go on now.
    mutating func takeWish(_ mayRead: Bool) -> Bool {
        guard isReadWanted, mayRead else { return false }
        isReadWanted = false
        return true
    }
}
