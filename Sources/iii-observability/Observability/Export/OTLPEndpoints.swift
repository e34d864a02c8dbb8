import IIIHTTPClient
import IIIOTLP
import IIISignals

/// Where OTLP/HTTP goes: the rules of OpenTelemetry's exporter specification for endpoints and headers. Pure.
enum OTLPEndpoints {
    /// `base` with the signal's path behind its own; a query stays at the end.
    static func url(_ base: String, for signal: Signal) throws(HTTPURL.Invalid) -> HTTPURL {
        let end = base.firstIndex { $0 == "?" || $0 == "#" } ?? base.endIndex
        var path = base[..<end]
        while path.hasSuffix("/") { path.removeLast() }
        return try HTTPURL(path + signal.path + base[end...])
    }

    /// `k=v,k2=v2`, percent-encoded; split at the first `=` only. Entries without one, and names that are none, are left out.
    static func headers(_ text: String) -> [(name: String, value: String)] {
        text.split(separator: ",").compactMap { (entry: Substring) -> (name: String, value: String)? in
            guard let separator = entry.firstIndex(of: "=") else { return nil }
            let name = trimmed(entry[..<separator])
            let value = trimmed(entry[entry.index(after: separator)...])
            guard !name.isEmpty, name.utf8.allSatisfy(isToken), let decoded = decoded(value),
                !decoded.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F })
            else { return nil }
            return (String(name), decoded)
        }
    }

    private static func trimmed(_ text: Substring) -> Substring {
        var text = text.drop { $0 == " " || $0 == "\t" }
        while let last = text.last, last == " " || last == "\t" { text.removeLast() }
        return text
    }

    private static func isToken(_ byte: UInt8) -> Bool {
        byte > 0x20 && byte < 0x7F && !"()<>@,;:\\\"/[]?={}".utf8.contains(byte)
    }

    /// A plus is a plus.
    private static func decoded(_ text: Substring) -> String? {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard rest.count >= 2, let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16) else { return nil }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        return String(validating: bytes, as: UTF8.self)
    }

    /// `Retry-After` as seconds or as a date (RFC 9110); nil for what is neither. `now` is seconds since the epoch.
    static func retryAfter(_ text: String, now: Int64) -> Duration? {
        if text.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let seconds = Int64(text) { return .seconds(seconds) }
        return HTTPDate.seconds(text).map { .seconds(max(0, $0 - now)) }
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, the one form that is sent today.
enum HTTPDate {
    private static let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]

    /// Since the epoch.
    static func seconds(_ text: String) -> Int64? {
        let parts = text.split(separator: " ")
        guard parts.count == 6, parts[5] == "GMT", let day = Int64(parts[1]), let month = months.firstIndex(of: String(parts[2])),
            let year = Int64(parts[3]), (1970...9999).contains(year), (1...31).contains(day)
        else { return nil }
        let clock = parts[4].split(separator: ":").compactMap { Int64($0) }
        guard clock.count == 3 else { return nil }
        // Days of the civil calendar, counted from March so that leap days come last.
        let shifted = Int64(month) < 2 ? year - 1 : year
        let era = shifted / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (Int64(month) + (Int64(month) > 1 ? -2 : 10)) + 2) / 5 + day - 1
        let days = era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
        return days * 86_400 + clock[0] * 3600 + clock[1] * 60 + clock[2]
    }
}
