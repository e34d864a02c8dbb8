/// Times as texts, and back (RFC 3339).
enum RFC3339 {
    /// `2026-03-29T03:00:00+02:00`: whole seconds, the offset always in digits.
    static func text(seconds: Int, offset: Int = 0) -> String { dateAndTime(seconds + offset) + offsetText(offset) }

    /// With the fraction of the second in nine digits, none when it is zero; always `+00:00`.
    static func text(nanoseconds: Int) -> String {
        let second = floor(nanoseconds, 1_000_000_000)
        let rest = nanoseconds - second * 1_000_000_000
        return dateAndTime(second) + (rest == 0 ? "" : "." + padded(rest, 9)) + "+00:00"
    }

    /// With milliseconds, `+00:00`.
    static func text(milliseconds: Int) -> String {
        let second = floor(milliseconds, 1_000)
        return dateAndTime(second) + "." + padded(milliseconds - second * 1_000, 3) + "+00:00"
    }

    /// Milliseconds since the epoch, a finer fraction cut off; nil for what is no such time.
    static func milliseconds(_ text: String) -> Int? {
        var reader = Reader(Array(text.utf8))
        guard let year = reader.number(4), reader.take("-"), let month = reader.number(2), reader.take("-"), let day = reader.number(2),
            (1...12).contains(month), (1...CivilDate.daysInMonth(month, of: year)).contains(day), reader.take("Tt "),
            let hour = reader.number(2), hour < 24, reader.take(":"), let minute = reader.number(2), minute < 60, reader.take(":"),
            let second = reader.number(2), second <= 60
        else { return nil }
        guard let fraction = reader.fraction(), let offset = reader.offset(), reader.isAtEnd else { return nil }
        let local = CivilDate(year: year, month: month, day: day).daysSinceEpoch * 86_400 + hour * 3_600 + minute * 60 + second
        return (local - offset) * 1_000 + fraction
    }

    private static func dateAndTime(_ seconds: Int) -> String {
        let days = floor(seconds, 86_400)
        let date = CivilDate(daysSinceEpoch: days)
        let second = seconds - days * 86_400
        return "\(padded(date.year, 4))-\(padded(date.month, 2))-\(padded(date.day, 2))T"
            + "\(padded(second / 3_600, 2)):\(padded(second / 60 % 60, 2)):\(padded(second % 60, 2))"
    }

    private static func offsetText(_ offset: Int) -> String {
        let minutes = abs(offset) / 60
        return "\(offset < 0 ? "-" : "+")\(padded(minutes / 60, 2)):\(padded(minutes % 60, 2))"
    }

    private static func padded(_ number: Int, _ width: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
    }

    static func floor(_ value: Int, _ divisor: Int) -> Int {
        let quotient = value / divisor
        return value % divisor < 0 ? quotient - 1 : quotient
    }

    private struct Reader {
        private let bytes: [UInt8]
        private var position = 0

        init(_ bytes: [UInt8]) { self.bytes = bytes }

        var isAtEnd: Bool { position == bytes.count }

        mutating func take(_ any: StaticString) -> Bool {
            guard position < bytes.count, any.withUTF8Buffer({ $0.contains(bytes[position]) }) else { return false }
            position += 1
            return true
        }

        mutating func number(_ digits: Int) -> Int? {
            guard position + digits <= bytes.count else { return nil }
            var value = 0
            for byte in bytes[position..<position + digits] {
                guard (0x30...0x39).contains(byte) else { return nil }
                value = value * 10 + Int(byte - 0x30)
            }
            position += digits
            return value
        }

        /// Milliseconds; 0 without a fraction, nil for a dot without digits.
        mutating func fraction() -> Int? {
            guard take(".") else { return 0 }
            var value = 0
            var count = 0
            while let digit = number(1) {
                if count < 3 { value = value * 10 + digit }
                count += 1
            }
            for _ in min(count, 3)..<3 { value *= 10 }
            return count > 0 ? value : nil
        }

        mutating func offset() -> Int? {
            if take("Zz") { return 0 }
            let isNegative = position < bytes.count && bytes[position] == UInt8(ascii: "-")
            guard take("+-"), let hours = number(2), hours < 24, take(":"), let minutes = number(2), minutes < 60 else { return nil }
            return (hours * 3_600 + minutes * 60) * (isNegative ? -1 : 1)
        }
    }
}
