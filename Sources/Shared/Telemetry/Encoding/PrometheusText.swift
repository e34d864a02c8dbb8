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
        var seen: Set<String> = []
        for point in family.points {
            let labels = Labels(point.labels, isHistogram: family.kind == .histogram)
            guard seen.insert(labels.text()).inserted else { continue }
            switch point.value {
            case .integer(let value): output += "\(counterName)\(labels.text()) \(value)\n"
            case .double(let value): output += "\(counterName)\(labels.text()) \(number(value))\n"
            case .histogram(let bounds, let counts, let sum):
                var total: UInt64 = 0
                for (index, count) in counts.enumerated() {
                    total &+= count
                    let bound = index < bounds.count ? bounds[index] : .infinity
                    output += "\(name)_bucket\(labels.text(adding: ("le", number(bound)))) \(total)"
                    if format == .openMetrics {
                        let floor = index == 0 ? -Double.infinity : bounds[index - 1]
                        if let exemplar = point.exemplars.first(where: { $0.value > floor && $0.value <= bound }) {
                            output += text(of: exemplar)
                        }
                    }
                    output += "\n"
                }
                output += "\(name)_sum\(labels.text()) \(number(sum))\n\(name)_count\(labels.text()) \(total)\n"
            }
        }
    }

    private static func text(of exemplar: MetricFamily.Exemplar) -> String {
        let ids = "{trace_id=\"\(exemplar.context.traceID)\",span_id=\"\(exemplar.context.spanIDText)\"}"
        return " # \(ids) \(number(exemplar.value)) \(number(Double(exemplar.milliseconds) / 1000))"
    }

    /// The labels of one series as Prometheus has them. Keys that become one name share it, their values joined in the order of the keys; what
    /// is not a sender's to set gets `exported_` before its name.
    private struct Labels {
        private let parts: [String]

        init(_ labels: [MetricFamily.Label], isHistogram: Bool) {
            var values: [String: String] = [:]
            var order: [String] = []
            for label in labels.sorted(by: { $0.name < $1.name }) {
                var name = identifier(label.name, allowsColon: false)
                if name == "__name__" || (isHistogram && name == "le") { name = "exported_\(name)" }
                if let known = values[name] {
                    values[name] = known + ";" + label.value
                } else {
                    values[name] = label.value
                    order.append(name)
                }
            }
            parts = order.map { "\($0)=\"\(escaped(values[$0] ?? "", quotes: true))\"" }
        }

        func text(adding extra: (String, String)? = nil) -> String {
            guard let extra else { return parts.isEmpty ? "" : "{\(parts.joined(separator: ","))}" }
            return "{\((parts + ["\(extra.0)=\"\(extra.1)\""]).joined(separator: ","))}"
        }
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
        let isInteger = value == value.rounded() && abs(value) < 1e15 && !(value == 0 && value.sign == .minus)
        return isInteger ? "\(Int64(value))" : "\(value)"
    }
}
