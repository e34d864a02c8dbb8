import IIIProtocol
import IIISignals

@testable import IIIOTLP

/// Documents of every shape, from a seed.
struct RandomDocuments {
    var generator: SeededGenerator

    init(seed: UInt64) { generator = SeededGenerator(seed: seed) }

    mutating func number(_ range: Range<Int>) -> Int { Int.random(in: range, using: &generator) }
    mutating func bits() -> UInt64 { UInt64.random(in: 0 ... .max, using: &generator) }
    mutating func chance(_ one: Int) -> Bool { number(0..<one) == 0 }

    mutating func text() -> String {
        let words = [
            "", "a", "function_id", "orders::take", "€😀", "quote \" back \\ line\nNUL\u{0}", "ü", String(repeating: "x", count: 200),
        ]
        return words[number(0..<words.count)]
    }

    mutating func list<Element>(_ most: Int, _ make: (inout RandomDocuments) -> Element) -> [Element] {
        (0..<number(0..<(most + 1))).map { _ in make(&self) }
    }

    mutating func double() -> Double {
        let values = [0, -0.0, 1.5, -1e300, .leastNonzeroMagnitude, 1e16, .infinity, -.infinity, 0.1, Double(bits() >> 12)]
        return values[number(0..<values.count)]
    }

    mutating func value(depth: Int = 0) -> AttributeValue {
        switch number(0..<(depth > 3 ? 6 : 8)) {
        case 0: .empty
        case 1: .string(text())
        case 2: .bool(chance(2))
        case 3: .integer(Int64(bitPattern: bits()))
        case 4: .double(double())
        case 5: .bytes(list(5) { UInt8(truncatingIfNeeded: $0.bits()) })
        case 6: .array(list(3) { $0.value(depth: depth + 1) })
        default: .map(list(3) { $0.attribute(depth: depth + 1) })
        }
    }

    mutating func attribute(depth: Int = 0) -> Attribute { Attribute(text(), value(depth: depth)) }
    mutating func attributes() -> [Attribute] { list(4) { $0.attribute() } }
    mutating func traceID() -> TraceID { TraceID(high: bits(), low: bits() | 1)! }
    mutating func spanID() -> SpanID { SpanID(bits() | 1)! }

    mutating func resource() -> Resource { Resource(attributes()) }

    mutating func span(_ resource: Resource) -> Span {
        var span = Span(
            traceID: traceID(), spanID: spanID(), parentID: chance(2) ? spanID() : nil, name: text(), startNanoseconds: bits(),
            endNanoseconds: chance(3) ? 0 : bits(), resource: resource)
        span.traceState = text()
        if chance(2) { span.flags = UInt32(truncatingIfNeeded: bits()) }
        span.kind = SpanKind(rawValue: number(0..<6)) ?? .client
        span.attributes = attributes()
        span.events = list(3) { SpanEvent(name: $0.text(), nanoseconds: $0.bits(), attributes: $0.attributes()) }
        span.links = list(3) {
            SpanLink(traceID: $0.traceID(), spanID: $0.spanID(), traceState: $0.text(), attributes: $0.attributes())
        }
        span.status = [.unset, .ok, .error][number(0..<3)]
        span.statusMessage = text()
        span.droppedItems = chance(2) ? number(0..<1000) : 0
        span.scope = scope()
        return span
    }

    mutating func scope() -> InstrumentationScope { InstrumentationScope(name: "scope " + text(), version: text()) }

    mutating func log(_ resource: Resource) -> LogRecord {
        let severity = number(1..<25)
        var record = LogRecord(
            nanoseconds: chance(3) ? 0 : bits(), observedNanoseconds: bits(), severityNumber: severity,
            severityText: chance(2) ? "custom" : Severity(number: severity)?.text ?? "", body: value(), resource: resource)
        record.attributes = attributes()
        if chance(2) { record.flags = 1 }
        if chance(2) { (record.traceID, record.spanID) = (traceID().text, spanID().text) }
        record.scope = scope()
        return record
    }

    mutating func metric(_ resource: Resource) -> Metric {
        let kind: MetricKind = [.gauge, .counter, .upDownCounter, .histogram][number(0..<4)]
        let points = list(4) { random in
            let value: MetricValue
            switch random.number(0..<5) {
            case 0: value = .gone
            case _ where kind == .histogram:
                let bounds = [[], [1], [0.5, 1, 2.5]][random.number(0..<3)]
                let counts = random.chance(4) ? [] : (0...bounds.count).map { _ in random.bits() }
                value = .histogram(
                    HistogramValue(
                        count: random.bits(), sum: random.double(), bounds: bounds, counts: counts,
                        minimum: random.chance(2) ? 0 : nil, maximum: random.chance(2) ? random.double() : nil))
            case 1, 2: value = .integer(Int64(bitPattern: random.bits()))
            default: value = .double(random.double())
            }
            var point = MetricPoint(
                attributes: random.attributes(), startNanoseconds: random.bits(), nanoseconds: random.bits(), value: value)
            point.exemplars = random.list(2) {
                Exemplar(nanoseconds: $0.bits(), value: $0.double(), traceID: $0.chance(2) ? $0.traceID() : nil, spanID: $0.spanID())
            }
            return point
        }
        return Metric(
            name: "m" + text(), description: text(), unit: text(), kind: kind,
            temporality: kind != .gauge && chance(2) ? .delta : .cumulative,
            points: points, resource: resource, scope: scope())
    }

    /// Records of a few senders, in the order in which a document has them.
    mutating func records<Item: OTLPItem>(_ make: (inout RandomDocuments, Resource) -> Item) -> [Item] {
        var items: [Item] = []
        for _ in 0..<number(0..<4) {
            let resource = resource()
            items += list(4) { make(&$0, resource) }
        }
        return OTLPGroups(items).groups.flatMap(\.scopes).flatMap(\.items)
    }
}
