/// The members of one JSON object with their values still as text, so that what is only passed on keeps every byte.
package struct JSONMembers {
    private let bytes: UnsafeRawBufferPointer
    private var spans: [String: ByteSpan] = [:]

    /// `bytes` outlive the value. nil unless they are exactly one well-formed object. Duplicate keys: the last one wins.
    package init?(_ bytes: UnsafeRawBufferPointer) {
        self.bytes = bytes
        var cursor = JSONCursor(bytes)
        cursor.skipWhitespace()
        guard cursor.consume(UInt8(ascii: "{")) else { return nil }
        cursor.skipWhitespace()
        if !cursor.consume(UInt8(ascii: "}")) {
            repeat {
                cursor.skipWhitespace()
                let keyStart = cursor.position
                guard cursor.skipString() != nil else { return nil }
                let key = JSONText.decodeString(UnsafeRawBufferPointer(rebasing: bytes[keyStart..<cursor.position]))
                cursor.skipWhitespace()
                guard let key, cursor.consume(UInt8(ascii: ":")) else { return nil }
                cursor.skipWhitespace()
                let start = cursor.position
                guard cursor.skipValue() else { return nil }
                spans[key] = ByteSpan(start: start, length: cursor.position - start)
                cursor.skipWhitespace()
            } while cursor.consume(UInt8(ascii: ","))
            guard cursor.consume(UInt8(ascii: "}")) else { return nil }
        }
        cursor.skipWhitespace()
        guard cursor.position == cursor.end else { return nil }
    }

    /// Where each value stands in `bytes`.
    package var ranges: [String: Range<Int>] { spans.mapValues { Int($0.start)..<Int($0.start + $0.length) } }

    /// The value's text; nil when the member is absent or `null`.
    package func raw(_ key: String) -> [UInt8]? {
        guard let span = spans[key] else { return nil }
        let text = span.of(bytes)
        return text.elementsEqual("null".utf8) ? nil : Array(text)
    }

    /// The decoded value; nil when the member is absent or `null`.
    package subscript(key: String) -> JSONValue? {
        raw(key).flatMap { try? JSONValue(parsing: $0) }
    }
}
