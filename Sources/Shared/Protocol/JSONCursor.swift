/// A validating cursor over JSON text: the one place that knows JSON's grammar.
///
/// It walks bytes once, checks grammar, UTF-8, escapes and nesting depth, and decodes nothing. Lone surrogate escapes are
/// grammatical (RFC 8259 §8.2) and pass. Everything that reads JSON here is built on it: the envelope scan of the hot path and `JSONValue`.
///
/// The caller keeps the bytes alive for the cursor's lifetime. Nothing is boxed and no closure is formed: both made
/// the same logic five times slower.
package struct JSONCursor {
    /// Deepest accepted nesting of arrays and objects; the reference's parser stops at the same depth.
    package static let maximumDepth = 128

    package let base: UnsafePointer<UInt8>
    package let end: Int
    package var position: Int

    @inlinable
    package init(_ bytes: UnsafeRawBufferPointer) {
        // An empty buffer may have no address; any non-null one will do because `end` is 0.
        base = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self) ?? UnsafePointer(bitPattern: 1)!
        end = bytes.count
        position = 0
    }

    package init(base: UnsafePointer<UInt8>, from start: Int, to end: Int) {
        self.base = base
        self.end = end
        position = start
    }

    @inline(__always)
    package mutating func skipWhitespace() {
        while position < end {
            let byte = base[position]
            guard byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 else { return }
            position &+= 1
        }
    }

    /// The next byte without consuming it, or 0 at the end. (NUL is never legal outside a string.)
    @inline(__always)
    package var peek: UInt8 { position < end ? base[position] : 0 }

    @inline(__always)
    package mutating func consume(_ byte: UInt8) -> Bool {
        guard position < end, base[position] == byte else { return false }
        position &+= 1
        return true
    }

    // MARK: Strings

    /// Consumes a string, opening quote included. Returns whether it holds an escape, or nil when it is malformed.
    @inline(__always)
    package mutating func skipString() -> Bool? {
        guard consume(UInt8(ascii: "\"")) else { return nil }
        var hasEscape = false
        while true {
            skipPlainBytes()
            guard position < end else { return nil }
            let byte = base[position]
            if byte == UInt8(ascii: "\"") {
                position &+= 1
                return hasEscape
            }
            if byte == UInt8(ascii: "\\") {
                hasEscape = true
                guard skipEscape() else { return nil }
            } else if byte >= 0x80 {
                guard skipMultiByteScalar() else { return nil }
            } else if byte < 0x20 {
                return nil
            } else {
                position &+= 1
            }
        }
    }

    /// Advances over bytes that need no look: not a quote, a backslash, a control byte or above ASCII. Eight at a time.
    @inline(__always)
    private mutating func skipPlainBytes() {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let highs: UInt64 = 0x8080_8080_8080_8080
        let raw = UnsafeRawPointer(base)
        while position &+ 8 <= end {
            let word = raw.loadUnaligned(fromByteOffset: position, as: UInt64.self)
            let quote = word ^ 0x2222_2222_2222_2222
            let backslash = word ^ 0x5C5C_5C5C_5C5C_5C5C
            // False positives are possible only above the first hit, so the lowest set bit is right.
            let hits =
                (((quote &- ones) & ~quote) | ((backslash &- ones) & ~backslash) | ((word &- 0x2020_2020_2020_2020) & ~word) | word)
                & highs
            if hits != 0 {
                position &+= hits.littleEndian.trailingZeroBitCount >> 3
                return
            }
            position &+= 8
        }
    }

    private mutating func skipEscape() -> Bool {
        guard position &+ 1 < end else { return false }
        switch base[position &+ 1] {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"), UInt8(ascii: "f"), UInt8(ascii: "n"),
            UInt8(ascii: "r"), UInt8(ascii: "t"):
            position &+= 2
            return true
        case UInt8(ascii: "u"):
            guard hexUnit(at: position &+ 2) != nil else { return false }
            position &+= 6
            return true
        default:
            return false
        }
    }

    package func hexUnit(at start: Int) -> UInt32? {
        guard start &+ 4 <= end else { return nil }
        var unit: UInt32 = 0
        for offset in 0..<4 {
            guard let digit = hexDigit(base[start &+ offset]) else { return nil }
            unit = unit << 4 | UInt32(digit)
        }
        return unit
    }

    /// Consumes one well-formed multi-byte UTF-8 scalar (no overlong forms, no surrogates, at most U+10FFFF).
    private mutating func skipMultiByteScalar() -> Bool {
        let length = UTF8Validation.scalarLength(base, at: position, end: end)
        position &+= length
        return length > 0
    }

    // MARK: Values

    /// Consumes one complete value of any kind, validating all of it. Iterative: nesting costs one bit, not a stack frame.
    package mutating func skipValue() -> Bool {
        // One bit a level, 1 = object; 128 levels in two words.
        var low: UInt64 = 0
        var high: UInt64 = 0
        var depth = 0
        while true {
            skipWhitespace()
            guard position < end else { return false }
            let byte = base[position]
            if byte == UInt8(ascii: "{") || byte == UInt8(ascii: "[") {
                guard depth < Self.maximumDepth else { return false }
                let isObject = byte == UInt8(ascii: "{")
                position &+= 1
                skipWhitespace()
                if peek == (isObject ? UInt8(ascii: "}") : UInt8(ascii: "]")) {
                    position &+= 1
                } else {
                    high = high << 1 | low >> 63
                    low = low << 1 | (isObject ? 1 : 0)
                    depth &+= 1
                    if isObject { guard skipKey() else { return false } }
                    continue
                }
            } else if byte == UInt8(ascii: "\"") {
                guard skipString() != nil else { return false }
            } else {
                guard skipScalar(byte) else { return false }
            }
            // A value has ended: close containers, or go on to the next member.
            while true {
                guard depth > 0 else { return true }
                skipWhitespace()
                guard position < end else { return false }
                let next = base[position]
                position &+= 1
                let inObject = low & 1 == 1
                if next == UInt8(ascii: ",") {
                    if inObject {
                        skipWhitespace()
                        guard skipKey() else { return false }
                    }
                    break
                }
                guard next == (inObject ? UInt8(ascii: "}") : UInt8(ascii: "]")) else { return false }
                low = low >> 1 | high << 63
                high >>= 1
                depth &-= 1
            }
        }
    }

    @inline(__always)
    private mutating func skipKey() -> Bool {
        guard skipString() != nil else { return false }
        skipWhitespace()
        return consume(UInt8(ascii: ":"))
    }

    @inline(__always)
    private mutating func skipScalar(_ first: UInt8) -> Bool {
        if first == UInt8(ascii: "t") { return consumeLiteral("true") }
        if first == UInt8(ascii: "f") { return consumeLiteral("false") }
        if first == UInt8(ascii: "n") { return consumeLiteral("null") }
        return skipNumber()
    }

    @inline(__always)
    private mutating func consumeLiteral(_ literal: StaticString) -> Bool {
        let length = literal.utf8CodeUnitCount
        guard position &+ length <= end else { return false }
        for offset in 0..<length where base[position &+ offset] != literal.utf8Start[offset] { return false }
        position &+= length
        return true
    }

    private mutating func skipNumber() -> Bool {
        _ = consume(UInt8(ascii: "-"))
        if consume(UInt8(ascii: "0")) {
            // A leading zero stands alone.
        } else {
            guard skipDigits() else { return false }
        }
        if consume(UInt8(ascii: ".")) {
            guard skipDigits() else { return false }
        }
        if peek | 0x20 == UInt8(ascii: "e") {
            position &+= 1
            if !consume(UInt8(ascii: "+")) { _ = consume(UInt8(ascii: "-")) }
            guard skipDigits() else { return false }
        }
        return true
    }

    @inline(__always)
    private mutating func skipDigits() -> Bool {
        let start = position
        while position < end, base[position] &- 0x30 < 10 { position &+= 1 }
        return position > start
    }
}

/// The value of an ASCII hexadecimal digit of either case.
@inline(__always)
package func hexDigit(_ byte: UInt8) -> UInt8? {
    let decimal = byte &- 0x30
    if decimal < 10 { return decimal }
    let letter = (byte | 0x20) &- 0x61
    return letter < 6 ? letter &+ 10 : nil
}
