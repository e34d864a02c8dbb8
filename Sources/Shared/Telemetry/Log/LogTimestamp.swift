import Glibc

/// Wall-clock stamps of log lines, made without Foundation.
package enum LogTimestamp {
    /// Nanoseconds since the epoch.
    package static func nowNanoseconds() -> Int64 { Int64(WallClock.nanoseconds()) }

    /// The same for telemetry, whose times are unsigned; a clock before 1970 reads as 0.
    static func nowNanosecondsUnsigned() -> UInt64 { UInt64(max(0, nowNanoseconds())) }

    /// `HH:MM:SS.mmm` in local time, the form a person reads on a console.
    package static func console(_ nanoseconds: Int64) -> String {
        var seconds = time_t(nanoseconds / 1_000_000_000)
        var parts = tm()
        localtime_r(&seconds, &parts)
        return pad(parts.tm_hour, 2) + ":" + pad(parts.tm_min, 2) + ":" + pad(parts.tm_sec, 2) + "." + milliseconds(nanoseconds)
    }

    /// RFC 3339 in UTC with milliseconds, the form a machine reads.
    package static func rfc3339(_ nanoseconds: Int64) -> String {
        var seconds = time_t(nanoseconds / 1_000_000_000)
        var parts = tm()
        gmtime_r(&seconds, &parts)
        let date = pad(parts.tm_year + 1900, 4) + "-" + pad(parts.tm_mon + 1, 2) + "-" + pad(parts.tm_mday, 2)
        let time = pad(parts.tm_hour, 2) + ":" + pad(parts.tm_min, 2) + ":" + pad(parts.tm_sec, 2)
        return date + "T" + time + "." + milliseconds(nanoseconds) + "Z"
    }

    private static func milliseconds(_ nanoseconds: Int64) -> String {
        pad(Int32(truncatingIfNeeded: nanoseconds / 1_000_000 % 1000), 3)
    }

    private static func pad(_ number: Int32, _ width: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
    }
}
