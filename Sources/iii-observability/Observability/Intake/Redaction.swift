import IIIProtocol
import IIISignals

/// Takes secrets, and what would spoil a terminal, out of records before anything keeps, shows or sends them
/// (docs/reference/observability.md#redaction). Pure.
enum Redaction {
    /// Whole keys, in any case and at any depth; also behind `http.request.header.` and `http.response.header.`.
    static let keys: Set<String> = [
        "authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "api-key", "api_key", "access_token", "refresh_token",
        "password", "secret", "credential",
    ]
    static let mark = AttributeValue.string("[REDACTED]")

    private static let lengths = Set(keys.map(\.utf8.count))
    private static let prefixes = ["http.request.header.", "http.response.header."]

    static func isSecret(_ key: String) -> Bool {
        if lengths.contains(key.utf8.count), keys.contains(key.lowercased()) { return true }
        guard key.utf8.count > 20, key.utf8.first == UInt8(ascii: "h") || key.utf8.first == UInt8(ascii: "H") else { return false }
        let lower = key.lowercased()
        // OpenTelemetry writes header names with underscores in older releases.
        return prefixes.contains { prefix in
            guard lower.hasPrefix(prefix) else { return false }
            let name = lower.dropFirst(prefix.count)
            return keys.contains(String(name)) || keys.contains(String(name.map { $0 == "_" ? "-" : $0 }))
        }
    }

    static func clean(_ attributes: inout [Attribute]) {
        for index in attributes.indices {
            if isSecret(attributes[index].key) {
                attributes[index].value = mark
            } else {
                clean(&attributes[index].value)
            }
        }
    }

    private static func clean(_ value: inout AttributeValue) {
        switch value {
        case .map(var members):
            clean(&members)
            value = .map(members)
        case .array(var elements):
            for index in elements.indices { clean(&elements[index]) }
            value = .array(elements)
        default: break
        }
    }

    static func clean(_ span: inout Span) {
        clean(&span.attributes)
        for index in span.events.indices { clean(&span.events[index].attributes) }
        for index in span.links.indices { clean(&span.links[index].attributes) }
    }

    static func clean(_ record: inout LogRecord) {
        clean(&record.attributes)
        clean(&record.body)
        stripEscapes(&record.body)
        for index in record.attributes.indices { stripEscapes(&record.attributes[index].value) }
    }

    private static func stripEscapes(_ value: inout AttributeValue) {
        guard case .string(let text) = value, text.utf8.contains(0x1B) else { return }
        value = .string(withoutEscapes(text))
    }

    /// Without the control sequences of terminals: CSI, OSC and two-character escapes.
    static func withoutEscapes(_ text: String) -> String {
        let bytes = Array(text.utf8)
        var kept: [UInt8] = []
        var index = 0
        while index < bytes.count {
            guard bytes[index] == 0x1B else {
                kept.append(bytes[index])
                index += 1
                continue
            }
            index += 1
            guard index < bytes.count else { break }
            switch bytes[index] {
            case UInt8(ascii: "["):
                index += 1
                while index < bytes.count, !(0x40...0x7E).contains(bytes[index]) { index += 1 }
                index += 1
            case UInt8(ascii: "]"), UInt8(ascii: "P"), UInt8(ascii: "_"), UInt8(ascii: "^"):
                index += 1
                while index < bytes.count, bytes[index] != 0x07, bytes[index] != 0x1B { index += 1 }
                if index < bytes.count, bytes[index] == 0x1B { index += 1 }
                index += 1
            case 0x20...0x7E: index += 1
            default: break
            }
        }
        return String(decoding: kept, as: UTF8.self)
    }
}
