import IIIProtocol

extension JSONCursor {
    /// Consumes one value of any depth, `NaN` and `Infinity` without quotes included, as Python writes them. Iterative: a level costs one bit.
    mutating func skipLeniently() -> Bool {
        // One bit a level, 1 = object.
        var levels: [UInt64] = []
        var depth = 0
        while true {
            skipWhitespace()
            switch peek {
            case UInt8(ascii: "{"), UInt8(ascii: "["):
                let isObject = peek == UInt8(ascii: "{")
                position += 1
                skipWhitespace()
                if consume(isObject ? UInt8(ascii: "}") : UInt8(ascii: "]")) { break }
                if depth % 64 == 0 { levels.append(0) }
                levels[depth / 64] = levels[depth / 64] << 1 | (isObject ? 1 : 0)
                depth += 1
                if isObject { guard skipMemberName() else { return false } }
                continue
            case UInt8(ascii: "\""): guard skipString() != nil else { return false }
            default: guard skipBareNumber() || skipValue() else { return false }
            }
            while true {
                guard depth > 0 else { return true }
                skipWhitespace()
                let isObject = levels[(depth - 1) / 64] & 1 == 1
                if consume(UInt8(ascii: ",")) {
                    if isObject {
                        skipWhitespace()
                        guard skipMemberName() else { return false }
                    }
                    break
                }
                guard consume(isObject ? UInt8(ascii: "}") : UInt8(ascii: "]")) else { return false }
                depth -= 1
                levels[depth / 64] >>= 1
                if depth % 64 == 0 { levels.removeLast() }
            }
        }
    }

    private mutating func skipMemberName() -> Bool {
        guard skipString() != nil else { return false }
        skipWhitespace()
        return consume(UInt8(ascii: ":"))
    }

    /// `NaN`, `Infinity` or `-Infinity`.
    mutating func skipBareNumber() -> Bool {
        for literal in ["NaN", "Infinity", "-Infinity"] as [StaticString] {
            let length = literal.utf8CodeUnitCount
            guard position + length <= end, peek == literal.utf8Start[0] else { continue }
            if (0..<length).allSatisfy({ base[position + $0] == literal.utf8Start[$0] }) {
                position += length
                return true
            }
        }
        return false
    }
}
