import IIISignals

extension Metric {
    static func read(_ reader: inout ProtobufReader) throws(OTLPFault) -> Metric? {
        var metric = Metric(name: "", kind: .gauge, points: [], resource: .unread)
        var hasData = false
        var unsupported: (kind: String, points: Int)?
        while let tag = try reader.next() {
            switch tag {
            case .bytes(1): metric.name = try reader.text()
            case .bytes(2): metric.description = try reader.text()
            case .bytes(3): metric.unit = try reader.text()
            case .bytes(5), .bytes(7), .bytes(9):
                metric.kind = tag == .bytes(5) ? .gauge : tag == .bytes(7) ? .upDownCounter : .histogram
                var data = try reader.message()
                try data.data(of: &metric)
                hasData = true
            case .bytes(10):
                var data = try reader.message()
                unsupported = ("exponential histograms", try data.pointCount())
            case .bytes(11):
                var data = try reader.message()
                unsupported = ("summaries", try data.pointCount())
            default: try reader.skip(tag)
            }
        }
        if let unsupported, !hasData {
            reader.budget.reject(unsupported.points, Self.unsupported(metric.name, unsupported.kind))
            return nil
        }
        guard !metric.name.isEmpty else { throw .rejected("a metric has no name") }
        return hasData ? metric : nil
    }

    func write(to writer: inout ProtobufWriter) {
        writer.text(1, name)
        writer.text(2, description)
        writer.text(3, unit)
        let field: UInt64 =
            switch kind {
            case .gauge: 5
            case .counter, .upDownCounter: 7
            case .histogram: 9
            }
        writer.message(field) { writer in
            for point in points { writer.message(1) { kind == .histogram ? $0.distribution(point) : $0.number(point) } }
            if kind != .gauge { writer.number(2, UInt64(temporality.rawValue)) }
            if kind == .counter { writer.number(3, 1) }
        }
    }
}

extension ProtobufWriter {
    fileprivate mutating func number(_ point: MetricPoint) {
        fixed64(2, point.startNanoseconds)
        fixed64(3, point.nanoseconds)
        switch point.value {
        case .double(let value): oneof(4, fixed64: value.bitPattern)
        case .integer(let value): oneof(6, fixed64: UInt64(bitPattern: value))
        case .gone, .histogram: number(8, 1)
        }
        for exemplar in point.exemplars { message(5) { $0.exemplar(exemplar) } }
        attributes(7, point.attributes)
    }

    fileprivate mutating func distribution(_ point: MetricPoint) {
        fixed64(2, point.startNanoseconds)
        fixed64(3, point.nanoseconds)
        if case .histogram(let value) = point.value {
            fixed64(4, value.count)
            oneof(5, fixed64: value.sum.bitPattern)
            packed(6, value.counts)
            packed(7, value.bounds.map(\.bitPattern))
            if let minimum = value.minimum { oneof(11, fixed64: minimum.bitPattern) }
            if let maximum = value.maximum { oneof(12, fixed64: maximum.bitPattern) }
        } else {
            number(10, 1)
        }
        for exemplar in point.exemplars { message(8) { $0.exemplar(exemplar) } }
        attributes(9, point.attributes)
    }

    private mutating func exemplar(_ exemplar: Exemplar) {
        fixed64(2, exemplar.nanoseconds)
        oneof(3, fixed64: exemplar.value.bitPattern)
        if let id = exemplar.spanID { self.id(4, id.value) }
        if let id = exemplar.traceID { self.id(5, id.high, id.low) }
    }
}

extension ProtobufReader {
    fileprivate mutating func pointCount() throws(OTLPFault) -> Int {
        var count = 0
        while let tag = try next() {
            if tag == .bytes(1) { count += 1 }
            try skip(tag)
        }
        return count
    }

    /// The inside of a gauge, a sum or a histogram.
    fileprivate mutating func data(of metric: inout Metric) throws(OTLPFault) {
        let isHistogram = metric.kind == .histogram
        while let tag = try next() {
            switch tag {
            case .bytes(1):
                var point = try message()
                try tolerate(1) { () throws(OTLPFault) in
                    metric.points.append(isHistogram ? try point.distribution() : try point.number())
                }
            case .varint(2): metric.temporality = Temporality(rawValue: Int(try int32())) ?? .cumulative
            case .varint(3): if try varint() != 0, !isHistogram { metric.kind = .counter }
            default: try skip(tag)
            }
        }
    }

    private mutating func number() throws(OTLPFault) -> MetricPoint {
        try budget.takeValue()
        var point = MetricPoint(attributes: [], startNanoseconds: 0, nanoseconds: 0, value: .integer(0))
        var flags: UInt32 = 0
        while let tag = try next() {
            switch tag {
            case .fixed64(2): point.startNanoseconds = try fixed64()
            case .fixed64(3): point.nanoseconds = try fixed64()
            case .fixed64(4): point.value = .double(try double())
            case .fixed64(6): point.value = .integer(Int64(bitPattern: try fixed64()))
            case .bytes(5): try exemplar(of: &point)
            case .bytes(7): try attribute(&point.attributes)
            case .varint(8): flags = try uint32()
            default: try skip(tag)
            }
        }
        if flags & 1 == 1 || point.value.number?.isNaN == true { point.value = .gone }
        return point
    }

    private mutating func distribution() throws(OTLPFault) -> MetricPoint {
        try budget.takeValue()
        var point = MetricPoint(attributes: [], startNanoseconds: 0, nanoseconds: 0, value: .gone)
        var histogram = HistogramValue(count: 0, sum: 0, bounds: [], counts: [])
        var flags: UInt32 = 0
        while let tag = try next() {
            switch tag {
            case .fixed64(2): point.startNanoseconds = try fixed64()
            case .fixed64(3): point.nanoseconds = try fixed64()
            case .fixed64(4): histogram.count = try fixed64()
            case .fixed64(5): histogram.sum = try double()
            case .bytes(6): histogram.counts += try packed { reader throws(OTLPFault) in try reader.fixed64() }
            case .fixed64(6): histogram.counts.append(try fixed64())
            case .bytes(7): histogram.bounds += try packed { reader throws(OTLPFault) in try reader.double() }
            case .fixed64(7): histogram.bounds.append(try double())
            case .bytes(8): try exemplar(of: &point)
            case .bytes(9): try attribute(&point.attributes)
            case .varint(10): flags = try uint32()
            case .fixed64(11): histogram.minimum = try double()
            case .fixed64(12): histogram.maximum = try double()
            default: try skip(tag)
            }
        }
        if let fault = histogram.fault { throw .rejected(fault) }
        if flags & 1 == 0, !histogram.sum.isNaN { point.value = .histogram(histogram) }
        return point
    }
}
