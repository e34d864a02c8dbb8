/// The id of a channel that nobody has created yet: HTTP requests carry two of them at no round trip
/// (docs/reference/worker-protocol.md#references-without-a-round-trip).
///
/// Form: `h1-<deadline, 12 hex digits of Unix milliseconds>-<nonce, 32 hex digits>-b` for the request body and `…-r` for
/// the response. Whoever holds the channel key can mint one, and whoever holds it can check one; no table is involved.
/// The access key is 32 hex digits: the first half of HMAC-SHA256(key, base id) for `-b`, the second half for `-r`, so a
/// key for one direction says nothing about the other.
///
/// The deadline bounds when a channel may first be opened. A channel in use is retired explicitly, not by it.
package struct ChannelReference: Hashable, Sendable {
    /// Which of the two channels of one HTTP request.
    package enum End: UInt8, Sendable {
        /// Written by the gateway, read by the function.
        case requestBody = 0x62
        /// Written by the function, read by the gateway.
        case response = 0x72
    }

    package static let prefix: StaticString = "h1-"
    package static let deadlineDigits = 12
    package static let nonceDigits = 32
    /// `h1-` + deadline + `-` + nonce.
    package static let baseByteCount = 3 + deadlineDigits + 1 + nonceDigits
    package static let byteCount = baseByteCount + 2
    package static let accessKeyDigits = 32

    /// Unix time in milliseconds after which the channel can no longer be opened.
    package let deadline: UInt64
    package let end: End
    /// What both ids of one request share and what is authenticated.
    package let base: [UInt8]

    /// The first half of the nonce: it tells which process minted the reference.
    package var mintPrefix: String {
        let start = 3 + Self.deadlineDigits + 1
        return String(decoding: base[start..<(start + Self.nonceDigits / 2)], as: UTF8.self)
    }

    /// The second half: what the reference stands for there.
    package var token: UInt64 {
        base[(Self.baseByteCount - 16)...].reduce(0) { $0 << 4 | UInt64(SecureBytes.nibble($1) ?? 0) }
    }

    /// Reads a channel id; nil when it does not have the form above, which says nothing about its authenticity.
    package init?(channelID: String) {
        let bytes = Array(channelID.utf8)
        guard bytes.count == Self.byteCount, bytes[Self.baseByteCount] == UInt8(ascii: "-") else { return nil }
        guard let end = End(rawValue: bytes[Self.byteCount - 1]) else { return nil }
        for index in 0..<3 where bytes[index] != Self.prefix.utf8Start[index] { return nil }
        var deadline: UInt64 = 0
        for index in 3..<(3 + Self.deadlineDigits) {
            guard let nibble = Self.lowerCaseNibble(bytes[index]) else { return nil }
            deadline = deadline << 4 | UInt64(nibble)
        }
        let nonceStart = 3 + Self.deadlineDigits + 1
        guard bytes[nonceStart - 1] == UInt8(ascii: "-") else { return nil }
        for index in nonceStart..<Self.baseByteCount where Self.lowerCaseNibble(bytes[index]) == nil { return nil }
        self.deadline = deadline
        self.end = end
        base = Array(bytes[..<Self.baseByteCount])
    }

    /// Whether `accessKey` opens this channel. `mac` is HMAC-SHA256 of `base` under the channel key. Constant time.
    package func isOpened(by accessKey: String, mac: [UInt8]) -> Bool {
        guard mac.count == HMACSHA256.byteCount else { return false }
        let half = end == .requestBody ? mac[..<16] : mac[16...]
        return SecureBytes.constantTimeEquals(Array(SecureBytes.hex(Array(half)).utf8), Array(accessKey.utf8))
    }

    /// Upper case is refused, so that one channel has one spelling.
    private static func lowerCaseNibble(_ byte: UInt8) -> UInt8? {
        byte >= 0x41 && byte <= 0x46 ? nil : SecureBytes.nibble(byte)
    }
}
