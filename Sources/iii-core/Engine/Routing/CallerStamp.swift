import Glibc
import IIIProtocol
import NIOCore

/// Puts `_caller_worker_id` into an object payload (docs/reference/worker-protocol.md#callers-id).
enum CallerStamp {
    private static let key: StaticString = #""_caller_worker_id""#

    /// Writes the object `data` with the caller's id as its last member; a value the client supplied is dropped.
    static func write(_ data: UnsafeRawBufferPointer, caller: [UInt8], to buffer: inout ByteBuffer) {
        if containsKey(data) || containsEscapedLetter(data) {
            return writeReplacing(data, caller: caller, to: &buffer)
        }
        var end = data.count &- 1
        while end > 1, data[end &- 1] <= 0x20 { end &-= 1 }
        buffer.writeBytes(UnsafeRawBufferPointer(rebasing: data[0..<end]))
        append(caller, isFirst: data[end &- 1] == UInt8(ascii: "{"), to: &buffer)
    }

    /// Whether the key's text stands anywhere in `data`: a cheap test that is almost always negative.
    private static func containsKey(_ data: UnsafeRawBufferPointer) -> Bool {
        var from = data.baseAddress.unsafelyUnwrapped
        let end = from + data.count
        let length = key.utf8CodeUnitCount
        while end - from >= length, let hit = memchr(from + 1, 0x5F, end - from - 1) {
            // `hit` is an underscore: the key's second byte, behind its opening quote.
            let start = UnsafeRawPointer(hit) - 1
            if end - start >= length, memcmp(start, key.utf8Start, length) == 0 { return true }
            from = UnsafeRawPointer(hit)
        }
        return false
    }

    /// Whether a letter or underscore is written as an escape (`\u0061`) anywhere in `data`: only then can the key hide. Encoders
    /// do not write that; what they escape (quotes, controls, non-ASCII text) does not match.
    private static func containsEscapedLetter(_ data: UnsafeRawBufferPointer) -> Bool {
        var from = data.baseAddress.unsafelyUnwrapped
        let end = from + data.count
        while let hit = memchr(from, 0x5C, end - from) {
            let escape = UnsafeRawPointer(hit)
            // The scan has seen to it that something follows a backslash, and four digits a `u`.
            if escape.load(fromByteOffset: 1, as: UInt8.self) == UInt8(ascii: "u") {
                let digits = escape.loadUnaligned(fromByteOffset: 2, as: (UInt8, UInt8, UInt8).self)
                if digits.0 == 0x30, digits.1 == 0x30, (0x35...0x37).contains(digits.2) { return true }
            }
            from = escape + 2
        }
        return false
    }

    private static func append(_ caller: [UInt8], isFirst: Bool, to buffer: inout ByteBuffer) {
        if !isFirst { buffer.writeInteger(UInt8(ascii: ",")) }
        buffer.writeStaticString(#""_caller_worker_id":""#)
        buffer.writeBytes(caller)
        buffer.writeStaticString(#""}"#)
    }

    /// `data` without what its sender put there.
    static func stripped(_ data: UnsafeRawBufferPointer) -> [UInt8] {
        guard data.first == UInt8(ascii: "{"), containsKey(data) || containsEscapedLetter(data) else { return Array(data) }
        var buffer = ByteBuffer()
        _ = writeRest(of: data, to: &buffer)
        buffer.writeInteger(UInt8(ascii: "}"))
        return Array(buffer.readableBytesView)
    }

    private static func writeReplacing(_ data: UnsafeRawBufferPointer, caller: [UInt8], to buffer: inout ByteBuffer) {
        let isFirst = writeRest(of: data, to: &buffer)
        append(caller, isFirst: isFirst, to: &buffer)
    }

    /// Copies the open object member by member, leaving out the one to be replaced. Returns whether it has no member so far.
    private static func writeRest(of data: UnsafeRawBufferPointer, to buffer: inout ByteBuffer) -> Bool {
        var cursor = JSONCursor(data)
        var isFirst = true
        buffer.writeInteger(UInt8(ascii: "{"))
        _ = cursor.consume(UInt8(ascii: "{"))
        cursor.skipWhitespace()
        while !cursor.consume(UInt8(ascii: "}")) && cursor.position < cursor.end {
            cursor.skipWhitespace()
            let start = cursor.position
            _ = cursor.skipString()
            let keyEnd = cursor.position
            cursor.skipWhitespace()
            _ = cursor.consume(UInt8(ascii: ":"))
            _ = cursor.skipValue()
            let end = cursor.position
            if JSONText.decodeString(UnsafeRawBufferPointer(rebasing: data[start..<keyEnd])) != "_caller_worker_id" {
                if !isFirst { buffer.writeInteger(UInt8(ascii: ",")) }
                isFirst = false
                buffer.writeBytes(UnsafeRawBufferPointer(rebasing: data[start..<end]))
            }
            cursor.skipWhitespace()
            _ = cursor.consume(UInt8(ascii: ","))
            cursor.skipWhitespace()
        }
        return isFirst
    }
}
