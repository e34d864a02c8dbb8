/// Rules for names of HTTP header fields.
package enum HTTPFieldName {
    /// RFC 9110 §5.6.2.
    package static func isToken(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard !bytes.isEmpty else { return false }
        for byte in bytes {
            let isLetter = (byte | 0x20) &- 0x61 < 26
            let isDigit = byte &- 0x30 < 10
            guard isLetter || isDigit || marks.contains(byte) else { return false }
        }
        return true
    }

    package static func isToken(_ text: String) -> Bool {
        var text = text
        return text.withUTF8 { isToken(UnsafeRawBufferPointer($0)) }
    }

    package static func belongsToFraming(_ text: String) -> Bool {
        var text = text
        return text.withUTF8 { belongsToFraming(UnsafeRawBufferPointer($0)) }
    }

    private static let marks: Set<UInt8> = Set("!#$%&'*+-.^_`|~".utf8)

    /// Fields that only an HTTP implementation itself may set, because they frame the message. `name` is a token, in any case of letters.
    package static func belongsToFraming(_ name: UnsafeRawBufferPointer) -> Bool {
        switch name.count {
        case 2: equals(name, "te")
        case 7: equals(name, "trailer") || equals(name, "upgrade")
        case 10: equals(name, "connection") || equals(name, "keep-alive")
        case 14: equals(name, "content-length")
        case 16: equals(name, "proxy-connection")
        case 17: equals(name, "transfer-encoding")
        default: false
        }
    }

    @inline(__always)
    private static func equals(_ name: UnsafeRawBufferPointer, _ lowered: StaticString) -> Bool {
        var position = lowered.utf8Start
        for byte in name {
            // `-` is 0x2D and has the bit that makes letters small already.
            if byte | 0x20 != position.pointee { return false }
            position += 1
        }
        return true
    }
}
