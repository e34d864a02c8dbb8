import IIISignals

/// Metrics of workers summed up per series in buckets of a minute, five minutes and an hour, by the time of their points. What counters and
/// histograms count from their process's start is turned into what was added since the point before. Pure: time is an argument.
struct RollupTable: Sendable {
    /// Width and retention, in nanoseconds.
    static let levels: [(width: UInt64, age: UInt64)] = [
        (60_000_000_000, 3_600_000_000_000), (300_000_000_000, 21_600_000_000_000), (3_600_000_000_000, 604_800_000_000_000),
    ]
    /// Series in all; further ones are not summed up.
    static let maximumSeries = 5_000

    struct SeriesKey: Sendable, Hashable {
        let name: String
        let service: String
        /// Tells two processes of one service apart.
        let instance: String
        let attributes: [Attribute]
    }

    struct Bucket: Sendable {
        let start: UInt64
        var count = 0
        var sum = 0.0
        var minimum = Double.infinity
        var maximum = -Double.infinity
        /// Of histograms.
        var histogram: HistogramValue?
    }

    struct Series: Sendable {
        let isHistogram: Bool
        /// The last cumulative point: its start, time and value.
        fileprivate var last: (start: UInt64, time: UInt64, value: MetricValue)?
        fileprivate var touched: UInt64 = 0
        /// Per level, by start.
        fileprivate(set) var buckets: [[Bucket]] = [[], [], []]
    }

    private(set) var series: [SeriesKey: Series] = [:]
    private(set) var refused = 0
    /// When this table began, in nanoseconds since the epoch: a cumulative series that began before has added nothing with its first point.
    let beganNanoseconds: UInt64

    init(now: UInt64) { beganNanoseconds = now }

    mutating func add(_ metrics: [Metric], now: UInt64) {
        for metric in metrics {
            for point in metric.points { add(point, of: metric, now: now) }
        }
    }

    private mutating func add(_ point: MetricPoint, of metric: Metric, now: UInt64) {
        let key = SeriesKey(
            name: metric.name, service: metric.resource.serviceName, instance: metric.resource.instanceID ?? "",
            attributes: point.attributes.sorted { $0.key < $1.key })
        if point.value == .gone {
            series[key]?.last = nil
            return
        }
        guard series[key] != nil || series.count < Self.maximumSeries else {
            refused += 1
            return
        }
        var found = series.removeValue(forKey: key) ?? Series(isHistogram: metric.kind == .histogram)
        defer { series[key] = found }
        found.touched = now
        // A clock that is ahead must not make buckets that never go.
        let time = point.nanoseconds == 0 ? now : min(point.nanoseconds, now)
        var value: MetricValue? = point.value
        if metric.temporality == .cumulative, metric.kind == .counter || metric.kind == .histogram {
            value = Self.increase(point, after: found.last, began: beganNanoseconds)
            found.last = (point.startNanoseconds, time, point.value)
        }
        guard let value else { return }
        for (level, rule) in Self.levels.enumerated() where time + rule.age > now {
            let start = time / rule.width * rule.width
            var index = found.buckets[level].count
            while index > 0, found.buckets[level][index - 1].start > start { index -= 1 }
            if index == 0 || found.buckets[level][index - 1].start != start {
                found.buckets[level].insert(Bucket(start: start), at: index)
                index += 1
            }
            found.buckets[level][index - 1].add(value)
        }
    }

    /// What a cumulative point adds to the one before it; nil for nothing to count.
    static func increase(
        _ point: MetricPoint, after last: (start: UInt64, time: UInt64, value: MetricValue)?, began: UInt64
    ) -> MetricValue? {
        guard let last else {
            // Where it began before anybody looked, nobody knows when its first value was added.
            return point.startNanoseconds >= began && point.startNanoseconds != 0 ? point.value : nil
        }
        let hasRestarted = point.startNanoseconds != last.start && point.startNanoseconds > last.start
        if hasRestarted { return point.value }
        switch (point.value, last.value) {
        case (.histogram(let new), .histogram(let old)):
            guard new.count >= old.count, new.bounds == old.bounds, new.counts.count == old.counts.count,
                zip(new.counts, old.counts).allSatisfy({ $0 >= $1 })
            else { return point.value }
            return .histogram(
                HistogramValue(
                    count: new.count - old.count, sum: new.sum - old.sum, bounds: new.bounds,
                    counts: zip(new.counts, old.counts).map { $0 - $1 }, minimum: new.minimum, maximum: new.maximum))
        case (let new, let old):
            guard let new = new.number, let old = old.number else { return nil }
            return .double(new >= old ? new - old : new)
        }
    }

    mutating func expire(now: UInt64) {
        for (key, var found) in series {
            for (level, rule) in Self.levels.enumerated() where now > rule.age {
                found.buckets[level].removeAll { $0.start + rule.width < now - rule.age }
            }
            series[key] = found.buckets.allSatisfy(\.isEmpty) && found.touched + 600_000_000_000 < now ? nil : found
        }
    }
}

extension RollupTable.Bucket {
    fileprivate mutating func add(_ value: MetricValue) {
        switch value {
        case .histogram(let new):
            count += Int(clamping: new.count)
            sum += new.sum
            if let least = new.minimum { minimum = min(minimum, least) }
            if let most = new.maximum { maximum = max(maximum, most) }
            guard var known = histogram, known.bounds == new.bounds, known.counts.count == new.counts.count else {
                histogram = histogram ?? new
                return
            }
            known.count += new.count
            known.sum += new.sum
            known.counts = zip(known.counts, new.counts).map { $0 &+ $1 }
            histogram = known
        default:
            guard let number = value.number, !number.isNaN else { return }
            count += 1
            sum += number
            minimum = min(minimum, number)
            maximum = max(maximum, number)
        }
    }
}
