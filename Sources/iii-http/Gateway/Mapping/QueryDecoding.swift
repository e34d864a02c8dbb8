import IIIProtocol
import NIOCore

/// `application/x-www-form-urlencoded` query text as a JSON object of strings (docs/reference/http.md#what-a-function-gets).
///
/// `+` is a space, `%XX` a byte, a broken escape stays as it is, bytes that are not UTF-8 become U+FFFD, a key without `=`
/// has the value `""`, and the last of several equal keys wins. The URI limit (16 KiB) bounds the work.
enum QueryDecoding {
    private struct Pair {
        let key: Range<Int>
        let value: Range<Int>
    }

    /// Up to here equal keys are found by comparing pairs; beyond, by a dictionary, so that hostile input stays linear.
    private static let pairwiseLimit = 32

    static func writeObject(_ query: UnsafeRawBufferPointer, to buffer: inout ByteBuffer) {
        guard !query.isEmpty else {
            buffer.writeStaticString("{}")
            return
        }
        let (text, pairs) = split(query)
        text.withUnsafeBytes { write(pairs, of: $0, to: &buffer) }
    }

    /// The same with every value: an object of arrays, in order of first occurrence
    /// (docs/reference/http.md#members-of-extended_request).
    static func writeAll(_ query: UnsafeRawBufferPointer, to buffer: inout ByteBuffer) {
        let (text, pairs) = split(query)
        var all = TextLists()
        for pair in pairs {
            all.add(String(decoding: text[pair.key], as: UTF8.self), String(decoding: text[pair.value], as: UTF8.self))
        }
        all.write(to: &buffer)
    }

    private static func split(_ query: UnsafeRawBufferPointer) -> (text: [UInt8], pairs: [Pair]) {
        var text: [UInt8] = []
        text.reserveCapacity(query.count)
        var pairs: [Pair] = []
        var position = 0
        while position < query.count {
            var end = position
            var separator: Int?
            while end < query.count, query[end] != UInt8(ascii: "&") {
                if separator == nil, query[end] == UInt8(ascii: "=") { separator = end }
                end += 1
            }
            if end > position {
                let key = decode(query, position..<(separator ?? end), to: &text)
                let value = decode(query, min((separator ?? end) + 1, end)..<end, to: &text)
                pairs.append(Pair(key: key, value: value))
            }
            position = end + 1
        }
        return (text, pairs)
    }

    private static func write(_ pairs: [Pair], of text: UnsafeRawBufferPointer, to buffer: inout ByteBuffer) {
        func bytes(_ range: Range<Int>) -> UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: text[range]) }
        var lastIndex: [[UInt8]: Int] = [:]
        let usesTable = pairs.count > pairwiseLimit
        if usesTable {
            for (index, pair) in pairs.enumerated() { lastIndex[Array(bytes(pair.key))] = index }
        }
        buffer.writeInteger(UInt8(ascii: "{"))
        var isFirst = true
        for (index, pair) in pairs.enumerated() {
            let isRepeated =
                usesTable
                ? lastIndex[Array(bytes(pair.key))] != index
                : pairs[(index + 1)...].contains { bytes($0.key).elementsEqual(bytes(pair.key)) }
            if isRepeated { continue }
            if !isFirst { buffer.writeInteger(UInt8(ascii: ",")) }
            isFirst = false
            buffer.writeJSONString(bytes(pair.key))
            buffer.writeInteger(UInt8(ascii: ":"))
            buffer.writeJSONString(bytes(pair.value))
        }
        buffer.writeInteger(UInt8(ascii: "}"))
    }

    /// Appends the decoded text of `range` and returns where it stands in `output`.
    private static func decode(_ query: UnsafeRawBufferPointer, _ range: Range<Int>, to output: inout [UInt8]) -> Range<Int> {
        let start = output.count
        var isASCII = true
        var index = range.lowerBound
        while index < range.upperBound {
            var byte = query[index]
            index += 1
            if byte == UInt8(ascii: "+") {
                byte = 0x20
            } else if byte == UInt8(ascii: "%"), index + 1 < range.upperBound, let high = hexDigit(query[index]),
                let low = hexDigit(query[index + 1])
            {
                byte = high << 4 | low
                index += 2
            }
            if byte >= 0x80 { isASCII = false }
            output.append(byte)
        }
        if !isASCII, !output[start...].withUnsafeBytes({ UTF8Validation.isValid($0) }) {
            let repaired = Array(String(decoding: output[start...], as: UTF8.self).utf8)
            output.replaceSubrange(start..., with: repaired)
        }
        return start..<output.count
    }
}
