/// Keeps one kind of warning from filling the log: a burst goes out, then a few a second, and what was left out is counted. Pure.
///
/// The kind is the line's `code`, or its message where it has none, per logger. Levels below WARN are not limited.
package struct LogRateLimit: Sendable {
    /// What becomes of a line.
    package enum Verdict: Sendable, Equatable {
        /// It goes out; so many of its kind were left out since the last one that did.
        case write(leftOut: Int)
        case leaveOut
    }

    private struct Bucket {
        var tokens: Double
        var filledAt: Int64
        var leftOut = 0
    }

    /// Lines of one kind that may come at once, and per second after that.
    package static let burst = 50.0
    package static let perSecond = 5.0
    /// Kinds that are kept apart; beyond that, the fullest buckets are forgotten first.
    package static let maximumKinds = 1_000

    private var buckets: [String: Bucket] = [:]

    package init() {}

    /// `now` in nanoseconds; it may jump.
    package mutating func verdict(_ kind: String, now: Int64) -> Verdict {
        var bucket = buckets[kind] ?? Bucket(tokens: Self.burst, filledAt: now)
        let elapsed = Double(max(0, now - bucket.filledAt)) / 1e9
        bucket.tokens = min(Self.burst, bucket.tokens + elapsed * Self.perSecond)
        bucket.filledAt = now
        defer { keep(kind, bucket) }
        guard bucket.tokens >= 1 else {
            bucket.leftOut += 1
            return .leaveOut
        }
        bucket.tokens -= 1
        let leftOut = bucket.leftOut
        bucket.leftOut = 0
        return .write(leftOut: leftOut)
    }

    /// Kinds that have been quiet for a second and owe a count: each is named once.
    package mutating func owed(now: Int64) -> [(kind: String, leftOut: Int)] {
        let owing = buckets.filter { $0.value.leftOut > 0 && now - $0.value.filledAt > 1_000_000_000 }
        for kind in owing.keys { buckets[kind]?.leftOut = 0 }
        return owing.map { ($0.key, $0.value.leftOut) }.sorted { $0.0 < $1.0 }
    }

    /// Whether any kind owes a count.
    package var owes: Bool { buckets.contains { $0.value.leftOut > 0 } }

    private mutating func keep(_ kind: String, _ bucket: Bucket) {
        if buckets[kind] == nil, buckets.count >= Self.maximumKinds, let idle = buckets.max(by: { $0.value.tokens < $1.value.tokens }) {
            buckets[idle.key] = nil
        }
        buckets[kind] = bucket
    }
}
