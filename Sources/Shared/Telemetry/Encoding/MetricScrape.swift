import IIIProtocol

/// The metrics of several sources as one document: what `iii-core metrics` and a Prometheus endpoint show.
///
/// A name has one meaning in the document. Families of one name and kind become one. Names that begin with `iii.`, or that the engine or a
/// built-in uses, are theirs: what a worker of the user's sends under them is shown with `sdk_` before its name. What clashes even
/// then is left out, and counted in `leftOut`.
package struct MetricScrape: Sendable {
    /// Who sent something, the most trusted first. Add in this order.
    package enum Origin: Sendable { case engine, builtIn, worker }

    private struct Entry {
        var family: MetricFamily
        let origin: Origin
    }

    /// By the name that Prometheus sees, without `_total`.
    private var entries: [String: Entry] = [:]
    /// Every name that samples have, and whose it is.
    private var owners: [String: String] = [:]
    /// Families that clashed with others.
    package private(set) var leftOut = 0

    package init() {}

    package mutating func add(_ families: [MetricFamily], from origin: Origin) {
        for family in families {
            let name = PrometheusText.name(of: family)
            let isOurs = origin != .worker || !name.hasPrefix("iii_")
            if isOurs, add(family, as: name, origin) { continue }
            if origin == .worker, add(family, as: "sdk_\(name)", origin) { continue }
            leftOut += 1
        }
    }

    private mutating func add(_ family: MetricFamily, as name: String, _ origin: Origin) -> Bool {
        if let known = entries[name] {
            guard known.family.kind == family.kind, known.origin == origin || origin == .builtIn else { return false }
            entries[name]?.family.points += family.points
            return true
        }
        let names = PrometheusText.sampleNames(of: family, name)
        guard names.allSatisfy({ owners[$0] == nil }) else { return false }
        for sample in names { owners[sample] = name }
        entries[name] = Entry(family: family, origin: origin)
        return true
    }

    /// The document in pieces of whole lines, one per family.
    package func pieces(_ format: PrometheusText.Format) -> [String] {
        var pieces = entries.sorted { $0.key < $1.key }.map { name, entry in
            var text = ""
            PrometheusText.write(entry.family, name, format, to: &text)
            return text
        }
        if format == .openMetrics { pieces.append("# EOF\n") }
        return pieces
    }

    /// `[{"name", "kind", "unit", "description", "points": [{"labels", "value"} | {"labels", "bounds", "counts", "sum", "count"}]}]`, one
    /// element a piece. Names are those of OpenTelemetry.
    package func jsonPieces() -> [String] {
        let elements = entries.sorted { $0.key < $1.key }.map { $0.value.family.json.text }
        guard !elements.isEmpty else { return ["[]\n"] }
        return elements.enumerated().map { index, text in
            (index == 0 ? "[" : " ") + text + (index == elements.count - 1 ? "]\n" : ",\n")
        }
    }
}

extension MetricFamily {
    fileprivate var json: JSONValue {
        [
            "name": .string(name), "kind": .string("\(kind)"), "unit": .string(unit), "description": .string(description),
            "points": .array(points.map(\.json)),
        ]
    }
}

extension MetricFamily.Point {
    fileprivate var json: JSONValue {
        var members: [String: JSONValue] = [
            "labels": .object(Dictionary(labels.map { ($0.name, .string($0.value)) }) { first, _ in first })
        ]
        func number(_ value: Double) -> JSONValue { value.isFinite ? .double(value) : .string("\(value)") }
        switch value {
        case .integer(let value): members["value"] = .integer(value)
        case .double(let value): members["value"] = number(value)
        case .histogram(let bounds, let counts, let sum):
            members["bounds"] = .array(bounds.map(number))
            members["counts"] = .array(counts.map { .integer(Int64(clamping: $0)) })
            members["count"] = .integer(Int64(clamping: counts.reduce(0, &+)))
            members["sum"] = number(sum)
        }
        return .object(members)
    }
}
