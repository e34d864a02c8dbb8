/// One metric with all its series, as it is sent, received and shown: the form between instruments, frames and Prometheus text.
public struct MetricFamily: Sendable, Equatable {
    public enum Kind: Sendable, Equatable {
        /// Only grows, or begins again.
        case counter
        /// A sum that may shrink.
        case sum
        case gauge
        case histogram
    }

    public struct Point: Sendable, Equatable {
        /// Sorted by name.
        public var labels: [Label]
        public var value: Value

        public init(labels: [Label] = [], value: Value) {
            self.labels = labels
            self.value = value
        }
    }

    public struct Label: Sendable, Hashable {
        public var name: String
        public var value: String

        public init(_ name: String, _ value: String) {
            self.name = name
            self.value = value
        }
    }

    public enum Value: Sendable, Equatable {
        case integer(Int64)
        case double(Double)
        /// `counts` has one element more than `bounds`: what lies above the last bound.
        case histogram(bounds: [Double], counts: [UInt64], sum: Double)
    }

    /// As OpenTelemetry writes it, e.g. `iii.queue.depth`.
    public var name: String
    public var description: String
    /// UCUM, e.g. `s`, `By`; empty where there is none.
    public var unit: String
    public var kind: Kind
    public var points: [Point]

    public init(name: String, description: String = "", unit: String = "", kind: Kind, points: [Point]) {
        self.name = name
        self.description = description
        self.unit = unit
        self.kind = kind
        self.points = points
    }
}
