import IIIProtocol

/// Builds the telemetry frames of the worker protocol: four letters, then an OTLP/JSON document
/// (docs/reference/worker-protocol.md#telemetry-frames).
struct OTLPText {
    private var bytes: [UInt8]

    /// `OTLP`: spans.
    static func spans(_ spans: [SpanRecord], resource: [(key: String, value: TelemetryValue)]) -> [UInt8] {
        var text = OTLPText(prefix: "OTLP", list: "resourceSpans", resource: resource, scopes: "scopeSpans", items: "spans")
        text.list(spans) { $0.span($1) }
        return text.finish()
    }

    /// `MTRC`: metrics, cumulative since `start`, both in nanoseconds since the epoch.
    static func metrics(
        _ families: [MetricFamily], resource: [(key: String, value: TelemetryValue)], startNanoseconds: UInt64, nowNanoseconds: UInt64
    ) -> [UInt8] {
        var text = OTLPText(prefix: "MTRC", list: "resourceMetrics", resource: resource, scopes: "scopeMetrics", items: "metrics")
        let times = #""startTimeUnixNano":"\#(startNanoseconds)","timeUnixNano":"\#(nowNanoseconds)""#
        text.list(families.filter { !$0.points.isEmpty }) { $0.family($1, times: times) }
        return text.finish()
    }

    private init(prefix: String, list: String, resource: [(key: String, value: TelemetryValue)], scopes: String, items: String) {
        bytes = Array(#"\#(prefix){"\#(list)":[{"resource":{"attributes":["#.utf8)
        attributes(resource)
        raw(#"]},"\#(scopes)":[{"scope":{"name":"iii"},"\#(items)":["#)
    }

    private consuming func finish() -> [UInt8] {
        raw("]}]}]}")
        return bytes
    }

    private mutating func raw(_ text: String) { bytes.append(contentsOf: text.utf8) }
    private mutating func string(_ text: String) { JSONText.appendString(text, to: &bytes) }

    private mutating func list<Element>(_ elements: some Sequence<Element>, _ write: (inout OTLPText, Element) -> Void) {
        var isFirst = true
        for element in elements {
            if !isFirst { raw(",") }
            isFirst = false
            write(&self, element)
        }
    }

    // MARK: Attributes

    private mutating func attributes(_ pairs: [(key: String, value: TelemetryValue)]) {
        list(pairs) { text, pair in
            text.raw(#"{"key":"#)
            text.string(pair.key)
            text.raw(#","value":{"#)
            switch pair.value {
            case .string(let value):
                text.raw(#""stringValue":"#)
                text.string(value)
            case .integer(let value): text.raw(#""intValue":"\#(value)""#)
            case .double(let value): text.raw(#""doubleValue":"# + Self.number(value))
            case .bool(let value): text.raw(#""boolValue":\#(value)"#)
            }
            text.raw("}}")
        }
    }

    /// ProtoJSON writes what JSON has no number for as text.
    private static func number(_ value: Double) -> String {
        if value.isNaN { return #""NaN""# }
        if value.isInfinite { return value < 0 ? #""-Infinity""# : #""Infinity""# }
        return value.description
    }

    // MARK: Spans

    private mutating func span(_ span: SpanRecord) {
        raw(#"{"traceId":"\#(span.context.traceID)","spanId":"\#(span.context.spanIDText)""#)
        if let parent = span.parentID { raw(#","parentSpanId":"\#(SpanContext.text(parent))""#) }
        raw(#","name":"#)
        string(span.name)
        raw(
            #","kind":\#(span.kind.rawValue),"startTimeUnixNano":"\#(span.startNanoseconds)","endTimeUnixNano":"\#(span.endNanoseconds)""#)
        raw(#","flags":\#(span.context.isSampled ? 1 : 0),"attributes":["#)
        attributes(span.attributes)
        raw("]")
        if span.droppedAttributes > 0 { raw(#","droppedAttributesCount":\#(span.droppedAttributes)"#) }
        if !span.events.isEmpty {
            raw(#","events":["#)
            list(span.events) { text, event in
                text.raw(#"{"timeUnixNano":"\#(event.nanoseconds)","name":"#)
                text.string(event.name)
                text.raw(#","attributes":["#)
                text.attributes(event.attributes)
                text.raw("]}")
            }
            raw("]")
        }
        if span.droppedEvents > 0 { raw(#","droppedEventsCount":\#(span.droppedEvents)"#) }
        if !span.links.isEmpty {
            raw(#","links":["#)
            list(span.links) { text, link in
                text.raw(#"{"traceId":"\#(link.traceID)","spanId":"\#(link.spanIDText)","attributes":[]}"#)
            }
            raw("]")
        }
        if span.droppedLinks > 0 { raw(#","droppedLinksCount":\#(span.droppedLinks)"#) }
        switch span.status {
        case .unset: break
        case .ok: raw(#","status":{"code":1}"#)
        case .error(let message):
            raw(#","status":{"code":2,"message":"#)
            string(message)
            raw("}")
        }
        raw("}")
    }

    // MARK: Metrics

    private mutating func family(_ family: MetricFamily, times: String) {
        raw(#"{"name":"#)
        string(family.name)
        if !family.description.isEmpty {
            raw(#","description":"#)
            string(family.description)
        }
        if !family.unit.isEmpty {
            raw(#","unit":"#)
            string(family.unit)
        }
        switch family.kind {
        case .counter: raw(#","sum":{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":["#)
        case .sum: raw(#","sum":{"aggregationTemporality":2,"isMonotonic":false,"dataPoints":["#)
        case .gauge: raw(#","gauge":{"dataPoints":["#)
        case .histogram: raw(#","histogram":{"aggregationTemporality":2,"dataPoints":["#)
        }
        list(family.points) { $0.point($1, times: times) }
        raw("]}}")
    }

    private mutating func point(_ point: MetricFamily.Point, times: String) {
        raw(#"{"attributes":["#)
        attributes(point.labels.map { ($0.name, .string($0.value)) })
        raw("],\(times)")
        switch point.value {
        case .integer(let value): raw(#","asInt":"\#(value)""#)
        case .double(let value): raw(#","asDouble":"# + Self.number(value))
        case .histogram(let bounds, let counts, let sum):
            raw(#","count":"\#(counts.reduce(0, +))","sum":\#(Self.number(sum)),"bucketCounts":["#)
            list(counts) { $0.raw(#""\#($1)""#) }
            raw(#"],"explicitBounds":["#)
            list(bounds) { $0.raw(Self.number($1)) }
            raw("]")
        }
        raw("}")
    }
}
