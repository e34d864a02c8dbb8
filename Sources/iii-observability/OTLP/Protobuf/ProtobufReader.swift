import IIISignals

/// Reads the protobuf wire format. Everything is checked against the end of the message: lengths, varints, packed lists.
struct ProtobufReader {
    /// How a field is written.
    enum Wire: UInt64 { case varint = 0, fixed64, bytes, fixed32 = 5 }

    /// A field's number and how it is written. A field that is written in another way than expected is one that nobody knows.
    struct Tag: Equatable {
        let bits: UInt64
        private init(_ number: UInt64, _ wire: Wire) { bits = number << 3 | wire.rawValue }
        init(bits: UInt64) { self.bits = bits }

        static func varint(_ number: UInt64) -> Tag { Tag(number, .varint) }
        static func fixed64(_ number: UInt64) -> Tag { Tag(number, .fixed64) }
        static func bytes(_ number: UInt64) -> Tag { Tag(number, .bytes) }
        static func fixed32(_ number: UInt64) -> Tag { Tag(number, .fixed32) }
    }

    private let bytes: UnsafeRawBufferPointer
    private var position = 0
    let budget: OTLPBudget

    /// `bytes` outlive the reader.
    init(_ bytes: UnsafeRawBufferPointer, _ budget: OTLPBudget) {
        self.bytes = bytes
        self.budget = budget
    }

    private static let truncated = OTLPFault.undecodable("the protobuf message ends too early")

    /// The next field; nil at the end of the message.
    mutating func next() throws(OTLPFault) -> Tag? {
        guard position < bytes.count else { return nil }
        let bits = try varint()
        guard bits >> 3 != 0, bits <= UInt64(UInt32.max) else { throw .undecodable("a protobuf field has no number") }
        return Tag(bits: bits)
    }

    mutating func varint() throws(OTLPFault) -> UInt64 {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while position < bytes.count {
            let byte = bytes[position]
            position += 1
            // Of the tenth byte one bit is left.
            guard shift < 63 || byte <= 1 else { throw .undecodable("a protobuf number is too long") }
            value |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 { return value }
            shift += 7
        }
        throw Self.truncated
    }

    mutating func int32() throws(OTLPFault) -> Int32 { Int32(truncatingIfNeeded: try varint()) }
    mutating func uint32() throws(OTLPFault) -> UInt32 { UInt32(truncatingIfNeeded: try varint()) }

    mutating func fixed64() throws(OTLPFault) -> UInt64 {
        guard bytes.count - position >= 8 else { throw Self.truncated }
        defer { position += 8 }
        return UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: UInt64.self))
    }

    mutating func fixed32() throws(OTLPFault) -> UInt32 {
        guard bytes.count - position >= 4 else { throw Self.truncated }
        defer { position += 4 }
        return UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: UInt32.self))
    }

    mutating func double() throws(OTLPFault) -> Double { Double(bitPattern: try fixed64()) }

    mutating func data() throws(OTLPFault) -> UnsafeRawBufferPointer {
        let length = try varint()
        guard length <= UInt64(bytes.count - position) else { throw Self.truncated }
        defer { position += Int(length) }
        return UnsafeRawBufferPointer(rebasing: bytes[position..<(position + Int(length))])
    }

    mutating func text() throws(OTLPFault) -> String { budget.text(try data()) }

    /// A message within the message.
    mutating func message() throws(OTLPFault) -> ProtobufReader { ProtobufReader(try data(), budget) }

    /// Passes over the field that `tag` begins.
    mutating func skip(_ tag: Tag) throws(OTLPFault) {
        switch Wire(rawValue: tag.bits & 7) {
        case .varint?: _ = try varint()
        case .fixed64?: _ = try fixed64()
        case .bytes?: _ = try data()
        case .fixed32?: _ = try fixed32()
        case nil: throw .undecodable("a protobuf field is written in an unknown way")
        }
    }

    /// A list of eight-byte numbers in one field.
    mutating func packed<Value>(_ read: (inout ProtobufReader) throws(OTLPFault) -> Value) throws(OTLPFault) -> [Value] {
        var list = try message()
        var values: [Value] = []
        while list.position < list.bytes.count {
            try budget.takeValue()
            values.append(try read(&list))
        }
        return values
    }

    /// The id of a trace; nil for none.
    mutating func traceID() throws(OTLPFault) -> TraceID? {
        let bytes = try data()
        guard bytes.isEmpty || bytes.count == 16 else { throw .rejected("the id of a trace has \(bytes.count) bytes instead of 16") }
        return TraceID(bytes: bytes)
    }

    mutating func spanID() throws(OTLPFault) -> SpanID? {
        let bytes = try data()
        guard bytes.isEmpty || bytes.count == 8 else { throw .rejected("the id of a span has \(bytes.count) bytes instead of 8") }
        return SpanID(bytes: bytes)
    }

    /// Reads one record; if it breaks the rules it is left out and counted.
    func tolerate(_ number: Int, _ read: () throws(OTLPFault) -> Void) throws(OTLPFault) {
        do throws(OTLPFault) {
            try read()
        } catch {
            guard case .rejected(let reason) = error else { throw error }
            budget.reject(number, reason)
        }
    }
}

func ~= (pattern: ProtobufReader.Tag, tag: ProtobufReader.Tag) -> Bool { pattern == tag }
