import IIIProtocol

/// The 16 bytes that all spans of one trace share; never all zero.
public struct TraceID: Sendable, Hashable, Comparable {
    /// The first eight bytes.
    public let high: UInt64
    /// The last eight bytes; samplers decide by these.
    public let low: UInt64

    /// nil for the invalid id, all zero.
    public init?(high: UInt64, low: UInt64) {
        guard high | low != 0 else { return nil }
        self.high = high
        self.low = low
    }

    /// 16 bytes as OTLP's protobuf has them; nil for any other number of bytes, and for zeros.
    public init?(bytes: some Collection<UInt8>) {
        guard bytes.count == 16 else { return nil }
        self.init(high: IDText.value(bytes.prefix(8)), low: IDText.value(bytes.dropFirst(8)))
    }

    /// Reads an id in any of the forms that senders use: 32 hex digits of either case, base64 of the bytes (24 characters), or base64 of
    /// the hex text (44). nil for anything else, and for zeros.
    public init?(_ text: String) {
        guard let bytes = IDText.bytes(text, count: 16) else { return nil }
        self.init(bytes: bytes)
    }

    /// 32 lower-case hex digits.
    public var text: String { IDText.hex(high) + IDText.hex(low) }
    /// As protobuf has it.
    public var bytes: [UInt8] { IDText.bytes(high) + IDText.bytes(low) }

    public static func < (left: TraceID, right: TraceID) -> Bool { (left.high, left.low) < (right.high, right.low) }
}

/// The 8 bytes that name a span within its trace; never all zero.
public struct SpanID: Sendable, Hashable, Comparable {
    /// Not 0.
    public let value: UInt64

    /// nil for the invalid id, 0.
    public init?(_ value: UInt64) {
        guard value != 0 else { return nil }
        self.value = value
    }

    /// 8 bytes as OTLP's protobuf has them; nil for any other number of bytes, and for zeros.
    public init?(bytes: some Collection<UInt8>) {
        guard bytes.count == 8 else { return nil }
        self.init(IDText.value(bytes))
    }

    /// Reads an id in any of the forms that senders use: 16 hex digits of either case, base64 of the bytes (12 characters), or base64 of
    /// the hex text (24). nil for anything else, and for zeros.
    public init?(_ text: String) {
        guard let bytes = IDText.bytes(text, count: 8) else { return nil }
        self.init(bytes: bytes)
    }

    /// 16 lower-case hex digits.
    public var text: String { IDText.hex(value) }
    /// As protobuf has it.
    public var bytes: [UInt8] { IDText.bytes(value) }

    public static func < (left: SpanID, right: SpanID) -> Bool { left.value < right.value }
}

/// The texts of ids. Which form it is follows from the field's length: 24 characters are a trace id encoded once, but a span id encoded
/// twice.
enum IDText {
    static func value(_ bytes: some Collection<UInt8>) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } }

    static func bytes(_ value: UInt64) -> [UInt8] { (0..<8).map { UInt8(truncatingIfNeeded: value >> (56 - $0 * 8)) } }

    static func hex(_ value: UInt64) -> String {
        String(unsafeUninitializedCapacity: 16) { buffer in
            for index in 0..<16 { buffer[index] = JSONText.hexDigits[Int(value >> UInt64(60 - index * 4) & 15)] }
            return 16
        }
    }

    /// The `count` bytes that `text` stands for.
    static func bytes(_ text: String, count: Int) -> [UInt8]? {
        var text = text
        return text.withUTF8 { digits in
            switch digits.count {
            case count * 2: return unhex(digits)
            case (count + 2) / 3 * 4: return Base64.decode(digits).flatMap { $0.count == count ? $0 : nil }
            case (count * 2 + 2) / 3 * 4: return Base64.decode(digits).flatMap { $0.count == count * 2 ? unhex($0) : nil }
            default: return nil
            }
        }
    }

    private static func unhex(_ digits: some Collection<UInt8>) -> [UInt8]? {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(digits.count / 2)
        var first: UInt8?
        for digit in digits {
            guard let value = hexDigit(digit) else { return nil }
            if let high = first {
                bytes.append(high << 4 | value)
                first = nil
            } else {
                first = value
            }
        }
        return first == nil ? bytes : nil
    }
}

/// Base64 of RFC 4648, as ProtoJSON writes bytes.
public enum Base64 {
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    /// With padding.
    public static func encode(_ bytes: some Sequence<UInt8>) -> String {
        var text: [UInt8] = []
        var held: UInt32 = 0
        var count = 0
        func flush(_ digits: Int) {
            for index in 0..<4 { text.append(index < digits ? alphabet[Int(held >> UInt32(18 - index * 6) & 63)] : UInt8(ascii: "=")) }
        }
        for byte in bytes {
            held |= UInt32(byte) << UInt32(16 - count * 8)
            count += 1
            guard count == 3 else { continue }
            flush(4)
            (held, count) = (0, 0)
        }
        if count > 0 { flush(count + 1) }
        return String(decoding: text, as: UTF8.self)
    }

    /// Of the standard or the URL alphabet, with or without padding; nil for anything else.
    public static func decode(_ text: some Collection<UInt8>) -> [UInt8]? {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.count * 3 / 4)
        var held: UInt32 = 0
        var bits = 0
        var padding = 0
        for character in text {
            let value: UInt32
            switch character {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = UInt32(character) - 65
            case UInt8(ascii: "a")...UInt8(ascii: "z"): value = UInt32(character) - 71
            case UInt8(ascii: "0")...UInt8(ascii: "9"): value = UInt32(character) + 4
            case UInt8(ascii: "+"), UInt8(ascii: "-"): value = 62
            case UInt8(ascii: "/"), UInt8(ascii: "_"): value = 63
            case UInt8(ascii: "="):
                padding += 1
                continue
            default: return nil
            }
            guard padding == 0 else { return nil }
            held = held << 6 | value
            bits += 6
            guard bits >= 8 else { continue }
            bits -= 8
            bytes.append(UInt8(truncatingIfNeeded: held >> UInt32(bits)))
        }
        return padding <= 2 && bits < 6 ? bytes : nil
    }
}
