import Synchronization

/// The instruments of a process. Making one takes a lock; using one is an atomic operation, so make it once and keep it.
///
/// Each metric has at most `maximumSeries` series (default 2,000); further combinations of labels share one series that carries
/// `otel_metric_overflow="true"`, so totals stay exact and memory bounded.
public final class MetricStore: Sendable {
    private struct Family {
        var kind: MetricFamily.Kind
        var description: String
        var unit: String
        var series: [[MetricFamily.Label]: Instrument] = [:]
    }

    private enum Instrument: Sendable {
        case counter(CounterInstrument)
        case gauge(GaugeInstrument)
        case histogram(HistogramInstrument)

        var value: MetricFamily.Value {
            switch self {
            case .counter(let counter): .integer(counter.value)
            case .gauge(let gauge): .double(gauge.value)
            case .histogram(let histogram): histogram.value
            }
        }
    }

    private let families = Mutex<[String: Family]>([:])
    private let maximumSeries: Int
    private static let overflow = [MetricFamily.Label("otel_metric_overflow", "true")]

    /// `maximumSeries`: combinations of labels of one metric; further ones share an overflow series.
    public init(maximumSeries: Int = 2_000) { self.maximumSeries = maximumSeries }

    /// The series of `name` with these labels; the same one for the same labels. A name that is in use for another kind of
    /// metric gets an instrument that is not sent: two meanings under one name would be worse than none.
    public func counter(_ name: String, labels: [(String, String)] = [], description: String = "", unit: String = "") -> CounterInstrument {
        let made = instrument(name, labels, .counter, description, unit) { .counter(CounterInstrument()) }
        if case .counter(let counter) = made { return counter }
        return CounterInstrument()
    }

    /// The gauge of these labels, the same object each time. Keep it: looking it up takes a lock.
    public func gauge(_ name: String, labels: [(String, String)] = [], description: String = "", unit: String = "") -> GaugeInstrument {
        let made = instrument(name, labels, .gauge, description, unit) { .gauge(GaugeInstrument()) }
        if case .gauge(let gauge) = made { return gauge }
        return GaugeInstrument()
    }

    /// `bounds` are upper limits in ascending order; the default suits seconds from 1 ms to 10 s.
    public func histogram(
        _ name: String, labels: [(String, String)] = [], description: String = "", unit: String = "",
        bounds: [Double] = HistogramInstrument.secondsBounds
    ) -> HistogramInstrument {
        let made = instrument(name, labels, .histogram, description, unit) { .histogram(HistogramInstrument(bounds: bounds)) }
        if case .histogram(let histogram) = made { return histogram }
        return HistogramInstrument(bounds: bounds)
    }

    /// Forgets one series, of something that is no more.
    public func remove(_ name: String, labels: [(String, String)]) {
        let key = Self.key(labels)
        families.withLock { _ = $0[name]?.series.removeValue(forKey: key) }
    }

    /// Everything as it stands now, sorted by name and labels.
    public func snapshot() -> [MetricFamily] {
        families.withLock { families in
            families.sorted { $0.key < $1.key }.map { name, family in
                let points = family.series.map { labels, instrument in
                    MetricFamily.Point(labels: labels, value: instrument.value)
                }.sorted { left, right in left.labels.lexicographicallyPrecedes(right.labels) { ($0.name, $0.value) < ($1.name, $1.value) }
                }
                return MetricFamily(
                    name: name, description: family.description, unit: family.unit, kind: family.kind, points: points)
            }
        }
    }

    private func instrument(
        _ name: String, _ labels: [(String, String)], _ kind: MetricFamily.Kind, _ description: String, _ unit: String,
        make: () -> Instrument
    ) -> Instrument? {
        let key = Self.key(labels)
        return families.withLock { families in
            var family = families[name] ?? Family(kind: kind, description: description, unit: unit)
            guard family.kind == kind else { return nil }
            let series = family.series[key] != nil || family.series.count < maximumSeries ? key : Self.overflow
            if let known = family.series[series] { return known }
            let made = make()
            family.series[series] = made
            families[name] = family
            return made
        }
    }

    private static func key(_ labels: [(String, String)]) -> [MetricFamily.Label] {
        labels.map { MetricFamily.Label($0.0, $0.1) }.sorted { $0.name < $1.name }
    }
}
