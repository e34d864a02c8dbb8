import Glibc

/// The system's time of day. It may be set: durations and deadlines are measured otherwise.
public enum WallClock {
    /// Nanoseconds since 1970.
    public static func nanoseconds() -> Int {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        return now.tv_sec * 1_000_000_000 + now.tv_nsec
    }

    /// Milliseconds since 1970.
    public static func milliseconds() -> Int { nanoseconds() / 1_000_000 }
}
