import NIOCore

/// Lets a few lines of one kind into the log and counts the rest, so that one peer's noise hides nobody else's. A value.
struct WarningBudget {
    /// Lines within one `interval`. Default 5 in 10 s.
    var burst = 5
    var interval = TimeAmount.seconds(10)
    private var written = 0
    private var suppressed = 0
    private var windowEnd = NIODeadline.uptimeNanoseconds(0)

    init(burst: Int = 5) { self.burst = burst }

    /// Whether a line may be written now: nil if not, else how many were left out since the last one.
    mutating func admit(_ now: NIODeadline) -> Int? {
        if now >= windowEnd {
            windowEnd = now + interval
            written = 0
        }
        guard written < burst else {
            suppressed += 1
            return nil
        }
        written += 1
        defer { suppressed = 0 }
        return suppressed
    }
}
