/// Byte range of one JSON value inside a received message. `length` 0 means absent.
package struct ByteSpan: Sendable, Hashable {
    package var start: Int32 = 0
    package var length: Int32 = 0

    @inlinable package init() {}
    @inlinable package init(start: Int, length: Int) {
        self.start = Int32(truncatingIfNeeded: start)
        self.length = Int32(truncatingIfNeeded: length)
    }

    @inlinable package var isPresent: Bool { length > 0 }

    @inlinable package func of(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: bytes[Int(start)..<Int(start) + Int(length)])
    }
}

/// The discriminator of a message (docs/reference/worker-protocol.md#messages).
package enum MessageType: UInt8, Sendable {
    case invokeFunction, invocationResult, ping, pong
    case registerFunction, unregisterFunction, registerTriggerType, unregisterTriggerType
    case registerTrigger, unregisterTrigger, triggerRegistrationResult, registerService
    case workerRegistered, error, reattach, registrationRejected
    case unknown
}

/// What one validating pass over a message finds: its type, and where the members that routing needs stand.
///
/// The whole text has been checked (grammar, UTF-8, depth, nothing behind the object) when `scan` succeeds, so spans can
/// be copied into other messages as they are. `null` and absent are the same for optional members, except for `result`
/// and `data`, where the difference reaches the other side (docs/reference/worker-protocol.md#messages).
package struct Envelope {
    package var type: MessageType = .unknown
    package var invocationID = ByteSpan()
    package var functionID = ByteSpan()
    package var data = ByteSpan()
    package var result = ByteSpan()
    package var error = ByteSpan()
    package var traceparent = ByteSpan()
    package var baggage = ByteSpan()
    package var tracestate = ByteSpan()
    package var action = ByteSpan()
    package var metadata = ByteSpan()
    package var namespace = ByteSpan()
    package var id = ByteSpan()
    package var triggerType = ByteSpan()
    package var config = ByteSpan()

    /// Scans one message; nil when it is not exactly one well-formed JSON object.
    package static func scan(_ bytes: UnsafeRawBufferPointer) -> Envelope? {
        var envelope = Envelope()
        var cursor = JSONCursor(bytes)
        cursor.skipWhitespace()
        guard cursor.consume(UInt8(ascii: "{")) else { return nil }
        cursor.skipWhitespace()
        if !cursor.consume(UInt8(ascii: "}")) {
            while true {
                let keyStart = cursor.position
                guard let escaped = cursor.skipString() else { return nil }
                let key = UnsafeRawBufferPointer(start: cursor.base + keyStart, count: cursor.position &- keyStart)
                cursor.skipWhitespace()
                guard cursor.consume(UInt8(ascii: ":")) else { return nil }
                cursor.skipWhitespace()
                let start = cursor.position
                guard cursor.skipValue() else { return nil }
                let span = ByteSpan(start: start, length: cursor.position &- start)
                if escaped {
                    // An escaped key such as "\u0074ype" is legal; unescape and look again.
                    if let text = JSONText.decodeString(key) {
                        JSONText.string(text).withUnsafeBytes { envelope.record(key: $0, span: span, bytes: bytes) }
                    }
                } else {
                    envelope.record(key: key, span: span, bytes: bytes)
                }
                cursor.skipWhitespace()
                if cursor.consume(UInt8(ascii: ",")) {
                    cursor.skipWhitespace()
                    continue
                }
                guard cursor.consume(UInt8(ascii: "}")) else { return nil }
                break
            }
        }
        cursor.skipWhitespace()
        guard cursor.position == cursor.end else { return nil }
        return envelope
    }

    /// `key` includes its quotes. Duplicate keys: the last one wins.
    @inline(__always)
    private mutating func record(key: UnsafeRawBufferPointer, span: ByteSpan, bytes: UnsafeRawBufferPointer) {
        // Length first: at most two names share one.
        switch key.count &- 2 {
        case 2: if matches(key, "id") { id = span }
        case 4:
            if matches(key, "type") { type = MessageType(literal: span.of(bytes)) } else if matches(key, "data") { data = span }
        case 5: if matches(key, "error") { error = optional(span, bytes) }
        case 6:
            if matches(key, "result") {
                result = span
            } else if matches(key, "action") {
                action = optional(span, bytes)
            } else if matches(key, "config") {
                config = span
            }
        case 7: if matches(key, "baggage") { baggage = optional(span, bytes) }
        case 8: if matches(key, "metadata") { metadata = optional(span, bytes) }
        case 9: if matches(key, "namespace") { namespace = optional(span, bytes) }
        case 10: if matches(key, "tracestate") { tracestate = optional(span, bytes) }
        case 11:
            if matches(key, "function_id") {
                functionID = span
            } else if matches(key, "traceparent") {
                traceparent = optional(span, bytes)
            }
        case 12: if matches(key, "trigger_type") { triggerType = optional(span, bytes) }
        case 13: if matches(key, "invocation_id") { invocationID = optional(span, bytes) }
        default: break
        }
    }

    @inline(__always)
    private func optional(_ span: ByteSpan, _ bytes: UnsafeRawBufferPointer) -> ByteSpan {
        span.length == 4 && bytes[Int(span.start)] == UInt8(ascii: "n") ? ByteSpan() : span
    }

    @inline(__always)
    private func matches(_ key: UnsafeRawBufferPointer, _ name: StaticString) -> Bool {
        let base = key.baseAddress.unsafelyUnwrapped + 1
        for offset in 0..<name.utf8CodeUnitCount where base.load(fromByteOffset: offset, as: UInt8.self) != name.utf8Start[offset] {
            return false
        }
        return true
    }
}

extension MessageType {
    /// From the JSON literal of the `type` member, quotes included. Anything else than a known name is `unknown`.
    init(literal: UnsafeRawBufferPointer) {
        func equals(_ name: StaticString) -> Bool {
            guard literal.count == name.utf8CodeUnitCount &+ 2, literal[0] == UInt8(ascii: "\"") else { return false }
            for offset in 0..<name.utf8CodeUnitCount where literal[offset &+ 1] != name.utf8Start[offset] { return false }
            return true
        }
        // The two of the hot path first.
        if equals("invokefunction") { self = .invokeFunction; return }
        if equals("invocationresult") { self = .invocationResult; return }
        guard let name = JSONText.decodeString(literal) else { self = .unknown; return }
        self.init(name: name)
    }

    init(name: String) { self = MessageType.names[name] ?? .unknown }

    private static let names: [String: MessageType] = [
        "invokefunction": .invokeFunction, "invocationresult": .invocationResult, "ping": .ping, "pong": .pong,
        "registerfunction": .registerFunction, "unregisterfunction": .unregisterFunction,
        "registertriggertype": .registerTriggerType, "unregistertriggertype": .unregisterTriggerType,
        "registertrigger": .registerTrigger, "unregistertrigger": .unregisterTrigger,
        "triggerregistrationresult": .triggerRegistrationResult, "registerservice": .registerService,
        "workerregistered": .workerRegistered, "error": .error, "reattach": .reattach, "registrationrejected": .registrationRejected,
    ]
}
