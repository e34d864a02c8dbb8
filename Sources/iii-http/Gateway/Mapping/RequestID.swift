import IIIProtocol
import IIITransport
import NIOCore

/// The id that a request carries through logs, payload and response (http.md §20.13).
///
/// The client's own if it is 1 to 128 visible ASCII characters, else one made here: unique for the process and cheap, not secret.
enum RequestID {
    case given(String)
    case made(UUIDBits)

    static let maximumBytes = 128

    /// Whether a client's id may be echoed and logged as it is.
    static func isAcceptable(_ text: String) -> Bool {
        let bytes = text.utf8
        return !bytes.isEmpty && bytes.count <= maximumBytes && bytes.allSatisfy { $0 > 0x20 && $0 < 0x7F }
    }

    var text: String {
        switch self {
        case .given(let text): text
        case .made(let bits): bits.text
        }
    }

    /// Appends the bare text.
    @inline(__always)
    func write(to buffer: inout ByteBuffer) {
        switch self {
        case .given(let text): buffer.writeString(text)
        case .made(let bits): buffer.writeUUID(bits)
        }
    }
}

/// Makes request ids: a random start per process and a counter, mixed so that neighbours look different.
struct RequestIDSource {
    private let seed = UInt64.random(in: .min ... .max)
    private var generator = SeededGenerator(seed: UInt64.random(in: .min ... .max))

    @inline(__always)
    mutating func next() -> RequestID {
        .made(
            UUIDBits(
                high: seed & 0xFFFF_FFFF_FFFF_0FFF | 0x4000, low: generator.next() & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000))
    }
}
