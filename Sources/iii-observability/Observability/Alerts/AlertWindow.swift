import IIISignals

/// What one metric has done within the window of a rule: a value without clock. Bounded in series and in slices of time.
///
/// Sums count what was added within the window, series by series, whatever their senders count from: a cumulative series by the difference to
/// its last point, from 0 again after a restart of its process. A first cumulative point counts only if its process began to count within the
/// window: what was counted before is not news. Gauges are their mean.
struct AlertWindow: Sendable {
    private struct Series: Hashable {
        let resource: Resource
        let attributes: [Attribute]
    }

    private struct Last {
        var value: Double
        var start: UInt64
        var time: Duration
    }

    /// Of equal length; old ones are taken away.
    private struct Slice {
        let number: Int64
        var sum = 0.0
        var points = 0
    }

    static let maximumSeries = 2_000
    static let maximumSlices = 240

    private let window: Duration
    private let sliceLength: Duration
    private var kind: MetricKind?
    private var series: [Series: Last] = [:]
    private var slices: [Slice] = []
    /// Points of series beyond the limit.
    private(set) var leftOut = 0

    init(window: Duration) {
        self.window = window
        sliceLength = max(.seconds(1), window / Self.maximumSlices)
    }

    /// `now` is monotonic, `nanoseconds` the same moment since the epoch.
    mutating func add(_ metric: Metric, now: Duration, nanoseconds: UInt64) {
        guard metric.kind != .histogram else { return }
        kind = metric.kind
        for point in metric.points {
            let key = Series(resource: metric.resource, attributes: point.attributes)
            guard let value = point.value.number, !value.isNaN else {
                series[key] = nil
                continue
            }
            guard series[key] != nil || series.count < Self.maximumSeries else {
                leftOut += 1
                continue
            }
            let last = series[key]
            series[key] = Last(value: value, start: point.startNanoseconds, time: now)
            record(contribution(of: metric, point, value, last, nanoseconds), now)
        }
    }

    private func contribution(
        of metric: Metric, _ point: MetricPoint, _ value: Double, _ last: Last?, _ nanoseconds: UInt64
    ) -> Double {
        guard metric.kind == .counter, metric.temporality == .cumulative else { return value }
        if let last {
            let hasRestarted = value < last.value || (point.startNanoseconds > 0 && last.start > 0 && point.startNanoseconds != last.start)
            return hasRestarted ? value : value - last.value
        }
        let length = UInt64(max(0, window.components.seconds)) * 1_000_000_000
        let isNew = point.startNanoseconds > 0 && point.startNanoseconds + length >= nanoseconds
        return isNew ? value : 0
    }

    private mutating func record(_ value: Double, _ now: Duration) {
        let number = Int64(now / sliceLength)
        if slices.last?.number != number { slices.append(Slice(number: number)) }
        slices[slices.count - 1].sum += value
        slices[slices.count - 1].points += 1
        if slices.count > Self.maximumSlices + 1 { slices.removeFirst(slices.count - Self.maximumSlices - 1) }
    }

    /// nil: nothing has come within the window.
    mutating func value(now: Duration) -> Double? {
        let oldest = Int64((now - window) / sliceLength)
        slices.removeAll { $0.number < oldest }
        if window == .zero { return latestValue(now) }
        guard !slices.isEmpty, let kind else { return nil }
        switch kind {
        case .counter: return slices.reduce(0) { $0 + $1.sum }
        case .gauge, .histogram: return slices.reduce(0) { $0 + $1.sum } / Double(slices.reduce(0) { $0 + $1.points })
        case .upDownCounter: return latestValue(now)
        }
    }

    /// Sums add up over their series, gauges are the mean of them; what has sent nothing for two minutes counts no more.
    private mutating func latestValue(_ now: Duration) -> Double? {
        let stale = max(window, .seconds(120))
        series = series.filter { now - $0.value.time <= stale }
        guard !series.isEmpty else { return nil }
        let sum = series.values.reduce(0) { $0 + $1.value }
        return kind == .gauge ? sum / Double(series.count) : sum
    }
}

/// How one of the engine's own counters has grown within a window: a value without clock.
struct CounterWindow: Sendable {
    private let window: Duration
    private var samples: [(time: Duration, value: Double)] = []
    static let maximumSamples = 1_000

    init(window: Duration) { self.window = window }

    mutating func add(_ value: Double, now: Duration) {
        // A smaller one: the engine has begun anew, and so do we.
        if let last = samples.last, value < last.value { samples = [(now, 0)] }
        samples.append((now, value))
        // One at or before the window's beginning is enough to count from.
        while samples.count > 2, samples[1].time <= now - window { samples.removeFirst() }
        if samples.count > Self.maximumSamples { samples.removeFirst(samples.count - Self.maximumSamples) }
    }

    /// Without a window, the counter itself.
    var value: Double? {
        guard let last = samples.last else { return nil }
        guard window > .zero, let first = samples.first else { return last.value }
        return last.value - first.value
    }
}
