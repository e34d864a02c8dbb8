import IIIProtocol
import IIISignals

/// What the core and the supervisor count, for export: what they send nobody themselves. The numbers of built-ins and workers come as frames.
enum FleetMetricReader {
    static let function: FunctionID = "core::fleet::metrics"

    /// `text` is the document of that function in its format `json`. Cumulative since `start`, in nanoseconds since the epoch like `now`.
    static func metrics(_ text: String, resource: Resource, start: UInt64, now: UInt64) -> [Metric] {
        let document = (try? JSONValue(parsing: text))?.array ?? []
        return document.compactMap { family in
            guard let name = family["name"]?.string, let kind = kind(family["kind"]?.string) else { return nil }
            let points = (family["points"]?.array ?? []).compactMap { point(of: $0, start: start, now: now) }
            guard !points.isEmpty else { return nil }
            return Metric(
                name: name, description: family["description"]?.string ?? "", unit: family["unit"]?.string ?? "", kind: kind,
                points: points,
                resource: resource, scope: InstrumentationScope(name: "iii"))
        }
    }

    private static func kind(_ text: String?) -> MetricKind? {
        switch text {
        case "counter": .counter
        case "sum": .upDownCounter
        case "gauge": .gauge
        case "histogram": .histogram
        default: nil
        }
    }

    /// nil for a series of a worker, which sends it itself.
    private static func point(of json: JSONValue, start: UInt64, now: UInt64) -> MetricPoint? {
        let labels = json["labels"]?.object ?? [:]
        guard labels["worker_id"] == nil else { return nil }
        let attributes = labels.sorted { $0.key < $1.key }.map { Attribute($0.key, .string($0.value.string ?? "")) }
        let value: MetricValue
        if let counts = json["counts"]?.array {
            let numbers = counts.compactMap { $0.integer.map { UInt64(max(0, $0)) } }
            value = .histogram(
                HistogramValue(
                    count: numbers.reduce(0, &+), sum: json["sum"]?.number ?? 0, bounds: (json["bounds"]?.array ?? []).compactMap(\.number),
                    counts: numbers))
        } else if let integer = json["value"]?.integer {
            value = .integer(integer)
        } else if let number = json["value"]?.number {
            value = .double(number)
        } else {
            return nil
        }
        return MetricPoint(attributes: attributes, startNanoseconds: start, nanoseconds: now, value: value)
    }
}
