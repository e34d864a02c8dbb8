import IIISignals

extension LogRecord {
    static func read(_ reader: inout ProtobufReader) throws(OTLPFault) -> LogRecord? {
        var record = LogRecord.unread
        var eventName = ""
        while let tag = try reader.next() {
            switch tag {
            case .fixed64(1): record.nanoseconds = try reader.fixed64()
            case .varint(2):
                let severity = Int(try reader.int32())
                record.severityNumber = (0...24).contains(severity) ? severity : 0
            case .bytes(3): record.severityText = try reader.text()
            case .bytes(5):
                var body = try reader.message()
                record.body = try body.value()
            case .bytes(6): try reader.attribute(&record.attributes)
            case .fixed32(8): record.flags = try reader.fixed32()
            case .bytes(9): record.traceID = try reader.traceID()?.text
            case .bytes(10): record.spanID = try reader.spanID()?.text
            case .fixed64(11): record.observedNanoseconds = try reader.fixed64()
            case .bytes(12): eventName = try reader.text()
            default: try reader.skip(tag)
            }
        }
        record.setEventName(eventName)
        return record
    }

    func write(to writer: inout ProtobufWriter) {
        writer.fixed64(1, nanoseconds)
        writer.number(2, UInt64(max(0, severityNumber)))
        writer.text(3, severityText)
        if body != .empty { writer.message(5) { $0.value(body) } }
        writer.attributes(6, attributes)
        if let flags { writer.fixed32(8, flags) }
        // What a caller of `engine::log::*` named otherwise is no id to anybody else.
        if let id = traceID.flatMap({ TraceID($0) }) { writer.id(9, id.high, id.low) }
        if let id = spanID.flatMap({ SpanID($0) }) { writer.id(10, id.value) }
        writer.fixed64(11, observedNanoseconds)
    }
}
