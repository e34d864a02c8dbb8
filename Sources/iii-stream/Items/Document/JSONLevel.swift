import IIIProtocol

/// Finds the parts of one container, and of nothing below it.
package enum JSONLevel {
    /// Ranges of names, as JSON strings, and values of the object `text`.
    package static func members(of text: ArraySlice<UInt8>) -> [(key: Range<Int>, value: Range<Int>)] {
        var found: [(Range<Int>, Range<Int>)] = []
        let base = text.startIndex
        text.withUnsafeBytes { bytes in
            var cursor = JSONCursor(bytes)
            cursor.skipWhitespace()
            guard cursor.consume(UInt8(ascii: "{")) else { return }
            cursor.skipWhitespace()
            guard cursor.peek != UInt8(ascii: "}") else { return }
            repeat {
                cursor.skipWhitespace()
                let key = cursor.position
                guard cursor.skipString() != nil else { return }
                let keyEnd = cursor.position
                cursor.skipWhitespace()
                guard cursor.consume(UInt8(ascii: ":")) else { return }
                cursor.skipWhitespace()
                let value = cursor.position
                guard cursor.skipValue() else { return }
                found.append((base + key..<base + keyEnd, base + value..<base + cursor.position))
                cursor.skipWhitespace()
            } while cursor.consume(UInt8(ascii: ","))
        }
        return found
    }

    /// Ranges of the elements of the array `text`.
    package static func elements(of text: ArraySlice<UInt8>) -> [Range<Int>] {
        var found: [Range<Int>] = []
        let base = text.startIndex
        text.withUnsafeBytes { bytes in
            var cursor = JSONCursor(bytes)
            cursor.skipWhitespace()
            guard cursor.consume(UInt8(ascii: "[")) else { return }
            cursor.skipWhitespace()
            guard cursor.peek != UInt8(ascii: "]") else { return }
            repeat {
                cursor.skipWhitespace()
                let start = cursor.position
                guard cursor.skipValue() else { return }
                found.append(base + start..<base + cursor.position)
                cursor.skipWhitespace()
            } while cursor.consume(UInt8(ascii: ","))
        }
        return found
    }

    /// `text` without the white space between its tokens; everything else stays as it was written.
    package static func compact(_ text: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        guard let first = firstSpace(text) else { return text }
        var output: [UInt8] = []
        output.reserveCapacity(text.count)
        output.append(contentsOf: text[..<first])
        var isInString = false
        var isEscaped = false
        for byte in text[first...] {
            if isInString {
                if isEscaped {
                    isEscaped = false
                } else if byte == UInt8(ascii: "\\") {
                    isEscaped = true
                } else if byte == UInt8(ascii: "\"") {
                    isInString = false
                }
            } else if byte <= 0x20 {
                continue
            } else if byte == UInt8(ascii: "\"") {
                isInString = true
            }
            output.append(byte)
        }
        return output[...]
    }

    private static func firstSpace(_ text: ArraySlice<UInt8>) -> Int? {
        let offset = text.withUnsafeBytes { bytes -> Int? in
            var cursor = JSONCursor(bytes)
            while cursor.position < cursor.end {
                let byte = cursor.peek
                if byte == UInt8(ascii: "\"") {
                    guard cursor.skipString() != nil else { return nil }
                } else if byte <= 0x20 {
                    return cursor.position
                } else {
                    cursor.position &+= 1
                }
            }
            return nil
        }
        return offset.map { text.startIndex + $0 }
    }
}
