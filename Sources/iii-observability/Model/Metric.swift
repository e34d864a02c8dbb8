/// What a metric is, and how its points add up.
public enum MetricKind: String, Sendable, Hashable {
    case gauge
    /// Only grows, until its process starts anew.
    case counter
    case upDownCounter = "updowncounter"
    case histogram
}

/// Whether a point says what has happened since the start of its process, or since the point before.
public enum Temporality: Int, Sendable, Hashable {
    case delta = 1
    case cumulative = 2
}

/// How values are spread: `counts` has one element more than `bounds`, or none where the sender has no buckets.
public struct HistogramValue: Sendable, Hashable {
    /// Number of values.
    public var count: UInt64
    /// Their sum.
    public var sum: Double
    /// Upper bounds of all buckets but the last.
    public var bounds: [Double]
    /// Values in each bucket, not cumulative.
    public var counts: [UInt64]
    /// The smallest; nil where it does not say.
    public var minimum: Double?
    /// The greatest; nil where it does not say.
    public var maximum: Double?

    /// Not checked here: what does not fit together is the decoder's to reject.
    public init(count: UInt64, sum: Double, bounds: [Double], counts: [UInt64], minimum: Double? = nil, maximum: Double? = nil) {
        self.count = count
        self.sum = sum
        self.bounds = bounds
        self.counts = counts
        self.minimum = minimum
        self.maximum = maximum
    }
}

/// What a point says.
public enum MetricValue: Sendable, Hashable {
    case integer(Int64)
    case double(Double)
    case histogram(HistogramValue)
    /// The series has no value any more (OTLP's flag "no recorded value", or NaN).
    case gone

    /// The number as a double; nil for a histogram and for `gone`.
    public var number: Double? {
        switch self {
        case .integer(let value): Double(value)
        case .double(let value): value
        case .histogram, .gone: nil
        }
    }
}

/// A call or a value that a point remembers as an example of what it counted.
public struct Exemplar: Sendable, Hashable {
    /// Since the epoch.
    public var nanoseconds: UInt64
    /// The value that was counted.
    public var value: Double
    /// The trace it was counted in.
    public var traceID: TraceID?
    /// The span it was counted in.
    public var spanID: SpanID?

    /// `nanoseconds` since the epoch.
    public init(nanoseconds: UInt64, value: Double, traceID: TraceID? = nil, spanID: SpanID? = nil) {
        self.nanoseconds = nanoseconds
        self.value = value
        self.traceID = traceID
        self.spanID = spanID
    }
}

/// One value of one series at one time.
public struct MetricPoint: Sendable, Hashable {
    /// What tells the series from others of the metric.
    public var attributes: [Attribute]
    /// Since when a cumulative value counts, since the epoch; 0 where it does not say.
    public var startNanoseconds: UInt64
    /// Since the epoch; 0 where it does not say.
    public var nanoseconds: UInt64
    /// What was measured.
    public var value: MetricValue
    /// At most a few.
    public var exemplars: [Exemplar] = []

    /// Times are since the epoch.
    public init(attributes: [Attribute], startNanoseconds: UInt64, nanoseconds: UInt64, value: MetricValue) {
        self.attributes = attributes
        self.startNanoseconds = startNanoseconds
        self.nanoseconds = nanoseconds
        self.value = value
    }
}

/// The points of one metric in one frame.
public struct Metric: Sendable, Hashable {
    /// E.g. `iii.worker.memory.rss`.
    public var name: String
    /// One sentence; empty where it says none.
    public var description: String
    /// E.g. `By`; empty where it says none.
    public var unit: String
    /// What it is.
    public var kind: MetricKind
    /// Of counters and histograms; gauges have none.
    public var temporality: Temporality
    /// Of one or more series.
    public var points: [MetricPoint]
    /// Who sent it.
    public var resource: Resource
    /// The library that made it.
    public var scope: InstrumentationScope

    /// As sent.
    public init(
        name: String, description: String = "", unit: String = "", kind: MetricKind, temporality: Temporality = .cumulative,
        points: [MetricPoint], resource: Resource, scope: InstrumentationScope = InstrumentationScope()
    ) {
        self.name = name
        self.description = description
        self.unit = unit
        self.kind = kind
        self.temporality = temporality
        self.points = points
        self.resource = resource
        self.scope = scope
    }

    /// Roughly what it costs to keep, in bytes; the resource, which it shares, not counted.
    public var cost: Int {
        points.reduce(160 + name.utf8.count) { cost, point in
            var histogram = 0
            if case .histogram(let value) = point.value { histogram = 96 + (value.bounds.count + value.counts.count) * 8 }
            return cost + 64 + point.attributes.cost + histogram
        }
    }
}
