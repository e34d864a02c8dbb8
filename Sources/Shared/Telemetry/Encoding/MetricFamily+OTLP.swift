import IIIProtocol

extension MetricFamily {
    /// The metrics of a decoded OTLP/JSON export request; what is malformed, NaN or marked as not recorded is left out.
    ///
    /// `labels` say where it comes from: they replace what the document has under these names, or, with `filling`, only stand in where it
    /// has none. 64-bit integers are read as text and as numbers.
    package static func families(otlp document: JSONValue, adding labels: [Label] = [], filling: Bool = false) -> [MetricFamily] {
        var families: [MetricFamily] = []
        for resource in document["resourceMetrics"]?.array ?? [] {
            for scope in resource["scopeMetrics"]?.array ?? [] {
                families += (scope["metrics"]?.array ?? []).compactMap { MetricFamily(otlp: $0, adding: labels, filling) }
            }
        }
        return families
    }

    private init?(otlp metric: JSONValue, adding labels: [Label], _ filling: Bool) {
        guard let name = metric["name"]?.string else { return nil }
        let kind: Kind
        let data: JSONValue
        if let sum = metric["sum"] {
            kind = sum["isMonotonic"]?.bool == true ? .counter : .sum
            data = sum
        } else if let gauge = metric["gauge"] {
            kind = .gauge
            data = gauge
        } else if let histogram = metric["histogram"] {
            kind = .histogram
            data = histogram
        } else {
            return nil
        }
        let points = (data["dataPoints"]?.array ?? []).compactMap { Point(otlp: $0, kind, adding: labels, filling) }
        guard !points.isEmpty else { return nil }
        self.init(
            name: name, description: metric["description"]?.string ?? "", unit: metric["unit"]?.string ?? "", kind: kind, points: points)
    }
}

extension MetricFamily.Point {
    fileprivate init?(otlp point: JSONValue, _ kind: MetricFamily.Kind, adding extra: [MetricFamily.Label], _ filling: Bool) {
        guard (point["flags"]?.integer ?? 0) & 1 == 0 else { return nil }
        var labels = Dictionary(extra.map { ($0.name, $0.value) }) { first, _ in first }
        for attribute in point["attributes"]?.array ?? [] {
            guard let key = attribute["key"]?.string, let value = attribute["value"] else { continue }
            // `worker.id` and `worker_id` are one label to Prometheus.
            let identifier = PrometheusText.identifier(key, allowsColon: false)
            if let known = extra.first(where: { $0.name == identifier }) {
                let text = Self.text(value)
                if filling { labels[identifier] = text } else if text != known.value { labels["exported_\(identifier)"] = text }
            } else {
                labels[key] = Self.text(value)
            }
        }
        let value: MetricFamily.Value
        if kind == .histogram {
            let bounds = (point["explicitBounds"]?.array ?? []).compactMap(Self.double)
            let counts = (point["bucketCounts"]?.array ?? []).compactMap(Self.integer).map { UInt64(max(0, $0)) }
            let sum = point["sum"].flatMap(Self.double) ?? 0
            if counts.isEmpty, let count = point["count"].flatMap(Self.integer) {
                // No distribution was sent, and none is made up.
                value = .histogram(bounds: [], counts: [UInt64(max(0, count))], sum: sum)
            } else {
                guard counts.count == bounds.count + 1 else { return nil }
                value = .histogram(bounds: bounds, counts: counts, sum: sum)
            }
        } else if let integer = point["asInt"].flatMap(Self.integer) {
            value = .integer(integer)
        } else if let double = point["asDouble"].flatMap(Self.double), !double.isNaN {
            value = .double(double)
        } else {
            return nil
        }
        self.init(labels: labels.sorted { $0.key < $1.key }.map { MetricFamily.Label($0.key, $0.value) }, value: value)
    }

    private static func text(_ value: JSONValue) -> String {
        value["stringValue"]?.string ?? value["intValue"].flatMap(integer).map { "\($0)" } ?? value["boolValue"]?.bool.map { "\($0)" }
            ?? value["doubleValue"].flatMap(double).map { "\($0)" } ?? value.text
    }

    private static func integer(_ value: JSONValue) -> Int64? { value.integer ?? value.string.flatMap { Int64($0) } }

    private static func double(_ value: JSONValue) -> Double? {
        if let number = value.number { return number }
        return switch value.string {
        case "Infinity"?: .infinity
        case "-Infinity"?: -.infinity
        case "NaN"?: .nan
        case let text?: Double(text)
        case nil: nil
        }
    }
}
