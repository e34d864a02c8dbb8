import IIISignals

extension Span {
    static func read(_ reader: inout OTLPJSONReader) throws(OTLPFault) -> Span? {
        var traceID: TraceID?
        var spanID: SpanID?
        // Ids that stand in for those that have not been read yet; a span without its own is rejected below.
        guard let trace = TraceID(high: 0, low: 1), let anySpan = SpanID(1) else { return nil }
        var span = Span(traceID: trace, spanID: anySpan, name: "", startNanoseconds: 0, endNanoseconds: 0, resource: .unread)
        reader.isKindStated = false
        try reader.object { reader, key throws(OTLPFault) in
            switch key {
            case "traceId": traceID = try reader.traceID("traceId")
            case "spanId": spanID = try reader.spanID("spanId")
            case "parentSpanId": span.parentID = try reader.spanID("parentSpanId")
            case "traceState": span.traceState = try reader.text()
            case "flags": span.flags = try reader.integer()
            case "name": span.name = try reader.text()
            case "kind":
                span.kind = SpanKind(rawValue: try reader.enumeration(Self.kindNames)) ?? .unspecified
                reader.isKindStated = true
            case "startTimeUnixNano": span.startNanoseconds = try reader.integer()
            case "endTimeUnixNano": span.endNanoseconds = try reader.integer()
            case "attributes": span.droppedItems += try reader.attributes(&span.attributes)
            case "droppedAttributesCount", "droppedEventsCount", "droppedLinksCount":
                span.droppedItems += Int(try reader.integer(UInt32.self))
            case "events": try reader.events(of: &span)
            case "links": try reader.links(of: &span)
            case "status": try reader.status(of: &span)
            default: break
            }
        }
        guard let traceID else { throw .rejected("a span has no traceId") }
        guard let spanID else { throw .rejected("a span has no spanId") }
        span.traceID = traceID
        span.spanID = spanID
        return span
    }

    func write(to writer: inout OTLPJSONWriter) {
        writer.object { writer in
            writer.member("traceId", traceID.text)
            writer.member("spanId", spanID.text)
            if let parentID { writer.member("parentSpanId", parentID.text) }
            writer.optional("traceState", traceState)
            if let flags { writer.member("flags", number: UInt64(flags)) }
            writer.member("name", name)
            if kind != .unspecified { writer.member("kind", number: UInt64(kind.rawValue)) }
            writer.member("startTimeUnixNano", "\(startNanoseconds)")
            writer.member("endTimeUnixNano", "\(endNanoseconds)")
            writer.attributes(attributes)
            if droppedItems > 0 { writer.member("droppedAttributesCount", number: UInt64(droppedItems)) }
            writer.optionalList("events", events) { writer, event in
                writer.object { writer in
                    writer.member("timeUnixNano", "\(event.nanoseconds)")
                    writer.member("name", event.name)
                    writer.attributes(event.attributes)
                }
            }
            writer.optionalList("links", links) { writer, link in
                writer.object { writer in
                    writer.member("traceId", link.traceID.text)
                    writer.member("spanId", link.spanID.text)
                    writer.optional("traceState", link.traceState)
                    writer.attributes(link.attributes)
                }
            }
            guard status != .unset || !statusMessage.isEmpty else { return }
            writer.member("status") { writer in
                writer.object { writer in
                    writer.optional("message", statusMessage)
                    if status != .unset { writer.member("code", number: UInt64(status.rawValue)) }
                }
            }
        }
    }
}

extension Span {
    private static let kindNames = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"].map { "SPAN_KIND_\($0)" }
    fileprivate static let statusNames = ["UNSET", "OK", "ERROR"].map { "STATUS_CODE_\($0)" }
}

extension OTLPJSONReader {
    fileprivate mutating func events(of span: inout Span) throws(OTLPFault) {
        try array { reader throws(OTLPFault) in
            guard span.events.count < reader.budget.limits.maximumEvents else {
                span.droppedItems += 1
                return try reader.skip()
            }
            try reader.budget.takeValue()
            var event = SpanEvent(name: "", nanoseconds: 0)
            try reader.object { reader, key throws(OTLPFault) in
                switch key {
                case "timeUnixNano": event.nanoseconds = try reader.integer()
                case "name": event.name = try reader.text()
                case "attributes": try reader.attributes(&event.attributes)
                default: break
                }
            }
            span.events.append(event)
        }
    }

    /// A link to nowhere is left out and counted.
    fileprivate mutating func links(of span: inout Span) throws(OTLPFault) {
        try array { reader throws(OTLPFault) in
            guard span.links.count < reader.budget.limits.maximumEvents else {
                span.droppedItems += 1
                return try reader.skip()
            }
            try reader.budget.takeValue()
            var traceID: TraceID?
            var spanID: SpanID?
            var (state, attributes) = ("", [Attribute]())
            try reader.object { reader, key throws(OTLPFault) in
                switch key {
                case "traceId": traceID = try reader.traceID("traceId of a link")
                case "spanId": spanID = try reader.spanID("spanId of a link")
                case "traceState": state = try reader.text()
                case "attributes": try reader.attributes(&attributes)
                default: break
                }
            }
            guard let traceID, let spanID else { return span.droppedItems += 1 }
            span.links.append(SpanLink(traceID: traceID, spanID: spanID, traceState: state, attributes: attributes))
        }
    }

    fileprivate mutating func status(of span: inout Span) throws(OTLPFault) {
        try object { reader, key throws(OTLPFault) in
            switch key {
            case "code": span.status = SpanStatus(rawValue: try reader.enumeration(Span.statusNames)) ?? .unset
            case "message": span.statusMessage = try reader.text()
            default: break
            }
        }
    }
}
