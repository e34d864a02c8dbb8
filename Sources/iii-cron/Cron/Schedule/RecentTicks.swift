/// The last ticks of a job that were taken up, so that none is twice, whatever the clock does.
///
/// A set, never one highest value: a clock that was ahead for a minute must not silence the job afterwards. Bounded: the lock
/// store, which remembers for longer, has the last word.
struct RecentTicks {
    private static let maximum = 32
    private var ticks: [Int] = []

    /// Adds a tick; false when it was there.
    mutating func insert(_ tick: Int) -> Bool {
        guard !ticks.contains(tick) else { return false }
        if ticks.count == Self.maximum { ticks.removeFirst() }
        ticks.append(tick)
        return true
    }

    mutating func remove(_ tick: Int) { ticks.removeAll { $0 == tick } }
}
