import IIIProtocol
import IIITransport
import NIOCore

/// The id that a request carries through logs, payload and response (docs/reference/http.md#request-ids).
///
/// The client's own if it is 1 to 128 visible ASCII characters, else one made here: unique for the process and cheap, not secret.
///
/// A plain struct because it is copied with every response's form: an enum of these two costs runtime calls per copy.
struct RequestID {
    let made: UUIDBits
    /// Takes precedence.
    let given: String?

    static let maximumBytes = 128

    /// Whether a client's id may be echoed and logged as it is.
    static func isAcceptable(_ text: String) -> Bool {
        let bytes = text.utf8
        return !bytes.isEmpty && bytes.count <= maximumBytes && bytes.allSatisfy { $0 > 0x20 && $0 < 0x7F }
    }

    var text: String { given ?? made.text }

    /// Appends the bare text.
    @inline(__always)
    func write(to buffer: inout ByteBuffer) {
        if let given { buffer.writeString(given) } else { buffer.writeUUID(made) }
    }
}

/// Makes request ids: a random start per process and a counter, mixed so that neighbours look different.
struct RequestIDSource {
    private let seed = UInt64.random(in: .min ... .max)
    private var generator = SeededGenerator(seed: UInt64.random(in: .min ... .max))

    /// The id of the next request, `given` if that is acceptable.
    @inline(__always)
    mutating func next(given: String?) -> RequestID {
        let bits = UUIDBits(
            high: seed & 0xFFFF_FFFF_FFFF_0FFF | 0x4000, low: generator.next() & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000)
        return RequestID(made: bits, given: given.flatMap { RequestID.isAcceptable($0) ? $0 : nil })
    }
}
