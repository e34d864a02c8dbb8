/// Writes metrics as Prometheus reads them.
package struct PrometheusText {
    /// Which of the two text formats.
    package enum Format: Sendable {
        /// `text/plain; version=0.0.4`
        case prometheus
        /// `application/openmetrics-text; version=1.0.0`
        case openMetrics

        package var contentType: String {
            switch self {
            case .prometheus: "text/plain; version=0.0.4; charset=utf-8"
            case .openMetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8"
            }
        }
    }

    /// The families of one source; see `MetricScrape` for several.
    package static func text(_ families: [MetricFamily], _ format: Format = .prometheus) -> String {
        var scrape = MetricScrape()
        scrape.add(families, from: .engine)
        return scrape.pieces(format).joined()
    }

    /// The name without the `_total` of counters: letters, digits, `_` and `:`; the unit at its end.
    static func name(of family: MetricFamily) -> String {
        var name = identifier(family.name, allowsColon: true)
        if let unit = units[family.unit], !(unit == "milliseconds" && name.hasSuffix("_ms")), !name.hasSuffix("_\(unit)"),
            !name.hasSuffix("_\(unit)_total")
        {
            name = name.hasSuffix("_total") ? "\(name.dropLast(6))_\(unit)" : "\(name)_\(unit)"
        }
        if family.kind == .counter, name.hasSuffix("_total") { name.removeLast(6) }
        return name
    }

    /// UCUM, and how SDKs spell it out.
    private static let units = [
        "s": "seconds", "seconds": "seconds", "ms": "milliseconds", "By": "bytes", "bytes": "bytes", "%": "percent",
    ]

    /// The names that samples of a family have, in both formats together.
    static func sampleNames(of family: MetricFamily, _ name: String) -> [String] {
        switch family.kind {
        case .counter: [name, "\(name)_total"]
        case .sum, .gauge: [name]
        case .histogram: [name, "\(name)_bucket", "\(name)_sum", "\(name)_count"]
        }
    }

    static func identifier(_ text: String, allowsColon: Bool) -> String {
        var name = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "a"..."z", "A"..."Z", "_": name.unicodeScalars.append(scalar)
            case "0"..."9":
                if name.isEmpty { name = "_" }
                name.unicodeScalars.append(scalar)
            case ":" where allowsColon: name.unicodeScalars.append(scalar)
            default: name += "_"
            }
        }
        return name.isEmpty ? "_" : name
    }

    static func write(_ family: MetricFamily, _ name: String, _ format: Format, to output: inout String) {
        let kind =
            switch family.kind {
            case .counter: "counter"
            case .sum, .gauge: "gauge"
            case .histogram: "histogram"
            }
        let counterName = family.kind == .counter ? "\(name)_total" : name
        let header = format == .openMetrics ? name : counterName
        if !family.description.isEmpty { output += "# HELP \(header) \(escaped(family.description, quotes: format == .openMetrics))\n" }
        output += "# TYPE \(header) \(kind)\n"
        var seen: Set<[MetricFamily.Label]> = []
        for point in family.points where seen.insert(point.labels).inserted {
            switch point.value {
            case .integer(let value): output += "\(counterName)\(labels(point.labels)) \(value)\n"
            case .double(let value): output += "\(counterName)\(labels(point.labels)) \(number(value))\n"
            case .histogram(let bounds, let counts, let sum):
                var total: UInt64 = 0
                for (index, count) in counts.enumerated() {
                    total += count
                    let bound = index < bounds.count ? number(bounds[index]) : "+Inf"
                    output += "\(name)_bucket\(labels(point.labels, adding: ("le", bound))) \(total)\n"
                }
                output += "\(name)_sum\(labels(point.labels)) \(number(sum))\n\(name)_count\(labels(point.labels)) \(total)\n"
            }
        }
    }

    private static func labels(_ labels: [MetricFamily.Label], adding extra: (String, String)? = nil) -> String {
        var names: Set<String> = []
        var parts: [String] = []
        for label in labels {
            let name = identifier(label.name, allowsColon: false)
            if name != extra?.0, names.insert(name).inserted { parts.append("\(name)=\"\(escaped(label.value, quotes: true))\"") }
        }
        if let extra { parts.append("\(extra.0)=\"\(extra.1)\"") }
        return parts.isEmpty ? "" : "{\(parts.joined(separator: ","))}"
    }

    private static func escaped(_ text: String, quotes: Bool) -> String {
        var output = ""
        for character in text.unicodeScalars {
            switch character {
            case "\\": output += "\\\\"
            case "\n": output += "\\n"
            case "\"" where quotes: output += "\\\""
            default: output.unicodeScalars.append(character)
            }
        }
        return output
    }

    private static func number(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
        return value == value.rounded() && abs(value) < 1e15 ? "\(Int64(value))" : "\(value)"
    }
}
