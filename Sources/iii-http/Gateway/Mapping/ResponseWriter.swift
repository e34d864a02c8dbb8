import IIISettings
import NIOCore
import NIOHTTP1

/// Writes complete responses as bytes: status line, headers, CORS, body. Pure but for the date it is given.
///
/// It stands in place of `HTTPResponseEncoder`: a result is spliced from the core's frame into the connection's outgoing
/// buffer with no header table, no part objects and no second buffer in between.
final class ResponseWriter {
    /// What the request says about the form of its response.
    struct Form {
        var isHead = false
        var isHTTP10 = false
        /// Whether the connection ends with this response.
        var closes = false
        var origin: String?
        /// A streamed body follows the head; in chunks unless the end of the connection ends it.
        var isStreamed = false
        var isChunked: Bool { isStreamed && !isHTTP10 }
        var requestID: RequestID?
        /// Exists only where the configuration has something to negotiate.
        var negotiation: Negotiation?
        /// What an envelope without a status means.
        var defaultStatus = 200
    }

    /// What the client says about compression and validators.
    final class Negotiation {
        let acceptsGzip: Bool
        /// `if-none-match` of a GET or HEAD, empty without one; nil for other methods.
        let knownEntityTags: String?

        init(acceptsGzip: Bool, knownEntityTags: String?) {
            self.acceptsGzip = acceptsGzip
            self.knownEntityTags = knownEntityTags
        }
    }

    let cors: CORSPolicy
    let errorFormat: ErrorFormat
    let date: HTTPDate
    let returnsPlainValues: Bool
    let compression: BodyCompression?
    let entityTags: EntityTags?
    /// `x-request-id` and `x-request-id: `, empty when requests carry no id.
    let requestIDName: [UInt8]
    private let requestIDPrefix: [UInt8]

    init(_ configuration: HTTPConfiguration, date: HTTPDate, compressor: GzipCompressor?) {
        cors = configuration.cors
        errorFormat = configuration.errorFormat
        self.date = date
        returnsPlainValues = configuration.returnsPlainValues
        compression = compressor.map { BodyCompression(minimumBytes: configuration.compressionMinimumBytes, compressor: $0) }
        entityTags = configuration.makesEntityTags ? EntityTags() : nil
        requestIDName = Array((configuration.requestIDHeader ?? "").utf8)
        requestIDPrefix = requestIDName.isEmpty ? [] : requestIDName + Array(": ".utf8)
    }

    // MARK: The gateway's own answers

    /// A handler that returned nothing and opened no channel.
    func writeNoContent(_ form: Form, to buffer: inout ByteBuffer) {
        writeStatusLine(204, to: &buffer)
        writeCommonHeaders(form, to: &buffer)
        finish(204, form, body: Self.empty, to: &buffer)
    }

    func writeError(_ error: GatewayError, _ form: Form, to buffer: inout ByteBuffer) {
        let body = error.body(errorFormat)
        writeStatusLine(error.status, to: &buffer)
        if !body.isEmpty { buffer.writeStaticString("content-type: application/json\r\n") }
        if case .methodNotAllowed(let methods) = error { writeAllow(methods, to: &buffer) }
        if error.isRetryable { buffer.writeStaticString("retry-after: 1\r\n") }
        writeCommonHeaders(form, to: &buffer)
        body.withUnsafeBytes { finish(error.status, form, body: $0, to: &buffer) }
    }

    /// The answer to OPTIONS where no route takes it: 200, empty, with what a preflight asks for (docs/reference/http.md#cors).
    func writeOptions(_ form: Form, requestedHeaders: String?, allow: RouteMethodSet, to buffer: inout ByteBuffer) {
        writeStatusLine(200, to: &buffer)
        if !allow.isEmpty { writeAllow(allow, to: &buffer) }
        buffer.writeBytes(date.line)
        writeRequestID(form, to: &buffer)
        cors.writePreflightHeaders(origin: form.origin, requestedHeaders: requestedHeaders, to: &buffer)
        finish(200, form, body: Self.empty, to: &buffer)
    }

    /// A JSON document of the gateway's own endpoints.
    func writeDocument(_ status: Int, _ body: [UInt8], _ form: Form, to buffer: inout ByteBuffer) {
        writeStatusLine(status, to: &buffer)
        buffer.writeStaticString("content-type: application/json\r\ncache-control: no-cache\r\n")
        if status == 503 { buffer.writeStaticString("retry-after: 1\r\n") }
        writeCommonHeaders(form, to: &buffer)
        body.withUnsafeBytes { writeBody(status, form, $0, isCompressible: true, to: &buffer) }
    }

    static let continueLine: StaticString = "HTTP/1.1 100 Continue\r\n\r\n"

    // MARK: Pieces

    static var empty: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: nil, count: 0) }

    private func writeAllow(_ methods: RouteMethodSet, to buffer: inout ByteBuffer) {
        buffer.writeStaticString("allow: ")
        buffer.writeString(methods.allowHeader)
        buffer.writeStaticString("\r\n")
    }

    func writeStatusLine(_ status: Int, to buffer: inout ByteBuffer) {
        if status == 200 {
            buffer.writeStaticString("HTTP/1.1 200 OK\r\n")
            return
        }
        buffer.writeStaticString("HTTP/1.1 ")
        buffer.writeDecimal(status)
        buffer.writeStaticString(" ")
        switch HTTPResponseStatus(statusCode: status) {
        case .custom: break
        case let known: buffer.writeString(known.reasonPhrase)
        }
        buffer.writeStaticString("\r\n")
    }

    /// What every response but the answer to OPTIONS has.
    func writeCommonHeaders(_ form: Form, hasDate: Bool = false, to buffer: inout ByteBuffer) {
        if !hasDate { buffer.writeBytes(date.line) }
        writeRequestID(form, to: &buffer)
        cors.writeHeaders(origin: form.origin, to: &buffer)
    }

    @inline(__always)
    private func writeRequestID(_ form: Form, to buffer: inout ByteBuffer) {
        guard let id = form.requestID else { return }
        buffer.writeBytes(requestIDPrefix)
        id.write(to: &buffer)
        buffer.writeStaticString("\r\n")
    }

    static func mayHaveBody(_ status: Int) -> Bool { status != 204 && status != 205 && status != 304 }

    /// Compresses the body where that is asked for and possible, then ends the head
    /// (docs/reference/http.md#compression-and-entity-tags).
    func writeBody(
        _ status: Int, _ form: Form, _ body: UnsafeRawBufferPointer, isCompressible: Bool, to buffer: inout ByteBuffer
    ) {
        guard let compression, isCompressible, status != 206, Self.mayHaveBody(status), body.count >= compression.minimumBytes else {
            finish(status, form, body: body, to: &buffer)
            return
        }
        buffer.writeStaticString("vary: accept-encoding\r\n")
        guard form.negotiation?.acceptsGzip == true, let compressed = compression.compressor.compress(body) else {
            finish(status, form, body: body, to: &buffer)
            return
        }
        buffer.writeStaticString("content-encoding: gzip\r\n")
        compressed.withUnsafeReadableBytes { finish(status, form, body: $0, to: &buffer) }
    }

    /// Ends the head and appends the body, unless status or method forbid one.
    func finish(_ status: Int, _ form: Form, body: UnsafeRawBufferPointer, to buffer: inout ByteBuffer) {
        if Self.mayHaveBody(status) {
            buffer.writeStaticString("content-length: ")
            buffer.writeDecimal(body.count)
            buffer.writeStaticString("\r\n")
        } else if status == 205 {
            // Never with content, but its end has to be said (RFC 9110 §15.3.6).
            buffer.writeStaticString("content-length: 0\r\n")
        }
        writeConnection(form, to: &buffer)
        buffer.writeStaticString("\r\n")
        if Self.mayHaveBody(status), !form.isHead { buffer.writeBytes(body) }
    }

    func writeConnection(_ form: Form, to buffer: inout ByteBuffer) {
        if form.closes {
            buffer.writeStaticString("connection: close\r\n")
        } else if form.isHTTP10 {
            buffer.writeStaticString("connection: keep-alive\r\n")
        }
    }
}

/// When bodies are compressed, and by whom.
struct BodyCompression {
    let minimumBytes: Int
    let compressor: GzipCompressor
}
