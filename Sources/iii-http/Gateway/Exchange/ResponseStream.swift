import IIIProtocol
import NIOCore

/// The response channel of an exchange (docs/reference/http.md#streaming): who decides the response, and the head as collected so far.
///
/// A value without I/O. A return value beside an open channel waits: bytes that were written before it win over it, and they
/// come by another socket. Once we have all that waited in the engine, only what is still between the function and the
/// engine can be missing; `settle` is the time for that.
struct ResponseStream {
    private enum State: Equatable {
        /// Next: `open`, `closed`.
        case unopened
        /// Next: `flowing`, `lost`, `closed`.
        case open(hasCaughtUp: Bool, holdsResult: Bool)
        /// The head is out. Next: `closed`.
        case flowing
        /// It broke before a byte of it was sent on; the handler may still return. Next: `closed`.
        case lost
        /// Final.
        case closed
    }

    /// How long a return value waits for bytes that the function has written before it.
    static let settleTime = TimeAmount.milliseconds(25)

    private var state = State.unopened
    /// Integers from 200 to 599 are taken, the last one counts. Default 200.
    private(set) var status = 200
    /// By lower-case name; the last value of a name counts.
    private var headers: [String: JSONValue] = [:]
    /// Bounds what a function can pile up before the first byte of its body.
    private var headerBytes = 0
    static let maximumHeaderBytes = 256 << 10

    var isOpen: Bool {
        if case .open = state { true } else { false }
    }
    var isUnopened: Bool { state == .unopened }
    var isLost: Bool { state == .lost }
    var isFlowing: Bool { state == .flowing }
    var holdsResult: Bool {
        if case .open(_, true) = state { true } else { false }
    }

    /// False when it has been opened before.
    mutating func open() -> Bool {
        guard state == .unopened else { return false }
        state = .open(hasCaughtUp: false, holdsResult: false)
        return true
    }

    /// All that waited in the engine has come. True when a held result may settle now.
    mutating func caughtUp() -> Bool {
        guard case .open(false, let holds) = state else { return false }
        state = .open(hasCaughtUp: true, holdsResult: holds)
        return holds
    }

    /// The handler has returned a value beside the open channel. True when it may settle at once.
    mutating func hold() -> Bool {
        guard case .open(let hasCaughtUp, _) = state else { return false }
        state = .open(hasCaughtUp: hasCaughtUp, holdsResult: true)
        return hasCaughtUp
    }

    /// Body bytes have come: they decide, a held result does not count any more.
    mutating func begin() { state = .flowing }

    mutating func lose() { state = .lost }

    /// The exchange is over; what was collected stays until the response is written.
    mutating func close() { state = .closed }

    /// A text message before the first body bytes. What is no control message is ignored and never breaks the stream. False for
    /// a status that cannot be taken: that must not pass in silence.
    mutating func control(_ text: UnsafeRawBufferPointer) -> Bool {
        guard isOpen, let message = try? JSONValue(parsing: text) else { return true }
        switch message["type"]?.string {
        case "set_status":
            guard let code = message["status_code"]?.integer, (200...599).contains(code) else { return false }
            status = Int(code)
        case "set_headers":
            guard headerBytes + text.count <= Self.maximumHeaderBytes else { return true }
            headerBytes += text.count
            for (name, value) in message["headers"]?.object ?? [:] { headers[name.lowercased()] = value }
        default: break
        }
        return true
    }

    /// The collected headers as the JSON object that `ResponseHeaders` writes.
    var headersText: [UInt8] { JSONValue.object(headers).bytes }
}
