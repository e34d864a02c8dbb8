import IIISignals

/// Writes the protobuf wire format. What has its default value is not written, unless it says more than nothing.
struct ProtobufWriter {
    private(set) var bytes: [UInt8] = []

    mutating func document<Item>(_ groups: OTLPGroups<Item>) {
        for group in groups.groups {
            message(1) { writer in
                writer.message(1) { $0.attributes(1, group.resource.attributes) }
                for scope in group.scopes {
                    writer.message(2) { writer in
                        writer.message(1) { writer in
                            writer.text(1, scope.scope.name)
                            writer.text(2, scope.scope.version)
                        }
                        for item in scope.items { writer.message(2) { item.write(to: &$0) } }
                    }
                }
            }
        }
    }

    // MARK: Wire

    private mutating func varint(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }

    private mutating func littleEndian<Value: FixedWidthInteger>(_ value: Value) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }

    mutating func number(_ field: UInt64, _ value: UInt64) {
        if value != 0 { oneof(field, value) }
    }

    /// Also when it is 0: which member of a choice it is says something.
    mutating func oneof(_ field: UInt64, _ value: UInt64) {
        varint(field << 3)
        varint(value)
    }

    mutating func fixed64(_ field: UInt64, _ value: UInt64) {
        if value != 0 { oneof(field, fixed64: value) }
    }

    mutating func oneof(_ field: UInt64, fixed64 value: UInt64) {
        varint(field << 3 | 1)
        littleEndian(value)
    }

    mutating func fixed32(_ field: UInt64, _ value: UInt32) {
        varint(field << 3 | 5)
        littleEndian(value)
    }

    mutating func text(_ field: UInt64, _ text: String) {
        if !text.isEmpty { oneof(field, text) }
    }

    mutating func oneof(_ field: UInt64, _ text: String) {
        varint(field << 3 | 2)
        varint(UInt64(text.utf8.count))
        bytes.append(contentsOf: text.utf8)
    }

    mutating func data(_ field: UInt64, _ data: [UInt8]) {
        varint(field << 3 | 2)
        varint(UInt64(data.count))
        bytes.append(contentsOf: data)
    }

    mutating func id(_ field: UInt64, _ words: UInt64...) {
        varint(field << 3 | 2)
        varint(UInt64(words.count * 8))
        for word in words { withUnsafeBytes(of: word.bigEndian) { bytes.append(contentsOf: $0) } }
    }

    mutating func packed(_ field: UInt64, _ words: some Collection<UInt64>) {
        guard !words.isEmpty else { return }
        varint(field << 3 | 2)
        varint(UInt64(words.count * 8))
        for word in words { littleEndian(word) }
    }

    /// The length stands before the message and is known after it: most messages are short enough for the one byte that is left free.
    mutating func message(_ field: UInt64, _ write: (inout ProtobufWriter) -> Void) {
        varint(field << 3 | 2)
        let start = bytes.count
        bytes.append(0)
        write(&self)
        var length = ProtobufWriter()
        length.varint(UInt64(bytes.count - start - 1))
        bytes.replaceSubrange(start...start, with: length.bytes)
    }

    // MARK: Values

    mutating func attributes(_ field: UInt64, _ attributes: [Attribute]) {
        for attribute in attributes {
            message(field) { writer in
                writer.text(1, attribute.key)
                writer.message(2) { $0.value(attribute.value) }
            }
        }
    }

    /// The inside of an `AnyValue`.
    mutating func value(_ value: AttributeValue) {
        switch value {
        case .empty: break
        case .string(let text): oneof(1, text)
        case .bool(let value): oneof(2, value ? 1 : 0)
        case .integer(let value): oneof(3, UInt64(bitPattern: value))
        case .double(let value): oneof(4, fixed64: value.bitPattern)
        case .array(let elements):
            message(5) { writer in
                for element in elements { writer.message(1) { $0.value(element) } }
            }
        case .map(let members): message(6) { $0.attributes(1, members) }
        case .bytes(let bytes): data(7, bytes)
        }
    }
}
