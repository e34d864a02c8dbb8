import COpenSSL

/// The `Sec-WebSocket-Accept` value for a client's key (RFC 6455 §4.2.2): base64 of SHA-1 over the key and a fixed GUID.
package func webSocketAccept(forKey key: String) -> String {
    let input = Array((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").utf8)
    var digest = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
    var length: UInt32 = 0
    EVP_Digest(input, input.count, &digest, &length, EVP_sha1(), nil)
    return base64(Array(digest.prefix(Int(length))))
}

/// Standard base64 with padding.
package func base64(_ bytes: [UInt8]) -> String {
    // EVP_EncodeBlock writes 4 bytes for every 3 and a terminating NUL.
    var encoded = [UInt8](repeating: 0, count: (bytes.count + 2) / 3 * 4 + 1)
    let count = EVP_EncodeBlock(&encoded, bytes, Int32(bytes.count))
    return String(decoding: encoded.prefix(Int(count)), as: UTF8.self)
}
