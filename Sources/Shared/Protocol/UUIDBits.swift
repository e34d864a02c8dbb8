/// A UUID as 128 bits: the form invocation ids and worker ids have inside the engine.
///
/// Read in every common form (hyphenated, 32 digits, `urn:uuid:`, braced; either case) and always
/// written lower-case and hyphenated.
public struct UUIDBits: Hashable, Sendable {
    /// The first 64 bits in the order of the text.
    public var high: UInt64
    /// The last 64 bits.
    public var low: UInt64

    /// From its bits, which are taken as they are.
    @inlinable
    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// A random (version 4) UUID from `generator`.
    public static func random(using generator: inout some RandomNumberGenerator) -> UUIDBits {
        let high = UInt64.random(in: .min ... .max, using: &generator)
        let low = UInt64.random(in: .min ... .max, using: &generator)
        return UUIDBits(
            high: high & 0xFFFF_FFFF_FFFF_0FFF | 0x0000_0000_0000_4000, low: low & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000)
    }

    /// A random (version 4) UUID from the system's generator.
    public static func random() -> UUIDBits {
        var generator = SystemRandomNumberGenerator()
        return random(using: &generator)
    }

    /// A UUID of version 4 whose first 48 bits are the time, so that later ones sort behind earlier ones and an index over them grows at
    /// its end. 74 bits are random.
    public static func ordered(milliseconds: Int, using generator: inout some RandomNumberGenerator) -> UUIDBits {
        var bits = random(using: &generator)
        bits.high = bits.high & 0xFFFF | UInt64(truncatingIfNeeded: milliseconds) << 16
        return bits
    }

    /// nil for text in none of the forms above.
    public init?(_ text: String) {
        var text = text
        guard let value = text.withUTF8({ UUIDBits(ascii: UnsafeRawBufferPointer($0)) }) else { return nil }
        self = value
    }

    package init?(ascii bytes: UnsafeRawBufferPointer) {
        var bytes = bytes
        if bytes.count == 45, bytes.starts(with: "urn:uuid:".utf8) {
            bytes = UnsafeRawBufferPointer(rebasing: bytes[9...])
        } else if bytes.count == 38, bytes[0] == UInt8(ascii: "{"), bytes[37] == UInt8(ascii: "}") {
            bytes = UnsafeRawBufferPointer(rebasing: bytes[1..<37])
        }
        let hyphenated = bytes.count == 36
        guard hyphenated || bytes.count == 32 else { return nil }
        var words: (UInt64, UInt64) = (0, 0)
        var digits = 0
        for index in 0..<bytes.count {
            let byte = bytes[index]
            if hyphenated, index == 8 || index == 13 || index == 18 || index == 23 {
                guard byte == UInt8(ascii: "-") else { return nil }
                continue
            }
            guard let digit = hexDigit(byte) else { return nil }
            if digits < 16 { words.0 = words.0 << 4 | UInt64(digit) } else { words.1 = words.1 << 4 | UInt64(digit) }
            digits &+= 1
        }
        self.init(high: words.0, low: words.1)
    }

    /// Length of the written form in bytes.
    package static let textLength = 36

    /// Writes the 36 ASCII bytes of the canonical form.
    package func write(to target: UnsafeMutablePointer<UInt8>) {
        var offset = 0
        for index in 0..<16 {
            if index == 4 || index == 6 || index == 8 || index == 10 {
                target[offset] = UInt8(ascii: "-")
                offset &+= 1
            }
            let word = index < 8 ? high : low
            let byte = UInt8(truncatingIfNeeded: word >> UInt64((7 &- (index & 7)) &* 8))
            let first = byte >> 4
            let second = byte & 15
            target[offset] = first &+ (first < 10 ? 0x30 : 0x57)
            target[offset &+ 1] = second &+ (second < 10 ? 0x30 : 0x57)
            offset &+= 2
        }
    }

    /// Hyphenated and in lower case, 36 characters.
    public var text: String {
        String(unsafeUninitializedCapacity: Self.textLength) { buffer in
            if let address = buffer.baseAddress { write(to: address) }
            return Self.textLength
        }
    }
}

extension UUIDBits: CustomStringConvertible {
    public var description: String { text }
}
