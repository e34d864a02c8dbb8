/// W3C trace context of a request, checked before it is handed on (docs/reference/worker-protocol.md#trace-context).
enum TraceContext {
    /// Longest `baggage` that is passed on, in bytes (W3C Baggage §3.3.2).
    static let maximumBaggageBytes = 8192

    /// `version-traceid-parentid-flags` in lower-case hexadecimal; all-zero ids and version `ff` are invalid, and a later
    /// version may carry more behind a hyphen.
    static func isValidParent(_ text: String) -> Bool {
        var text = text
        return text.withUTF8 { bytes in
            guard bytes.count >= 55, bytes[2] == 0x2D, bytes[35] == 0x2D, bytes[52] == 0x2D else { return false }
            func isHex(_ range: Range<Int>) -> Bool { bytes[range].allSatisfy { $0 &- 0x30 < 10 || $0 &- 0x61 < 6 } }
            func isZero(_ range: Range<Int>) -> Bool { bytes[range].allSatisfy { $0 == 0x30 } }
            guard isHex(0..<2), isHex(3..<35), isHex(36..<52), isHex(53..<55) else { return false }
            guard !isZero(3..<35), !isZero(36..<52), !(bytes[0] == 0x66 && bytes[1] == 0x66) else { return false }
            return isZero(0..<2) ? bytes.count == 55 : bytes.count == 55 || bytes[55] == 0x2D
        }
    }
}
