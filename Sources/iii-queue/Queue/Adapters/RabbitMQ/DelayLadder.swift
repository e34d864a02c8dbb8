/// How a message waits for any time in queues that are first in, first out. Pure.
///
/// In every queue of the ladder a message waits for the same time, so its first one is always the next to leave, and a long delay never
/// stands in front of a short one. A message goes into the longest one that is not longer than what it still has to wait, then into
/// shorter ones, until its time has come: on average two for a minute, six for a day. Whoever takes it out puts it into the next one and has
/// that confirmed before it leaves the last one.
enum DelayLadder {
    struct Level: Hashable, Sendable {
        /// Milliseconds: a power of two.
        let hold: Int
    }

    /// 128 ms to a year and more.
    static let levels: [Level] = (7...35).map { Level(hold: 1 << $0) }

    /// What is left to wait and counts as nothing, in milliseconds.
    static let grain = 4

    /// Where a message goes that has to wait for so long; nil when its time has come. It may stay `slack` longer than it should behind others.
    static func level(remaining: Int) -> Level? {
        guard remaining > grain, let shortest = levels.first else { return nil }
        return levels.last { $0.hold <= remaining + slack(remaining) } ?? shortest
    }

    static func slack(_ remaining: Int) -> Int { max(64, remaining / 64) }

    /// When a message leaves a level that it has entered then.
    static func release(_ level: Level, entered: Int, due: Int) -> Int { min(entered + level.hold, due) }
}
