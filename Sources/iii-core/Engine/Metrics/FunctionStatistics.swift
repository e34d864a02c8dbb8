import IIIProtocol
import IIITelemetry

/// What has become of the calls of one function. Plain integers: only the engine's loop touches them.
package final class FunctionStatistics {
    /// Calls that ended in one way.
    package struct Outcome {
        package fileprivate(set) var count: UInt64 = 0
        fileprivate(set) var nanoseconds: Int64 = 0
        /// How many took how long, one more than `bounds`.
        package fileprivate(set) var buckets = [UInt64](repeating: 0, count: FunctionStatistics.bounds.count + 1)
        /// A recent call of a recorded trace, by bucket, and since when it stands there (monotonic, in nanoseconds).
        private var exemplars: [Int: (exemplar: MetricFamily.Exemplar, since: UInt64)] = [:]

        fileprivate mutating func add(_ duration: Int64, _ trace: [UInt8], _ now: UInt64) {
            count &+= 1
            nanoseconds &+= duration
            var index = 0
            while index < FunctionStatistics.bounds.count, duration > FunctionStatistics.bounds[index] { index &+= 1 }
            buckets[index] &+= 1
            if !trace.isEmpty { remember(trace, duration, index, now) }
        }

        /// A new one a second at most: it costs more than the counting.
        @inline(never)
        private mutating func remember(_ trace: [UInt8], _ duration: Int64, _ index: Int, _ now: UInt64) {
            if let known = exemplars[index], now < known.since + 1_000_000_000 { return }
            guard let context = FunctionStatistics.sampledContext(trace) else { return }
            exemplars[index] = (.init(value: Double(duration) / 1e9, milliseconds: Int64(WallClock.milliseconds()), context: context), now)
        }

        fileprivate mutating func add(_ other: Outcome) {
            count &+= other.count
            nanoseconds &+= other.nanoseconds
            for index in buckets.indices { buckets[index] &+= other.buckets[index] }
        }

        var points: [MetricFamily.Exemplar] { exemplars.values.map(\.exemplar) }

        var histogram: MetricFamily.Value {
            .histogram(
                bounds: FunctionStatistics.bounds.map { Double($0) / 1e9 }, counts: buckets, sum: Double(nanoseconds) / 1e9)
        }
    }

    /// Upper limits of durations, in nanoseconds: 0.5 ms to 60 s.
    static let bounds: [Int64] = [
        500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000, 25_000_000, 50_000_000, 100_000_000, 250_000_000, 500_000_000,
        1_000_000_000, 2_500_000_000, 5_000_000_000, 10_000_000_000, 30_000_000_000, 60_000_000_000,
    ]
    /// Codes that are counted apart; callees choose them.
    static let maximumCodes = 16

    /// Nil for what stands for many functions.
    let key: FunctionKey?
    package private(set) var succeeded = Outcome()
    package private(set) var failed = Outcome()
    package private(set) var errors: [String: UInt64] = [:]
    /// Has taken over the numbers of this one, whose function is gone.
    private(set) var successor: FunctionStatistics?

    init(key: FunctionKey?) { self.key = key }

    /// `trace`: what the reply says of it, `,"traceparent":"…"` …; empty for none. `now` is monotonic, in nanoseconds.
    func succeeded(after nanoseconds: Int64, trace: [UInt8] = [], now: UInt64 = 0) {
        (successor ?? self).succeeded.add(nanoseconds, trace, now)
    }

    func failed(_ code: String, after nanoseconds: Int64, trace: [UInt8] = [], now: UInt64 = 0) {
        let target = successor ?? self
        target.failed.add(nanoseconds, trace, now)
        target.count(code, 1)
    }

    /// Adds what `other` has counted, and what it is still told.
    func absorb(_ other: FunctionStatistics) {
        succeeded.add(other.succeeded)
        failed.add(other.failed)
        for (code, number) in other.errors { count(code, number) }
        other.successor = self
    }

    private static let traceMember = Array(#","traceparent":""#.utf8)

    /// Of a call whose trace is recorded: a link to one that is not would lead nowhere.
    private static func sampledContext(_ trace: [UInt8]) -> SpanContext? {
        guard trace.starts(with: traceMember) else { return nil }
        let text = String(decoding: trace[traceMember.count...].prefix(55), as: UTF8.self)
        guard let context = SpanContext(traceparent: text), context.isSampled else { return nil }
        return context
    }

    private func count(_ code: String, _ number: UInt64) {
        let isKnown = errors[code] != nil || (errors.count < Self.maximumCodes && code.utf8.count <= 64)
        errors[isKnown ? code : "other", default: 0] += number
    }
}

/// The statistics of all functions that have been called: at most `maximum` of their own, the others together under `other`. Functions that
/// were there before a flood of new ones keep theirs; those that are no longer registered make room. Totals stay exact.
package struct FunctionStatisticsTable {
    /// Default 2,000.
    let maximum: Int
    private(set) var own: [FunctionKey: FunctionStatistics] = [:]
    package let others = FunctionStatistics(key: nil)
    /// Calls until room is looked for again: a look goes through all.
    private var patience = 0

    package init(maximum: Int = 2_000) { self.maximum = maximum }

    /// Those of `key`, made now if there is room.
    package mutating func statistics(of key: FunctionKey, isRegistered: (FunctionKey) -> Bool) -> FunctionStatistics {
        if let known = own[key] { return known }
        if own.count >= maximum, patience == 0 {
            patience = maximum
            for (key, statistics) in own where !isRegistered(key) {
                others.absorb(statistics)
                own[key] = nil
            }
        }
        guard own.count < maximum else {
            patience -= 1
            return others
        }
        let made = FunctionStatistics(key: key)
        own[key] = made
        return made
    }

    package var all: [FunctionStatistics] { Array(own.values) + [others] }
}

extension FunctionStatisticsTable {
    /// `iii.invocations.total`, `iii.invocation.duration` and `iii.invocation.errors.total`.
    var families: [MetricFamily] {
        var total = MetricFamily(
            name: "iii.invocations.total", description: "Calls that have ended, by function", kind: .counter, points: [])
        var duration = MetricFamily(
            name: "iii.invocation.duration", description: "From the call's arrival to its answer's", unit: "s", kind: .histogram,
            points: [])
        var errors = MetricFamily(
            name: "iii.invocation.errors.total", description: "Calls that have failed, by code", kind: .counter, points: [])
        for statistics in all {
            let labels = Self.labels(statistics.key)
            for (status, outcome) in [("ok", statistics.succeeded), ("error", statistics.failed)] where outcome.count > 0 {
                let labels = labels + [.init("status", status)]
                total.points.append(.init(labels: labels, value: .integer(Int64(clamping: outcome.count))))
                duration.points.append(.init(labels: labels, value: outcome.histogram, exemplars: outcome.points))
            }
            for (code, count) in statistics.errors {
                errors.points.append(.init(labels: [.init("error_code", code)] + labels, value: .integer(Int64(clamping: count))))
            }
        }
        return [total, duration, errors]
    }

    private static func labels(_ key: FunctionKey?) -> [MetricFamily.Label] {
        guard let key else { return [.init("function_id", "other")] }
        let id = MetricFamily.Label("function_id", key.id)
        return key.namespace == FunctionKey.defaultNamespace ? [id] : [id, .init("namespace", key.namespace)]
    }
}
