import IIICrypto

/// Weak entity tags of buffered responses (docs/reference/http.md#compression-and-entity-tags). Weak, because the same body
/// may also go out compressed.
final class EntityTags {
    private let mac = HMACSHA256(key: [])

    /// `W/"…"` over the body's bytes.
    func weakTag(of body: UnsafeRawBufferPointer) -> String {
        var digest = [UInt8](repeating: 0, count: HMACSHA256.byteCount)
        digest.withUnsafeMutableBytes { mac.authenticate(body, into: $0) }
        return "W/\"\(SecureBytes.hex(Array(digest.prefix(16))))\""
    }

    /// Weak comparison with an `if-none-match` list (RFC 9110 §13.1.2).
    static func matches(_ tag: String, _ known: String) -> Bool {
        let opaque = tag.dropFirst(2)
        return known.split(separator: ",").contains { entry in
            let text = entry.drop { $0 == " " || $0 == "\t" }.prefix { $0 != " " && $0 != "\t" }
            return text == "*" || text == tag || text == opaque
        }
    }
}
