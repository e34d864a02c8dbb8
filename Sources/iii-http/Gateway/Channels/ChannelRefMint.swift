import IIICrypto
import NIOCore

/// Makes the two channel refs of every request without a round trip
/// (docs/reference/worker-protocol.md#references-without-a-round-trip).
///
/// Both are one text of fixed length in which only deadline, nonce and keys change: a request costs one HMAC and one copy.
/// The nonce is 64 random bits of this process, which the core knows as its prefix, and the token of the exchange, by which
/// the gateway finds it again; it need not be secret, the access keys are. Confined to the gateway's event loop.
final class ChannelRefMint {
    private let mac: HMACSHA256
    private var text: [UInt8]
    private var digest = [UInt8](repeating: 0, count: HMACSHA256.byteCount)
    /// What all references of this process have in common: 16 hex digits.
    let prefix: String

    private let bodyIDOffset: Int
    private let bodyKeyOffset: Int
    private let responseIDOffset: Int
    private let responseKeyOffset: Int

    /// `key` is the channel key that the core handed out with `core::builtin::hello`.
    init(key: [UInt8]) {
        mac = HMACSHA256(key: key)
        var text: [UInt8] = []
        func appendReference(_ member: String, suffix: String, direction: String) -> (id: Int, key: Int) {
            text.append(contentsOf: "\"\(member)\":{\"channel_id\":\"".utf8)
            let id = text.count
            text.append(contentsOf: "h1-".utf8)
            text.append(contentsOf: [UInt8](repeating: UInt8(ascii: "0"), count: ChannelReference.baseByteCount - 3))
            text[id + 3 + ChannelReference.deadlineDigits] = UInt8(ascii: "-")
            text.append(contentsOf: "-\(suffix)\",\"access_key\":\"".utf8)
            let key = text.count
            text.append(contentsOf: [UInt8](repeating: UInt8(ascii: "0"), count: ChannelReference.accessKeyDigits))
            text.append(contentsOf: "\",\"direction\":\"\(direction)\"}".utf8)
            return (id, key)
        }
        (bodyIDOffset, bodyKeyOffset) = appendReference("request_body", suffix: "b", direction: "read")
        text.append(UInt8(ascii: ","))
        (responseIDOffset, responseKeyOffset) = appendReference("response", suffix: "r", direction: "write")
        let nonceStart = bodyIDOffset + 3 + ChannelReference.deadlineDigits + 1
        let random = SecureBytes.random(count: 8)
        prefix = SecureBytes.hex(random)
        text.withUnsafeMutableBytes { bytes in
            random.withUnsafeBytes { SecureBytes.writeHex($0, to: UnsafeMutableRawBufferPointer(rebasing: bytes[nonceStart...])) }
        }
        self.text = text
    }

    /// Prepares the refs of an exchange; they may be opened until `deadline`, Unix time in milliseconds.
    func advance(token: UInt64, deadline: UInt64) {
        text.withUnsafeMutableBytes { text in
            let base = UnsafeMutableRawBufferPointer(rebasing: text[bodyIDOffset..<(bodyIDOffset + ChannelReference.baseByteCount)])
            Self.writeHex(deadline, digits: ChannelReference.deadlineDigits, to: base, at: 3)
            Self.writeHex(token, digits: 16, to: base, at: ChannelReference.baseByteCount - 16)
            UnsafeMutableRawBufferPointer(rebasing: text[responseIDOffset..<(responseIDOffset + base.count)])
                .copyMemory(from: UnsafeRawBufferPointer(base))
            digest.withUnsafeMutableBytes { digest in
                mac.authenticate(UnsafeRawBufferPointer(base), into: digest)
                let halves = UnsafeRawBufferPointer(digest)
                SecureBytes.writeHex(
                    UnsafeRawBufferPointer(rebasing: halves[..<16]), to: UnsafeMutableRawBufferPointer(rebasing: text[bodyKeyOffset...]))
                SecureBytes.writeHex(
                    UnsafeRawBufferPointer(rebasing: halves[16...]), to: UnsafeMutableRawBufferPointer(rebasing: text[responseKeyOffset...])
                )
            }
        }
    }

    /// Appends `"request_body":{…},"response":{…}` for the request last prepared.
    func writeMembers(to buffer: inout ByteBuffer) { buffer.writeBytes(text) }

    private static func writeHex(_ value: UInt64, digits: Int, to target: UnsafeMutableRawBufferPointer, at offset: Int) {
        var rest = value
        for index in stride(from: offset + digits - 1, through: offset, by: -1) {
            target[index] = SecureBytes.hexCharacter(UInt8(rest & 15))
            rest >>= 4
        }
    }
}
