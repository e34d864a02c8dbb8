import Glibc
import IIITelemetry

/// The `date` header line, made anew once a second; shared by all responses of one gateway.
final class HTTPDate {
    private var second = Int.min
    private(set) var line: [UInt8] = []

    init() {}

    /// Brings the line up to date. `now` is Unix time in seconds.
    func update(now: Int) {
        guard now != second else { return }
        second = now
        line = Self.line(at: now)
    }

    /// `date: Sun, 06 Nov 1994 08:49:37 GMT` with its line end (RFC 9110 §5.6.7).
    static func line(at unixSeconds: Int) -> [UInt8] {
        var time = time_t(unixSeconds)
        var parts = tm()
        gmtime_r(&time, &parts)
        let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
        let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        func two(_ value: Int32) -> String { value < 10 ? "0\(value)" : "\(value)" }
        let day = "\(days[Int(parts.tm_wday)]), \(two(parts.tm_mday)) \(months[Int(parts.tm_mon)]) \(parts.tm_year + 1900)"
        return Array("date: \(day) \(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)) GMT\r\n".utf8)
    }

    /// Unix time in seconds and in nanoseconds.
    static func now() -> (seconds: Int, nanoseconds: UInt64) {
        let now = WallClock.nanoseconds()
        return (now / 1_000_000_000, UInt64(now))
    }
}
