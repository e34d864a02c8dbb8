import Glibc

/// The time of day.
public enum WallClock {
    /// Milliseconds since 1970.
    public static let milliseconds: @Sendable () -> Int = {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        return now.tv_sec * 1000 + now.tv_nsec / 1_000_000
    }
}
