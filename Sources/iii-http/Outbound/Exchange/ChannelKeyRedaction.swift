import Glibc
import IIIProtocol

/// Takes the access keys of channel references out of a payload that leaves for a remote endpoint
/// (docs/reference/worker-protocol.md#http-functions).
///
/// A reference is an object with `channel_id`, `access_key` and `direction`; a request of an `http` trigger carries two. Whoever
/// holds the key may read the request's body or write its response, so a remote endpoint gets the reference without it. All
/// other bytes stay as they are.
package enum ChannelKeyRedaction {
    /// `payload` must be well-formed JSON; anything else comes back unchanged.
    package static func redacted(_ payload: [UInt8]) -> [UInt8] {
        payload.withUnsafeBytes { bytes in
            // Cheap, and nearly always the end of it: neither the key's name nor an escape that could spell it.
            guard contains(bytes, "access_key") || contains(bytes, "\\u00") else { return payload }
            var output: [UInt8] = []
            output.reserveCapacity(payload.count)
            var cursor = JSONCursor(bytes)
            copyValue(&cursor, bytes, to: &output)
            return output
        }
    }

    private static func contains(_ bytes: UnsafeRawBufferPointer, _ needle: StaticString) -> Bool {
        guard let base = bytes.baseAddress else { return false }
        let length = needle.utf8CodeUnitCount
        var position = 0
        while position + length <= bytes.count, let hit = memchr(base + position, Int32(needle.utf8Start[0]), bytes.count - position) {
            position = UnsafeRawPointer(hit) - base
            if position + length <= bytes.count, memcmp(hit, needle.utf8Start, length) == 0 { return true }
            position += 1
        }
        return false
    }

    /// Recursion is bounded by the depth the cursor accepts.
    private static func copyValue(_ cursor: inout JSONCursor, _ bytes: UnsafeRawBufferPointer, to output: inout [UInt8]) {
        cursor.skipWhitespace()
        switch cursor.peek {
        case UInt8(ascii: "{"): copyObject(&cursor, bytes, to: &output)
        case UInt8(ascii: "["):
            _ = cursor.consume(UInt8(ascii: "["))
            output.append(UInt8(ascii: "["))
            cursor.skipWhitespace()
            var isFirst = true
            while !cursor.consume(UInt8(ascii: "]")), cursor.position < cursor.end {
                if !isFirst { output.append(UInt8(ascii: ",")) }
                isFirst = false
                copyValue(&cursor, bytes, to: &output)
                skipComma(&cursor)
            }
            output.append(UInt8(ascii: "]"))
        default:
            let start = cursor.position
            guard cursor.skipValue() else { return cursor.position = cursor.end }
            output.append(contentsOf: bytes[start..<cursor.position])
        }
    }

    private static func copyObject(_ cursor: inout JSONCursor, _ bytes: UnsafeRawBufferPointer, to output: inout [UInt8]) {
        var members: [(name: String, text: [UInt8])] = []
        _ = cursor.consume(UInt8(ascii: "{"))
        cursor.skipWhitespace()
        while !cursor.consume(UInt8(ascii: "}")), cursor.position < cursor.end {
            let start = cursor.position
            guard cursor.skipString() != nil else { return cursor.position = cursor.end }
            let literal = UnsafeRawBufferPointer(rebasing: bytes[start..<cursor.position])
            var text = Array(literal)
            cursor.skipWhitespace()
            _ = cursor.consume(UInt8(ascii: ":"))
            text.append(UInt8(ascii: ":"))
            copyValue(&cursor, bytes, to: &text)
            members.append((JSONText.decodeString(literal) ?? "", text))
            skipComma(&cursor)
        }
        let names = Set(members.map(\.name))
        let isReference = names.isSuperset(of: ["channel_id", "access_key", "direction"])
        output.append(UInt8(ascii: "{"))
        var isFirst = true
        for member in members where !(isReference && member.name == "access_key") {
            if !isFirst { output.append(UInt8(ascii: ",")) }
            isFirst = false
            output.append(contentsOf: member.text)
        }
        output.append(UInt8(ascii: "}"))
    }

    private static func skipComma(_ cursor: inout JSONCursor) {
        cursor.skipWhitespace()
        _ = cursor.consume(UInt8(ascii: ","))
        cursor.skipWhitespace()
    }
}
