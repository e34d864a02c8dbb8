import IIISignals

extension LogRecord {
    static func read(_ reader: inout OTLPJSONReader) throws(OTLPFault) -> LogRecord? {
        var record = LogRecord.unread
        var eventName = ""
        try reader.object { reader, key throws(OTLPFault) in
            switch key {
            case "timeUnixNano": record.nanoseconds = try reader.integer()
            case "observedTimeUnixNano": record.observedNanoseconds = try reader.integer()
            case "severityNumber": record.severityNumber = try reader.enumeration(Self.severityNames)
            case "severityText": record.severityText = try reader.text()
            case "body": record.body = try reader.value()
            case "attributes": try reader.attributes(&record.attributes)
            case "flags": record.flags = try reader.integer()
            case "traceId": record.traceID = try reader.traceID("traceId")?.text
            case "spanId": record.spanID = try reader.spanID("spanId")?.text
            case "eventName": eventName = try reader.text()
            default: break
            }
        }
        record.setEventName(eventName)
        return record
    }

    func write(to writer: inout OTLPJSONWriter) {
        writer.object { writer in
            writer.member("timeUnixNano", "\(nanoseconds)")
            writer.member("observedTimeUnixNano", "\(observedNanoseconds)")
            if severityNumber > 0 { writer.member("severityNumber", number: UInt64(severityNumber)) }
            writer.optional("severityText", severityText)
            if body != .empty { writer.member("body") { $0.value(body) } }
            writer.attributes(attributes)
            if let flags { writer.member("flags", number: UInt64(flags)) }
            // What a caller of `engine::log::*` named otherwise is no id to anybody else.
            if let id = traceID.flatMap({ TraceID($0) }) { writer.member("traceId", id.text) }
            if let id = spanID.flatMap({ SpanID($0) }) { writer.member("spanId", id.text) }
        }
    }

    /// `SEVERITY_NUMBER_INFO2` and its like, at their numbers.
    private static let severityNames =
        ["SEVERITY_NUMBER_UNSPECIFIED"]
        + (1...24).map { "SEVERITY_NUMBER_\(Severity(number: $0)?.text ?? "")\($0 % 4 == 1 ? "" : "\(($0 - 1) % 4 + 1)")" }

    static let unread = LogRecord(
        nanoseconds: 0, observedNanoseconds: 0, severityNumber: 0, severityText: "", body: .empty, resource: .unread)

    /// A record that is an event has its name as the attribute that named events before they had a field.
    mutating func setEventName(_ name: String) {
        if !name.isEmpty, attributes["event.name"] == nil { attributes.append(Attribute("event.name", .string(name))) }
    }
}
