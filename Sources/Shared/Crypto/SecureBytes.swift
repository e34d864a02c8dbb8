import COpenSSL

/// Random bytes, comparison of secrets, and hexadecimal text.
package enum SecureBytes {
    /// Unpredictable bytes from OpenSSL's generator. Without entropy there is no safe way on, so failure ends the process.
    package static func random(count: Int) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
            precondition(RAND_bytes(buffer.baseAddress, CInt(count)) == 1, "no entropy")
            initialized = count
        }
    }

    /// Whether both are equal, in time that depends on the lengths only. Use it wherever a secret is compared.
    package static func constantTimeEquals(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) -> Bool {
        guard left.count == right.count else { return false }
        guard let first = left.baseAddress, let second = right.baseAddress else { return true }
        return CRYPTO_memcmp(first, second, left.count) == 0
    }

    package static func constantTimeEquals(_ left: [UInt8], _ right: [UInt8]) -> Bool {
        left.withUnsafeBytes { first in right.withUnsafeBytes { second in constantTimeEquals(first, second) } }
    }

    /// Lower-case hexadecimal text of `bytes`.
    package static func hex(_ bytes: [UInt8]) -> String {
        var output = [UInt8](repeating: 0, count: bytes.count * 2)
        output.withUnsafeMutableBytes { target in bytes.withUnsafeBytes { writeHex($0, to: target) } }
        return String(decoding: output, as: UTF8.self)
    }

    /// Writes the lower-case hexadecimal text of `bytes` to the start of `output`, which must be twice as long.
    package static func writeHex(_ bytes: UnsafeRawBufferPointer, to output: UnsafeMutableRawBufferPointer) {
        precondition(output.count >= bytes.count * 2)
        for (index, byte) in bytes.enumerated() {
            output[index * 2] = hexCharacter(byte >> 4)
            output[index * 2 + 1] = hexCharacter(byte & 15)
        }
    }

    /// The bytes that hexadecimal text of either case stands for; nil when it is not such a text.
    package static func bytes(hex text: String) -> [UInt8]? {
        var output: [UInt8] = []
        var high: UInt8?
        for character in text.utf8 {
            guard let nibble = nibble(character) else { return nil }
            if let upper = high {
                output.append(upper << 4 | nibble)
                high = nil
            } else {
                high = nibble
            }
        }
        return high == nil ? output : nil
    }

    @inline(__always)
    package static func hexCharacter(_ nibble: UInt8) -> UInt8 { nibble < 10 ? 0x30 &+ nibble : 0x57 &+ nibble }

    @inline(__always)
    package static func nibble(_ character: UInt8) -> UInt8? {
        let decimal = character &- 0x30
        if decimal < 10 { return decimal }
        let letter = (character | 0x20) &- 0x61
        return letter < 6 ? letter &+ 10 : nil
    }
}
