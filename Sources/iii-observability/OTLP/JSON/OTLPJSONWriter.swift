import IIIProtocol
import IIISignals

/// Writes an OTLP/JSON document: lower camel case, 64-bit integers as text, ids in hex, what JSON has no number for as text.
struct OTLPJSONWriter {
    var bytes: [UInt8] = []
    /// Whether something stands before in the object or list.
    private var needsComma = false

    mutating func document<Item>(_ groups: OTLPGroups<Item>) {
        let names = Item.signal.names
        object { writer in
            writer.list(names.resources, groups.groups) { writer, group in
                writer.object { writer in
                    writer.member("resource") { writer in writer.object { $0.attributes(group.resource.attributes) } }
                    writer.list(names.scopes, group.scopes) { writer, group in
                        writer.object { writer in
                            writer.member("scope") { writer in
                                writer.object { writer in
                                    writer.optional("name", group.scope.name)
                                    writer.optional("version", group.scope.version)
                                }
                            }
                            writer.list(names.items, group.items) { $1.write(to: &$0) }
                        }
                    }
                }
            }
        }
    }

    // MARK: Structure

    private mutating func raw(_ text: StaticString) {
        bytes.append(contentsOf: UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    mutating func object(_ members: (inout OTLPJSONWriter) -> Void) {
        raw("{")
        needsComma = false
        members(&self)
        raw("}")
        needsComma = true
    }

    private mutating func name(_ name: String) {
        if needsComma { raw(",") }
        needsComma = true
        JSONText.appendString(name, to: &bytes)
        raw(":")
    }

    mutating func member(_ name: String, _ write: (inout OTLPJSONWriter) -> Void) {
        self.name(name)
        write(&self)
        needsComma = true
    }

    mutating func member(_ name: String, _ text: String) {
        self.name(name)
        JSONText.appendString(text, to: &bytes)
    }

    mutating func member(_ name: String, number: UInt64) {
        self.name(name)
        bytes.append(contentsOf: number.description.utf8)
    }

    mutating func member(_ name: String, _ value: Bool) {
        self.name(name)
        raw(value ? "true" : "false")
    }

    /// Nothing for an empty text.
    mutating func optional(_ name: String, _ text: String) {
        if !text.isEmpty { member(name, text) }
    }

    mutating func list<Element>(_ name: String, _ elements: some Sequence<Element>, _ write: (inout OTLPJSONWriter, Element) -> Void) {
        self.name(name)
        raw("[")
        var isFirst = true
        for element in elements {
            if !isFirst { raw(",") }
            isFirst = false
            write(&self, element)
        }
        raw("]")
        needsComma = true
    }

    /// Nothing for an empty list.
    mutating func optionalList<Element>(_ name: String, _ elements: [Element], _ write: (inout OTLPJSONWriter, Element) -> Void) {
        if !elements.isEmpty { list(name, elements, write) }
    }

    // MARK: Values

    mutating func attributes(_ attributes: [Attribute]) { optionalList("attributes", attributes) { $0.attribute($1) } }

    private mutating func attribute(_ attribute: Attribute) {
        object { writer in
            writer.member("key", attribute.key)
            writer.member("value") { $0.value(attribute.value) }
        }
    }

    mutating func value(_ value: AttributeValue) {
        object { writer in
            switch value {
            case .empty: break
            case .string(let text): writer.member("stringValue", text)
            case .bool(let value): writer.member("boolValue", value)
            case .integer(let value): writer.member("intValue", "\(value)")
            case .double(let value): writer.member("doubleValue") { $0.number(value) }
            case .bytes(let bytes): writer.member("bytesValue", Base64.encode(bytes))
            case .array(let elements):
                writer.member("arrayValue") { writer in writer.object { $0.list("values", elements) { $0.value($1) } } }
            case .map(let members):
                writer.member("kvlistValue") { writer in writer.object { $0.list("values", members) { $0.attribute($1) } } }
            }
        }
    }

    /// ProtoJSON writes what JSON has no number for as text.
    mutating func number(_ value: Double) {
        guard value.isFinite else {
            return JSONText.appendString(value.isNaN ? "NaN" : value < 0 ? "-Infinity" : "Infinity", to: &bytes)
        }
        bytes.append(contentsOf: value.description.utf8)
    }

    mutating func point(_ point: MetricPoint) {
        object { writer in
            writer.attributes(point.attributes)
            if point.startNanoseconds > 0 { writer.member("startTimeUnixNano", "\(point.startNanoseconds)") }
            writer.member("timeUnixNano", "\(point.nanoseconds)")
            switch point.value {
            case .integer(let value): writer.member("asInt", "\(value)")
            case .double(let value): writer.member("asDouble") { $0.number(value) }
            case .histogram(let value): writer.histogram(value)
            case .gone: writer.member("flags", number: 1)
            }
            writer.optionalList("exemplars", point.exemplars) { $0.exemplar($1) }
        }
    }

    private mutating func histogram(_ value: HistogramValue) {
        member("count", "\(value.count)")
        member("sum") { $0.number(value.sum) }
        if let minimum = value.minimum { member("min") { $0.number(minimum) } }
        if let maximum = value.maximum { member("max") { $0.number(maximum) } }
        optionalList("bucketCounts", value.counts) { JSONText.appendString("\($1)", to: &$0.bytes) }
        optionalList("explicitBounds", value.bounds) { $0.number($1) }
    }

    private mutating func exemplar(_ exemplar: Exemplar) {
        object { writer in
            writer.member("timeUnixNano", "\(exemplar.nanoseconds)")
            writer.member("asDouble") { $0.number(exemplar.value) }
            if let id = exemplar.traceID { writer.member("traceId", id.text) }
            if let id = exemplar.spanID { writer.member("spanId", id.text) }
        }
    }
}
