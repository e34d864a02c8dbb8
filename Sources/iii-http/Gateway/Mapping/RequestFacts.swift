import IIITelemetry
import NIOHTTP1

/// What one pass over a request head tells: framing checks that the decoder leaves to us, and the few headers that decide.
package struct RequestFacts {
    package private(set) var isJSON = false
    package private(set) var contentLength: Int?
    package private(set) var hasBody = false
    package private(set) var expectsContinue = false
    package private(set) var hasUpgrade = false
    package private(set) var isPreflight = false
    package private(set) var origin: String?
    package private(set) var requestedHeaders: String?
    /// W3C trace context, as far as it is valid.
    package private(set) var trace = TraceContext.none
    /// What the client sent under the configured name of the request id, sane or not.
    package private(set) var requestID: String?

    /// Whether a value has white space around it that does not belong to it (RFC 9112 §5.1); the decoder leaves it there.
    package private(set) var hasPadding = false

    private var traceparent: String?
    private var baggage: String?
    private var tracestate: String?
    private var hostCount = 0
    private var hasInvalidHost = false
    private var hasTransferEncoding = false
    private var hasChunkedCoding = false
    private var hasConflictingLength = false
    private var hasRequestMethod = false

    /// Longest accepted request target in bytes.
    package static let maximumTargetBytes = 16 * 1024

    /// Reads `head`; throws the answer for a request that must not be served. The connection is to be closed then.
    /// `requestIDName` is the lower-case name of the header with the client's request id, empty for none.
    package init(_ head: HTTPRequestHead, requestIDName: [UInt8] = []) throws(GatewayError) {
        guard head.uri.utf8.count <= Self.maximumTargetBytes else { throw .targetTooLong }
        for (name, value) in head.headers { note(name, value, requestIDName) }
        if traceparent != nil || baggage != nil {
            trace = TraceContext(traceparent: traceparent, baggage: baggage, tracestate: tracestate)
        }
        if hasConflictingLength { throw .badRequest("conflicting content-length headers") }
        if hasTransferEncoding {
            if contentLength != nil { throw .badRequest("content-length together with transfer-encoding") }
            // Anything but chunked alone cannot be framed here, and a proxy in front might frame it otherwise.
            if !hasChunkedCoding { throw .badRequest("unsupported transfer-encoding") }
            if head.version.minor == 0 { throw .badRequest("transfer-encoding in an HTTP/1.0 request") }
        }
        if head.version.minor >= 1, hostCount != 1 {
            throw .badRequest(hostCount == 0 ? "missing host header" : "more than one host header")
        }
        if hasInvalidHost { throw .badRequest("the host header is no host") }
        if hostCount > 1 { throw .badRequest("more than one host header") }
        if head.version.minor == 0 { expectsContinue = false }
        hasBody = hasTransferEncoding || (contentLength ?? 0) > 0
        isPreflight = origin != nil && hasRequestMethod
    }

    private mutating func note(_ name: String, _ value: String, _ requestIDName: [UInt8]) {
        var name = name
        name.withUTF8 { text in
            let name = UnsafeRawBufferPointer(text)
            // The decoder has framed the request by the coding as it stands there: that one is not read more kindly than it did.
            let value = isPadded(value) && !ASCII.equals(name, "transfer-encoding") ? Self.unpadded(value) : value
            note(name, value)
            guard name.count == requestIDName.count, requestID == nil else { return }
            let isRequestID = requestIDName.withUnsafeBytes { ASCII.equalIgnoringCase(name, $0) }
            if isRequestID { requestID = value }
        }
    }

    private static func isOptionalWhitespace(_ byte: UInt8?) -> Bool { byte == 0x20 || byte == 0x09 }

    private mutating func isPadded(_ value: String) -> Bool {
        guard Self.isOptionalWhitespace(value.utf8.first) || Self.isOptionalWhitespace(value.utf8.last) else { return false }
        hasPadding = true
        return true
    }

    private static func unpadded(_ value: String) -> String {
        var text = Substring(value).utf8
        while isOptionalWhitespace(text.first) { text.removeFirst() }
        while isOptionalWhitespace(text.last) { text.removeLast() }
        return String(Substring(text))
    }

    /// The fields as functions and logs are to see them.
    package static func unpadded(_ headers: HTTPHeaders) -> HTTPHeaders { HTTPHeaders(headers.map { ($0.name, unpadded($0.value)) }) }

    /// The length is looked at first, so that most headers cost one comparison.
    private mutating func note(_ name: UnsafeRawBufferPointer, _ value: String) {
        switch name.count {
        case 4 where ASCII.equals(name, "host"):
            hostCount += 1
            if !HostField.isValid(value) { hasInvalidHost = true }
        case 6:
            if ASCII.equals(name, "origin") { origin = value } else if ASCII.equals(name, "expect") { noteExpectation(value) }
        case 7:
            if ASCII.equals(name, "baggage") {
                if !value.isEmpty { baggage = baggage.map { "\($0),\(value)" } ?? value }
            } else if ASCII.equals(name, "upgrade") {
                hasUpgrade = true
            }
        case 10 where ASCII.equals(name, "tracestate"):
            if !value.isEmpty { tracestate = tracestate.map { "\($0),\(value)" } ?? value }
        case 11 where ASCII.equals(name, "traceparent"): traceparent = value.isEmpty ? nil : value
        case 12 where ASCII.equals(name, "content-type"): isJSON = Self.isJSON(value)
        case 14 where ASCII.equals(name, "content-length"): noteLength(value)
        case 17 where ASCII.equals(name, "transfer-encoding"): noteCoding(value)
        case 29 where ASCII.equals(name, "access-control-request-method"): hasRequestMethod = true
        case 30 where ASCII.equals(name, "access-control-request-headers"): requestedHeaders = value
        default: break
        }
    }

    private mutating func noteExpectation(_ value: String) {
        var value = value
        expectsContinue = value.withUTF8 { ASCII.equals(UnsafeRawBufferPointer($0), "100-continue") }
    }

    private mutating func noteLength(_ value: String) {
        guard !value.isEmpty, value.utf8.allSatisfy({ $0 &- 0x30 < 10 }), let length = Int(value) else {
            hasConflictingLength = true
            return
        }
        if let known = contentLength, known != length { hasConflictingLength = true }
        contentLength = length
    }

    private mutating func noteCoding(_ value: String) {
        // A second transfer-encoding header is a list of two codings, which is not "chunked alone" either.
        var value = value
        hasChunkedCoding = !hasTransferEncoding && value.withUTF8 { ASCII.equals(UnsafeRawBufferPointer($0), "chunked") }
        hasTransferEncoding = true
    }

    /// `application/json` anywhere in the value, or a media type with the suffix `+json`; letter case is ignored
    /// (docs/reference/http.md#what-a-function-gets).
    private static func isJSON(_ value: String) -> Bool {
        var value = value
        return value.withUTF8 { text in
            let bytes = UnsafeRawBufferPointer(text)
            if ASCII.contains(bytes, "application/json") { return true }
            let end = bytes.firstIndex(of: UInt8(ascii: ";")) ?? bytes.count
            let mediaType = ASCII.trimmed(UnsafeRawBufferPointer(rebasing: bytes[..<end]))
            guard mediaType.count > 5 else { return false }
            return ASCII.equals(UnsafeRawBufferPointer(rebasing: mediaType[(mediaType.count - 5)...]), "+json")
        }
    }
}
