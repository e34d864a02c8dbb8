import IIIProtocol
import IIISignals

/// Reads an OTLP/JSON document in one pass, as leniently as docs/reference/observability.md#what-is-accepted says: members that nobody knows and
/// `null` are passed over, 64-bit integers may be text or numbers, enumerations numbers or names.
struct OTLPJSONReader {
    private var cursor: JSONCursor
    private let bytes: UnsafeRawBufferPointer
    let budget: OTLPBudget
    /// Whether the span that was read says which kind it is.
    var isKindStated = true

    /// `bytes` outlive the reader.
    init(_ bytes: UnsafeRawBufferPointer, _ budget: OTLPBudget) {
        cursor = JSONCursor(bytes)
        self.bytes = bytes
        self.budget = budget
    }

    /// The name of a member.
    struct Key {
        fileprivate let bytes: UnsafeRawBufferPointer

        static func ~= (pattern: StaticString, key: Key) -> Bool {
            guard pattern.utf8CodeUnitCount == key.bytes.count else { return false }
            for index in 0..<key.bytes.count where key.bytes[index] != pattern.utf8Start[index] { return false }
            return true
        }

        func equals(_ text: String) -> Bool { bytes.elementsEqual(text.utf8) }
    }

    // MARK: Structure

    /// Nothing but white space may follow.
    mutating func end() throws(OTLPFault) {
        cursor.skipWhitespace()
        guard cursor.position == cursor.end else { throw syntax }
    }

    private var syntax: OTLPFault { .undecodable("invalid JSON at byte \(cursor.position)") }

    /// Passes over a value, whatever it is.
    mutating func skip() throws(OTLPFault) {
        guard cursor.skipLeniently() else { throw syntax }
    }

    /// An object: `member` reads the value of each key it knows; the others are passed over, and so is `null`.
    mutating func object(_ member: (inout OTLPJSONReader, Key) throws(OTLPFault) -> Void) throws(OTLPFault) {
        cursor.skipWhitespace()
        guard cursor.consume(UInt8(ascii: "{")) else { throw try mismatch("an object") }
        cursor.skipWhitespace()
        if cursor.consume(UInt8(ascii: "}")) { return }
        repeat {
            cursor.skipWhitespace()
            let start = cursor.position + 1
            guard cursor.skipString() != nil else { throw syntax }
            let key = Key(bytes: UnsafeRawBufferPointer(rebasing: bytes[start..<(cursor.position - 1)]))
            cursor.skipWhitespace()
            guard cursor.consume(UInt8(ascii: ":")) else { throw syntax }
            cursor.skipWhitespace()
            let value = cursor.position
            if cursor.peek == UInt8(ascii: "n") {
                try skip()
            } else {
                try member(&self, key)
                if cursor.position == value { try skip() }
            }
            cursor.skipWhitespace()
        } while cursor.consume(UInt8(ascii: ","))
        guard cursor.consume(UInt8(ascii: "}")) else { throw syntax }
    }

    mutating func array(_ element: (inout OTLPJSONReader) throws(OTLPFault) -> Void) throws(OTLPFault) {
        cursor.skipWhitespace()
        guard cursor.consume(UInt8(ascii: "[")) else { throw try mismatch("a list") }
        cursor.skipWhitespace()
        if cursor.consume(UInt8(ascii: "]")) { return }
        repeat {
            cursor.skipWhitespace()
            try element(&self)
            cursor.skipWhitespace()
        } while cursor.consume(UInt8(ascii: ","))
        guard cursor.consume(UInt8(ascii: "]")) else { throw syntax }
    }

    /// Reads one value; if it breaks the rules it is passed over and counted as `number` rejected records.
    mutating func tolerate(_ number: Int, _ read: (inout OTLPJSONReader) throws(OTLPFault) -> Void) throws(OTLPFault) {
        let start = cursor.position
        do throws(OTLPFault) {
            try read(&self)
        } catch {
            guard case .rejected(let reason) = error else { throw error }
            cursor.position = start
            try skip()
            budget.reject(number, reason)
        }
    }

    private func mismatch(_ wanted: String) throws(OTLPFault) -> OTLPFault {
        var probe = cursor
        // What is no JSON at all is nobody's record.
        guard probe.skipLeniently() else { throw syntax }
        return .rejected("\(wanted) was expected at byte \(cursor.position)")
    }

    // MARK: Scalars

    /// The bytes of a string without its quotes, and whether there are escapes in it.
    private mutating func stringBytes() throws(OTLPFault) -> (UnsafeRawBufferPointer, hasEscape: Bool) {
        guard cursor.peek == UInt8(ascii: "\"") else { throw try mismatch("a text") }
        let start = cursor.position + 1
        guard let hasEscape = cursor.skipString() else { throw syntax }
        return (UnsafeRawBufferPointer(rebasing: bytes[start..<(cursor.position - 1)]), hasEscape)
    }

    mutating func text() throws(OTLPFault) -> String {
        let start = cursor.position
        let (inner, hasEscape) = try stringBytes()
        guard hasEscape else { return budget.text(inner) }
        var decoded = JSONText.decodeString(UnsafeRawBufferPointer(rebasing: bytes[start..<cursor.position])) ?? ""
        return decoded.utf8.count <= budget.limits.maximumTextBytes
            ? decoded : decoded.withUTF8 { budget.text(UnsafeRawBufferPointer($0)) }
    }

    mutating func bool() throws(OTLPFault) -> Bool {
        guard cursor.peek == UInt8(ascii: "t") || cursor.peek == UInt8(ascii: "f") else { throw try mismatch("true or false") }
        let isTrue = cursor.peek == UInt8(ascii: "t")
        try skip()
        return isTrue
    }

    /// The characters of a number, with or without quotes.
    private mutating func numberText() throws(OTLPFault) -> UnsafeRawBufferPointer {
        if cursor.peek == UInt8(ascii: "\"") { return try stringBytes().0 }
        guard cursor.peek != UInt8(ascii: "{"), cursor.peek != UInt8(ascii: "["), cursor.peek != UInt8(ascii: "t"),
            cursor.peek != UInt8(ascii: "f")
        else { throw try mismatch("a number") }
        let start = cursor.position
        try skip()
        return UnsafeRawBufferPointer(rebasing: bytes[start..<cursor.position])
    }

    mutating func integer<Value: FixedWidthInteger>(_ type: Value.Type = Value.self) throws(OTLPFault) -> Value {
        let start = cursor.position
        let digits = try numberText()
        if let value = Self.decimal(digits, Value.self) { return value }
        // Whole numbers may be written with a fraction or an exponent.
        guard let double = Double(String(decoding: digits, as: UTF8.self)), let value = Value(exactly: double) else {
            throw .rejected("a whole number in range was expected at byte \(start)")
        }
        return value
    }

    private static func decimal<Value: FixedWidthInteger>(_ digits: UnsafeRawBufferPointer, _ type: Value.Type) -> Value? {
        var index = 0
        let isNegative = digits.first == UInt8(ascii: "-")
        if isNegative { index = 1 }
        guard index < digits.count else { return nil }
        var value: Value = 0
        while index < digits.count {
            let digit = digits[index] &- 0x30
            guard digit < 10 else { return nil }
            let (product, overflow) = value.multipliedReportingOverflow(by: 10)
            let (next, more) =
                isNegative ? product.subtractingReportingOverflow(Value(digit)) : product.addingReportingOverflow(Value(digit))
            if overflow || more { return nil }
            value = next
            index += 1
        }
        return value
    }

    mutating func double() throws(OTLPFault) -> Double {
        let start = cursor.position
        let text = String(decoding: try numberText(), as: UTF8.self)
        guard let value = Double(text) else { throw .rejected("a number was expected at byte \(start)") }
        return value
    }

    /// A number, or one of `names`, whose places are the numbers; 0 for a number that means nothing.
    mutating func enumeration(_ names: [String]) throws(OTLPFault) -> Int {
        let start = cursor.position
        let number: Int
        if cursor.peek == UInt8(ascii: "\"") {
            let text = try text()
            guard let index = Int(text) ?? names.firstIndex(of: text) else { throw .rejected("an unknown name stands at byte \(start)") }
            number = index
        } else {
            number = try integer()
        }
        return names.indices.contains(number) ? number : 0
    }

    /// nil for none: empty, or all zeros.
    mutating func traceID(_ field: String) throws(OTLPFault) -> TraceID? {
        let text = try text()
        guard let id = TraceID(text) else {
            guard Self.isZero(text) else { throw .rejected("\(field) is not the id of a trace") }
            return nil
        }
        return id
    }

    /// nil for none: empty, or all zeros.
    mutating func spanID(_ field: String) throws(OTLPFault) -> SpanID? {
        let text = try text()
        guard let id = SpanID(text) else {
            guard Self.isZero(text) else { throw .rejected("\(field) is not the id of a span") }
            return nil
        }
        return id
    }

    /// In hex or in base64.
    private static func isZero(_ text: String) -> Bool {
        text.utf8.allSatisfy { $0 == UInt8(ascii: "0") } || text.utf8.allSatisfy { $0 == UInt8(ascii: "A") || $0 == UInt8(ascii: "=") }
    }

    // MARK: Values

    mutating func value(depth: Int = 0) throws(OTLPFault) -> AttributeValue {
        try budget.takeValue()
        var value = AttributeValue.empty
        try object { reader, key throws(OTLPFault) in
            switch key {
            case "stringValue": value = .string(try reader.text())
            case "boolValue": value = .bool(try reader.bool())
            case "intValue": value = .integer(try reader.integer())
            case "doubleValue": value = .double(try reader.double())
            case "bytesValue":
                guard let bytes = Base64.decode(try reader.stringBytes().0) else { throw .rejected("bytesValue is not base64") }
                value = .bytes(Array(bytes.prefix(reader.budget.limits.maximumTextBytes)))
            case "arrayValue": value = try reader.elements(depth: depth + 1)
            case "kvlistValue": value = try reader.members(depth: depth + 1)
            default: break
            }
        }
        return value
    }

    private mutating func elements(depth: Int) throws(OTLPFault) -> AttributeValue {
        guard depth < AttributeValue.maximumDepth else {
            try skip()
            return AttributeValue.cutMark
        }
        var elements: [AttributeValue] = []
        try object { reader, key throws(OTLPFault) in
            guard "values" ~= key else { return }
            try reader.array { reader throws(OTLPFault) in
                guard elements.count < reader.budget.limits.maximumAttributes, reader.cursor.peek != UInt8(ascii: "n") else {
                    return try reader.skip()
                }
                elements.append(try reader.value(depth: depth))
            }
        }
        return .array(elements)
    }

    private mutating func members(depth: Int) throws(OTLPFault) -> AttributeValue {
        guard depth < AttributeValue.maximumDepth else {
            try skip()
            return AttributeValue.cutMark
        }
        var members: [Attribute] = []
        try object { reader, key throws(OTLPFault) in
            if "values" ~= key { try reader.attributes(&members, depth: depth) }
        }
        return .map(members)
    }

    /// A list of `KeyValue`. One without a value is passed over. Returns how many were too many.
    @discardableResult
    mutating func attributes(_ attributes: inout [Attribute], depth: Int = 0) throws(OTLPFault) -> Int {
        var dropped = 0
        try array { reader throws(OTLPFault) in
            guard attributes.count < reader.budget.limits.maximumAttributes else {
                dropped += 1
                return try reader.skip()
            }
            // ProtoJSON leaves out what is empty.
            var name = ""
            var value: AttributeValue?
            try reader.object { reader, key throws(OTLPFault) in
                switch key {
                case "key": name = try reader.text()
                case "value": value = try reader.value(depth: depth)
                default: break
                }
            }
            if let value { attributes.append(Attribute(name, value)) }
        }
        return dropped
    }

    mutating func exemplars(of point: inout MetricPoint) throws(OTLPFault) {
        try array { reader throws(OTLPFault) in
            guard point.exemplars.count < reader.budget.limits.maximumExemplars else { return try reader.skip() }
            try reader.budget.takeValue()
            var exemplar = Exemplar(nanoseconds: 0, value: 0)
            try reader.object { reader, key throws(OTLPFault) in
                switch key {
                case "timeUnixNano": exemplar.nanoseconds = try reader.integer()
                case "asDouble": exemplar.value = try reader.double()
                case "asInt": exemplar.value = Double(try reader.integer(Int64.self))
                case "traceId": exemplar.traceID = try reader.traceID("traceId of an exemplar")
                case "spanId": exemplar.spanID = try reader.spanID("spanId of an exemplar")
                default: break
                }
            }
            point.exemplars.append(exemplar)
        }
    }
}
