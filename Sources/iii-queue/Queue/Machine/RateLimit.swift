/// How many starts are allowed now, so that no span of `milliseconds` ever sees more than `max` of them. Pure.
///
/// It remembers the newest `max` starts, so the limit is exact and not an average.
struct RateLimit {
    private(set) var rate: QueueOptions.Rate
    /// A ring of the newest starts.
    private var starts: [Int] = []
    private var oldest = 0

    init(_ rate: QueueOptions.Rate) { self.rate = rate }

    mutating func change(to rate: QueueOptions.Rate) {
        guard rate != self.rate else { return }
        let kept = (starts[oldest...] + starts[..<oldest]).suffix(rate.max)
        self.rate = rate
        starts = Array(kept)
        oldest = 0
    }

    /// Starts that are allowed at `now`, up to `wanted`.
    func allowance(now: Int, wanted: Int) -> Int {
        var allowed = min(wanted, rate.max - starts.count)
        var index = oldest
        while allowed < wanted, allowed < rate.max, !starts.isEmpty {
            guard allowed - (rate.max - starts.count) < starts.count, starts[index] <= now - rate.milliseconds else { break }
            allowed += 1
            index = (index + 1) % starts.count
        }
        return allowed
    }

    /// When the next start is allowed; nil when one is now.
    func nextAllowance(now: Int) -> Int? {
        guard starts.count >= rate.max, starts[oldest] > now - rate.milliseconds else { return nil }
        return starts[oldest] + rate.milliseconds
    }

    mutating func started(now: Int) {
        if starts.count < rate.max {
            starts.append(now)
        } else {
            starts[oldest] = now
            oldest = (oldest + 1) % starts.count
        }
    }
}
