import IIIProtocol
import NIOCore

/// JSON and HTTP text written straight into a buffer.
extension ByteBuffer {
    /// Appends UTF-8 bytes as a JSON string, quotes included. Text without anything to escape is copied in one go.
    mutating func writeJSONString(_ bytes: UnsafeRawBufferPointer) {
        for byte in bytes where byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") {
            var escaped: [UInt8] = []
            escaped.reserveCapacity(bytes.count + 16)
            JSONText.appendString(bytes, to: &escaped)
            writeBytes(escaped)
            return
        }
        let count = bytes.count
        writeWithUnsafeMutableBytes(minimumWritableBytes: count + 2) { target in
            target[0] = UInt8(ascii: "\"")
            UnsafeMutableRawBufferPointer(rebasing: target[1..<(count + 1)]).copyMemory(from: bytes)
            target[count + 1] = UInt8(ascii: "\"")
            return count + 2
        }
    }

    mutating func writeJSONString(_ text: String) {
        var text = text
        text.withUTF8 { writeJSONString(UnsafeRawBufferPointer($0)) }
    }

    /// Appends `bytes` with ASCII letters in lower case.
    mutating func writeLowercased(_ bytes: UnsafeRawBufferPointer) {
        let count = bytes.count
        writeWithUnsafeMutableBytes(minimumWritableBytes: count) { target in
            for index in 0..<count { target[index] = ASCII.lowercased(bytes[index]) }
            return count
        }
    }

    mutating func writeDecimal(_ value: Int) {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 20) { digits in
            var index = 20
            var rest = value.magnitude
            repeat {
                index -= 1
                digits[index] = 0x30 + UInt8(rest % 10)
                rest /= 10
            } while rest > 0
            writeBytes(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(digits)[index...]))
        }
    }
}

/// Byte-wise ASCII text comparison.
enum ASCII {
    @inline(__always)
    static func lowercased(_ byte: UInt8) -> UInt8 { byte &- 0x41 < 26 ? byte | 0x20 : byte }

    /// Whether `bytes` equals `text`, which must be in lower case, in any letter case.
    @inline(__always)
    static func equals(_ bytes: UnsafeRawBufferPointer, _ text: StaticString) -> Bool {
        guard bytes.count == text.utf8CodeUnitCount else { return false }
        for index in 0..<bytes.count where lowercased(bytes[index]) != text.utf8Start[index] { return false }
        return true
    }

    static func equalIgnoringCase(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) -> Bool {
        guard left.count == right.count else { return false }
        for index in 0..<left.count where lowercased(left[index]) != lowercased(right[index]) { return false }
        return true
    }

    /// Whether `text`, in lower case, occurs in `bytes` in any letter case.
    static func contains(_ bytes: UnsafeRawBufferPointer, _ text: StaticString) -> Bool {
        let length = text.utf8CodeUnitCount
        guard bytes.count >= length else { return false }
        for start in 0...(bytes.count - length)
        where equals(UnsafeRawBufferPointer(rebasing: bytes[start..<(start + length)]), text) { return true }
        return false
    }

    /// `bytes` without spaces and tabs at both ends.
    static func trimmed(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        var start = 0
        var end = bytes.count
        while start < end, bytes[start] == 0x20 || bytes[start] == 0x09 { start += 1 }
        while end > start, bytes[end - 1] == 0x20 || bytes[end - 1] == 0x09 { end -= 1 }
        return UnsafeRawBufferPointer(rebasing: bytes[start..<end])
    }
}
