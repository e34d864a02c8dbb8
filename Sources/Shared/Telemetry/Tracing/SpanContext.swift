import IIIProtocol

/// Identifies one span of one trace (W3C Trace Context): what a `traceparent` says.
public struct SpanContext: Sendable, Hashable {
    /// The two halves of the trace's 16 bytes; never both zero.
    public let traceHigh: UInt64
    /// The last 64 bits of the trace id.
    public let traceLow: UInt64
    /// Never zero.
    public let spanID: UInt64
    /// Whether whoever began the trace wants it recorded.
    public let isSampled: Bool

    /// From its parts; a trace id or span id of 0 is not valid and is not checked here.
    public init(traceHigh: UInt64, traceLow: UInt64, spanID: UInt64, isSampled: Bool) {
        self.traceHigh = traceHigh
        self.traceLow = traceLow
        self.spanID = spanID
        self.isSampled = isSampled
    }

    /// Reads a `traceparent`; nil for what is none, as the recommendation has it: lower-case hex only, ids that are not all zero,
    /// nothing behind the flags in version 00. Higher versions may say more at their end, and unknown flags are passed over.
    public init?(traceparent: some StringProtocol) {
        var text = String(traceparent)
        guard let context = text.withUTF8(Self.read) else { return nil }
        self = context
    }

    private static func read(_ text: UnsafeBufferPointer<UInt8>) -> SpanContext? {
        guard text.count >= 55, text[2] == 0x2D, text[35] == 0x2D, text[52] == 0x2D,
            let version = hex(text[0..<2]), version != 0xFF,
            let high = hex(text[3..<19]), let low = hex(text[19..<35]), high | low != 0,
            let span = hex(text[36..<52]), span != 0,
            let flags = hex(text[53..<55]),
            version == 0 ? text.count == 55 : text.count == 55 || text[55] == 0x2D
        else { return nil }
        return SpanContext(traceHigh: high, traceLow: low, spanID: span, isSampled: flags & 1 != 0)
    }

    /// The `traceparent` of this span, in version 00.
    public var traceparent: String { "00-\(traceID)-\(spanIDText)-\(isSampled ? "01" : "00")" }

    /// 32 lower-case hex digits.
    public var traceID: String { Self.text(traceHigh) + Self.text(traceLow) }
    /// 16 lower-case hex digits.
    public var spanIDText: String { Self.text(spanID) }

    /// 16 lower-case hex digits.
    static func text(_ value: UInt64) -> String {
        String(unsafeUninitializedCapacity: 16) { buffer in
            for index in 0..<16 { buffer[index] = JSONText.hexDigits[Int(value >> UInt64(60 - index * 4) & 15)] }
            return 16
        }
    }

    private static func hex(_ digits: Slice<UnsafeBufferPointer<UInt8>>) -> UInt64? {
        var value: UInt64 = 0
        for digit in digits {
            switch digit {
            case 0x30...0x39: value = value << 4 | UInt64(digit - 0x30)
            case 0x61...0x66: value = value << 4 | UInt64(digit - 0x61 + 10)
            default: return nil
            }
        }
        return value
    }
}
