import Glibc

/// The system's clock of the day.
enum WallClock {
    /// Since 1970.
    static func nanoseconds() -> Int {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        return now.tv_sec * 1_000_000_000 + now.tv_nsec
    }

    static func milliseconds() -> Int { nanoseconds() / 1_000_000 }
}
