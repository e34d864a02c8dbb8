import IIISignals

extension Metric {
    static func read(_ reader: inout OTLPJSONReader) throws(OTLPFault) -> Metric? {
        var metric = Metric(name: "", kind: .gauge, points: [], resource: .unread)
        var hasData = false
        var unsupported: (kind: String, points: Int)?
        try reader.object { reader, key throws(OTLPFault) in
            switch key {
            case "name": metric.name = try reader.text()
            case "description": metric.description = try reader.text()
            case "unit": metric.unit = try reader.text()
            case "gauge", "sum", "histogram":
                metric.kind = "gauge" ~= key ? .gauge : "sum" ~= key ? .upDownCounter : .histogram
                try reader.data(of: &metric)
                hasData = true
            case "exponentialHistogram": unsupported = ("exponential histograms", try reader.pointCount())
            case "summary": unsupported = ("summaries", try reader.pointCount())
            default: break
            }
        }
        if let unsupported, !hasData {
            reader.budget.reject(unsupported.points, Self.unsupported(metric.name, unsupported.kind))
            return nil
        }
        guard !metric.name.isEmpty else { throw .rejected("a metric has no name") }
        return hasData ? metric : nil
    }

    func write(to writer: inout OTLPJSONWriter) {
        writer.object { writer in
            writer.member("name", name)
            writer.optional("description", description)
            writer.optional("unit", unit)
            let data =
                switch kind {
                case .gauge: "gauge"
                case .counter, .upDownCounter: "sum"
                case .histogram: "histogram"
                }
            writer.member(data) { writer in
                writer.object { writer in
                    if kind != .gauge { writer.member("aggregationTemporality", number: UInt64(temporality.rawValue)) }
                    if kind == .counter { writer.member("isMonotonic", true) }
                    writer.list("dataPoints", points) { $0.point($1) }
                }
            }
        }
    }
}

extension OTLPJSONReader {
    fileprivate mutating func pointCount() throws(OTLPFault) -> Int {
        var count = 0
        try object { reader, key throws(OTLPFault) in
            guard "dataPoints" ~= key else { return }
            try reader.array { reader throws(OTLPFault) in
                count += 1
                try reader.skip()
            }
        }
        return count
    }

    private static let temporalities = ["UNSPECIFIED", "DELTA", "CUMULATIVE"].map { "AGGREGATION_TEMPORALITY_\($0)" }

    /// The inside of `gauge`, `sum` or `histogram`.
    fileprivate mutating func data(of metric: inout Metric) throws(OTLPFault) {
        let isHistogram = metric.kind == .histogram
        try object { reader, key throws(OTLPFault) in
            switch key {
            case "aggregationTemporality":
                metric.temporality = Temporality(rawValue: try reader.enumeration(Self.temporalities)) ?? .cumulative
            case "isMonotonic": if try reader.bool(), !isHistogram { metric.kind = .counter }
            case "dataPoints":
                try reader.array { reader throws(OTLPFault) in
                    try reader.tolerate(1) { reader throws(OTLPFault) in
                        metric.points.append(isHistogram ? try reader.distribution() : try reader.number())
                    }
                }
            default: break
            }
        }
    }

    private mutating func number() throws(OTLPFault) -> MetricPoint {
        try budget.takeValue()
        var point = MetricPoint(attributes: [], startNanoseconds: 0, nanoseconds: 0, value: .integer(0))
        var (flags, double) = (UInt32(0), Double?.none)
        try object { reader, key throws(OTLPFault) in
            switch key {
            case "attributes": try reader.attributes(&point.attributes)
            case "startTimeUnixNano": point.startNanoseconds = try reader.integer()
            case "timeUnixNano": point.nanoseconds = try reader.integer()
            case "asInt": point.value = .integer(try reader.integer())
            case "asDouble": double = try reader.double()
            case "exemplars": try reader.exemplars(of: &point)
            case "flags": flags = try reader.integer()
            default: break
            }
        }
        if let double { point.value = .double(double) }
        if flags & 1 == 1 || double?.isNaN == true { point.value = .gone }
        return point
    }

    private mutating func distribution() throws(OTLPFault) -> MetricPoint {
        try budget.takeValue()
        var point = MetricPoint(attributes: [], startNanoseconds: 0, nanoseconds: 0, value: .gone)
        var histogram = HistogramValue(count: 0, sum: 0, bounds: [], counts: [])
        var flags: UInt32 = 0
        try object { reader, key throws(OTLPFault) in
            switch key {
            case "attributes": try reader.attributes(&point.attributes)
            case "startTimeUnixNano": point.startNanoseconds = try reader.integer()
            case "timeUnixNano": point.nanoseconds = try reader.integer()
            case "count": histogram.count = try reader.integer()
            case "sum": histogram.sum = try reader.double()
            case "min": histogram.minimum = try reader.double()
            case "max": histogram.maximum = try reader.double()
            case "exemplars": try reader.exemplars(of: &point)
            case "flags": flags = try reader.integer()
            case "bucketCounts":
                try reader.array { reader throws(OTLPFault) in
                    try reader.budget.takeValue()
                    histogram.counts.append(try reader.integer())
                }
            case "explicitBounds":
                try reader.array { reader throws(OTLPFault) in
                    try reader.budget.takeValue()
                    histogram.bounds.append(try reader.double())
                }
            default: break
            }
        }
        if let fault = histogram.fault { throw .rejected(fault) }
        if flags & 1 == 0, !histogram.sum.isNaN { point.value = .histogram(histogram) }
        return point
    }
}
