import IIISignals

extension Span {
    static func read(_ reader: inout ProtobufReader) throws(OTLPFault) -> Span? {
        var traceID: TraceID?
        var spanID: SpanID?
        // Ids that stand in for those that have not been read yet; a span without its own is rejected below.
        guard let trace = TraceID(high: 0, low: 1), let anySpan = SpanID(1) else { return nil }
        var span = Span(traceID: trace, spanID: anySpan, name: "", startNanoseconds: 0, endNanoseconds: 0, resource: .unread)
        while let tag = try reader.next() {
            switch tag {
            case .bytes(1): traceID = try reader.traceID()
            case .bytes(2): spanID = try reader.spanID()
            case .bytes(3): span.traceState = try reader.text()
            case .bytes(4): span.parentID = try reader.spanID()
            case .bytes(5): span.name = try reader.text()
            case .varint(6): span.kind = SpanKind(rawValue: Int(try reader.int32())) ?? .unspecified
            case .fixed64(7): span.startNanoseconds = try reader.fixed64()
            case .fixed64(8): span.endNanoseconds = try reader.fixed64()
            case .bytes(9): if try reader.attribute(&span.attributes) { span.droppedItems += 1 }
            case .varint(10), .varint(12), .varint(14): span.droppedItems += Int(try reader.uint32())
            case .bytes(11): try reader.event(of: &span)
            case .bytes(13): try reader.link(of: &span)
            case .bytes(15): try reader.status(of: &span)
            case .fixed32(16): span.flags = try reader.fixed32()
            default: try reader.skip(tag)
            }
        }
        guard let traceID else { throw .rejected("a span has no trace_id") }
        guard let spanID else { throw .rejected("a span has no span_id") }
        span.traceID = traceID
        span.spanID = spanID
        return span
    }

    func write(to writer: inout ProtobufWriter) {
        writer.id(1, traceID.high, traceID.low)
        writer.id(2, spanID.value)
        writer.text(3, traceState)
        if let parentID { writer.id(4, parentID.value) }
        writer.text(5, name)
        writer.number(6, UInt64(kind.rawValue))
        writer.fixed64(7, startNanoseconds)
        writer.fixed64(8, endNanoseconds)
        writer.attributes(9, attributes)
        writer.number(10, UInt64(max(0, droppedItems)))
        for event in events {
            writer.message(11) { writer in
                writer.fixed64(1, event.nanoseconds)
                writer.text(2, event.name)
                writer.attributes(3, event.attributes)
            }
        }
        for link in links {
            writer.message(13) { writer in
                writer.id(1, link.traceID.high, link.traceID.low)
                writer.id(2, link.spanID.value)
                writer.text(3, link.traceState)
                writer.attributes(4, link.attributes)
            }
        }
        if status != .unset || !statusMessage.isEmpty {
            writer.message(15) { writer in
                writer.text(2, statusMessage)
                writer.number(3, UInt64(status.rawValue))
            }
        }
        if let flags { writer.fixed32(16, flags) }
    }
}

extension ProtobufReader {
    fileprivate mutating func event(of span: inout Span) throws(OTLPFault) {
        var message = try message()
        guard span.events.count < budget.limits.maximumEvents else { return span.droppedItems += 1 }
        try budget.takeValue()
        var event = SpanEvent(name: "", nanoseconds: 0)
        while let tag = try message.next() {
            switch tag {
            case .fixed64(1): event.nanoseconds = try message.fixed64()
            case .bytes(2): event.name = try message.text()
            case .bytes(3): try message.attribute(&event.attributes)
            default: try message.skip(tag)
            }
        }
        span.events.append(event)
    }

    /// A link to nowhere is left out and counted.
    fileprivate mutating func link(of span: inout Span) throws(OTLPFault) {
        var message = try message()
        guard span.links.count < budget.limits.maximumEvents else { return span.droppedItems += 1 }
        try budget.takeValue()
        var traceID: TraceID?
        var spanID: SpanID?
        var (state, attributes) = ("", [Attribute]())
        while let tag = try message.next() {
            switch tag {
            case .bytes(1): traceID = try message.traceID()
            case .bytes(2): spanID = try message.spanID()
            case .bytes(3): state = try message.text()
            case .bytes(4): try message.attribute(&attributes)
            default: try message.skip(tag)
            }
        }
        guard let traceID, let spanID else { return span.droppedItems += 1 }
        span.links.append(SpanLink(traceID: traceID, spanID: spanID, traceState: state, attributes: attributes))
    }

    fileprivate mutating func status(of span: inout Span) throws(OTLPFault) {
        var message = try message()
        while let tag = try message.next() {
            switch tag {
            case .bytes(2): span.statusMessage = try message.text()
            case .varint(3): span.status = SpanStatus(rawValue: Int(try message.int32())) ?? .unset
            default: try message.skip(tag)
            }
        }
    }
}
