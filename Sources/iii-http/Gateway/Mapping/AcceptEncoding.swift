/// Reads `accept-encoding` (RFC 9110 §12.5.3).
enum AcceptEncoding {
    /// Whether gzip may be sent and is not less welcome than the plain body.
    static func prefersGzip(_ value: String) -> Bool {
        var gzip: Int?
        var identity: Int?
        var rest: Int?
        for entry in value.split(separator: ",") {
            let parts = entry.split(separator: ";", omittingEmptySubsequences: false).map(trimmed)
            let quality = parts.dropFirst().first { $0.hasPrefix("q=") || $0.hasPrefix("Q=") }.map { thousandths($0.dropFirst(2)) } ?? 1000
            switch parts[0].lowercased() {
            case "gzip", "x-gzip": gzip = quality
            case "identity": identity = quality
            case "*": rest = quality
            default: break
            }
        }
        let wanted = gzip ?? rest ?? 0
        return wanted > 0 && wanted >= identity ?? 0
    }

    private static func trimmed(_ text: Substring) -> Substring {
        var text = text.drop { $0 == " " || $0 == "\t" }
        while let last = text.last, last == " " || last == "\t" { text.removeLast() }
        return text
    }

    /// `0.5` as 500; what is no such number counts as unwelcome.
    private static func thousandths(_ text: Substring) -> Int {
        guard text.count <= 5, let value = Double(text), (0...1).contains(value) else { return 0 }
        return Int((value * 1000).rounded())
    }
}
