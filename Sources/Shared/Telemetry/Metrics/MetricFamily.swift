/// One metric with all its series, as it is sent, received and shown: the form between instruments, frames and Prometheus text.
public struct MetricFamily: Sendable, Equatable {
    /// How the numbers of a metric are to be read.
    public enum Kind: Sendable, Equatable {
        /// Only grows, or begins again.
        case counter
        /// A sum that may shrink.
        case sum
        case gauge
        case histogram
    }

    /// One series of a metric: its labels, and what it stands at.
    public struct Point: Sendable, Equatable {
        /// Sorted by name.
        public var labels: [Label]
        /// Of the kind that `kind` says.
        public var value: Value
        /// Calls that were counted, at most one a range; only traces that are recorded.
        public var exemplars: [Exemplar] = []

        /// `labels` sorted by name.
        public init(labels: [Label] = [], value: Value, exemplars: [Exemplar] = []) {
            self.labels = labels
            self.value = value
            self.exemplars = exemplars
        }
    }

    /// One of the events that a series has counted.
    public struct Exemplar: Sendable, Equatable {
        /// What was counted, in the metric's unit.
        public var value: Double
        /// Since the epoch.
        public var milliseconds: Int64
        /// The trace it belongs to.
        public var context: SpanContext

        /// `milliseconds` since the epoch.
        public init(value: Double, milliseconds: Int64, context: SpanContext) {
            self.value = value
            self.milliseconds = milliseconds
            self.context = context
        }
    }

    /// What tells one series of a metric from another.
    public struct Label: Sendable, Hashable {
        /// e.g. `function_id`.
        public var name: String
        /// e.g. `orders::take`.
        public var value: String

        /// Both as they are to be shown.
        public init(_ name: String, _ value: String) {
            self.name = name
            self.value = value
        }
    }

    /// What a series stands at.
    public enum Value: Sendable, Equatable {
        case integer(Int64)
        case double(Double)
        /// `counts` has one element more than `bounds`: what lies above the last bound.
        case histogram(bounds: [Double], counts: [UInt64], sum: Double)
    }

    /// As OpenTelemetry writes it, e.g. `iii.queue.depth`.
    public var name: String
    /// One sentence for people; empty where there is none.
    public var description: String
    /// UCUM, e.g. `s`, `By`; empty where there is none.
    public var unit: String
    /// Of all its points.
    public var kind: Kind
    /// One for each combination of labels.
    public var points: [Point]

    /// The points' values must be of this kind.
    public init(name: String, description: String = "", unit: String = "", kind: Kind, points: [Point]) {
        self.name = name
        self.description = description
        self.unit = unit
        self.kind = kind
        self.points = points
    }
}
