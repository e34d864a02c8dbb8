import COpenSSL

/// SHA-1 as other protocols use it for naming things (Redis' scripts); never for authenticity.
package enum SHA1Digest {
    /// 40 lower-case hexadecimal digits.
    package static func hex(of text: String) -> String {
        var text = text
        var digest = [UInt8](repeating: 0, count: Int(SHA_DIGEST_LENGTH))
        text.withUTF8 { bytes in _ = SHA1(bytes.baseAddress, bytes.count, &digest) }
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: digest.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }
}
