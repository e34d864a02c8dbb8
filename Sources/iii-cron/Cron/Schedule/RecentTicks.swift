/// The last ticks of a job that were taken up, so that none is twice, whatever the clock does.
///
/// A set, never one highest value: a clock that was ahead for a minute must not silence the job afterwards. Bounded: the lock
/// store, which remembers for longer, has the last word.
struct RecentTicks {
    private static let maximum = 32
    /// Epoch seconds up to the year 2106, in half the room: there are as many of these as jobs.
    private var ticks: [UInt32] = []

    /// Adds a tick; false when it was there.
    mutating func insert(_ tick: Int) -> Bool {
        let tick = UInt32(truncatingIfNeeded: tick)
        guard !ticks.contains(tick) else { return false }
        if ticks.count == Self.maximum { ticks.removeFirst() }
        ticks.append(tick)
        return true
    }
}
