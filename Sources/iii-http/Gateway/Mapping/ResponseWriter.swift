import NIOCore
import NIOHTTP1

/// Writes complete responses as bytes: status line, headers, CORS, body. Pure but for the date it is given.
///
/// It stands in place of `HTTPResponseEncoder`: a result is spliced from the core's frame into the connection's outgoing
/// buffer with no header table, no part objects and no second buffer in between.
struct ResponseWriter {
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
    }

    let cors: CORSPolicy
    let errorFormat: ErrorFormat
    var date = HTTPDate()

    init(cors: CORSPolicy, errorFormat: ErrorFormat) {
        self.cors = cors
        self.errorFormat = errorFormat
    }

    // MARK: Handler results

    /// Writes what a handler returned. False, with nothing written, when its status cannot be sent (§20.18).
    func writeResult(_ text: UnsafeRawBufferPointer, _ form: Form, to buffer: inout ByteBuffer) -> Bool {
        let result = HandlerResult(text)
        guard let status = result.status else { return false }
        writeStatusLine(status, to: &buffer)
        var headers = ResponseHeaders(cors: cors)
        if let range = result.headers { headers.write(UnsafeRawBufferPointer(rebasing: text[range]), to: &buffer) }
        if !headers.hasContentType, Self.mayHaveBody(status) { buffer.writeStaticString("content-type: application/json\r\n") }
        if !headers.hasDate { buffer.writeBytes(date.line) }
        cors.writeHeaders(origin: form.origin, to: &buffer)

        guard let range = result.body else {
            finish(status, form, bodyByteCount: 2, to: &buffer) { $0.writeStaticString("{}") }
            return true
        }
        let body = UnsafeRawBufferPointer(rebasing: text[range])
        if headers.hasContentType, body.first == UInt8(ascii: "\"") {
            ResponseHeaders.withString(body) { raw in
                finish(status, form, bodyByteCount: raw.count, to: &buffer) { $0.writeBytes(raw) }
            }
        } else if headers.hasContentType, body.first == UInt8(ascii: "n") {
            finish(status, form, bodyByteCount: 0, to: &buffer) { _ in }
        } else {
            finish(status, form, bodyByteCount: body.count, to: &buffer) { $0.writeBytes(body) }
        }
        return true
    }

    /// A handler that returned nothing and opened no channel (§20.6).
    func writeNoContent(_ form: Form, to buffer: inout ByteBuffer) {
        writeStatusLine(204, to: &buffer)
        buffer.writeBytes(date.line)
        cors.writeHeaders(origin: form.origin, to: &buffer)
        finish(204, form, bodyByteCount: 0, to: &buffer) { _ in }
    }

    // MARK: Streamed responses

    /// The head of a response whose body comes through a channel; notes in `form` whether a body may follow at all.
    func writeStreamHead(_ status: Int, _ headers: [UInt8], _ form: inout Form, to buffer: inout ByteBuffer) {
        form.isStreamed = Self.mayHaveBody(status) && !form.isHead
        if form.isStreamed, form.isHTTP10 { form.closes = true }
        writeCollectedHead(status, headers, form, to: &buffer)
        if form.isChunked { buffer.writeStaticString("transfer-encoding: chunked\r\n") }
        writeConnection(form, to: &buffer)
        buffer.writeStaticString("\r\n")
    }

    /// A stream that ended without a byte.
    func writeEmptyStream(_ status: Int, _ headers: [UInt8], _ form: Form, to buffer: inout ByteBuffer) {
        writeCollectedHead(status, headers, form, to: &buffer)
        finish(status, form, bodyByteCount: 0, to: &buffer) { _ in }
    }

    private func writeCollectedHead(_ status: Int, _ text: [UInt8], _ form: Form, to buffer: inout ByteBuffer) {
        writeStatusLine(status, to: &buffer)
        var headers = ResponseHeaders(cors: cors)
        text.withUnsafeBytes { headers.write($0, to: &buffer) }
        if !headers.hasDate { buffer.writeBytes(date.line) }
        cors.writeHeaders(origin: form.origin, to: &buffer)
    }

    /// `bytes` must not be empty: an empty chunk would end the body.
    func writeChunk(_ bytes: UnsafeRawBufferPointer, _ form: Form, to buffer: inout ByteBuffer) {
        guard form.isChunked else {
            buffer.writeBytes(bytes)
            return
        }
        buffer.writeString(String(bytes.count, radix: 16))
        buffer.writeStaticString("\r\n")
        buffer.writeBytes(bytes)
        buffer.writeStaticString("\r\n")
    }

    func writeStreamEnd(_ form: Form, to buffer: inout ByteBuffer) {
        if form.isChunked { buffer.writeStaticString("0\r\n\r\n") }
    }

    // MARK: The gateway's own answers

    func writeError(_ error: GatewayError, _ form: Form, to buffer: inout ByteBuffer) {
        let body = error.body(errorFormat)
        writeStatusLine(error.status, to: &buffer)
        if !body.isEmpty { buffer.writeStaticString("content-type: application/json\r\n") }
        if case .methodNotAllowed(let methods) = error { writeAllow(methods, to: &buffer) }
        if error.isRetryable { buffer.writeStaticString("retry-after: 1\r\n") }
        buffer.writeBytes(date.line)
        cors.writeHeaders(origin: form.origin, to: &buffer)
        finish(error.status, form, bodyByteCount: body.count, to: &buffer) { $0.writeBytes(body) }
    }

    /// The answer to OPTIONS where no route takes it: 200, empty, with what a preflight asks for (§13).
    func writeOptions(_ form: Form, requestedHeaders: String?, allow: RouteMethodSet, to buffer: inout ByteBuffer) {
        writeStatusLine(200, to: &buffer)
        if !allow.isEmpty { writeAllow(allow, to: &buffer) }
        buffer.writeBytes(date.line)
        cors.writePreflightHeaders(origin: form.origin, requestedHeaders: requestedHeaders, to: &buffer)
        finish(200, form, bodyByteCount: 0, to: &buffer) { _ in }
    }

    static let continueLine: StaticString = "HTTP/1.1 100 Continue\r\n\r\n"

    // MARK: Pieces

    private func writeAllow(_ methods: RouteMethodSet, to buffer: inout ByteBuffer) {
        buffer.writeStaticString("allow: ")
        buffer.writeString(methods.allowHeader)
        buffer.writeStaticString("\r\n")
    }

    private func writeStatusLine(_ status: Int, to buffer: inout ByteBuffer) {
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

    private static func mayHaveBody(_ status: Int) -> Bool { status != 204 && status != 304 }

    /// Ends the head and appends the body, unless status or method forbid one.
    private func finish(
        _ status: Int, _ form: Form, bodyByteCount: Int, to buffer: inout ByteBuffer, writeBody: (inout ByteBuffer) -> Void
    ) {
        if Self.mayHaveBody(status) {
            buffer.writeStaticString("content-length: ")
            buffer.writeDecimal(bodyByteCount)
            buffer.writeStaticString("\r\n")
        }
        writeConnection(form, to: &buffer)
        buffer.writeStaticString("\r\n")
        if Self.mayHaveBody(status), !form.isHead { writeBody(&buffer) }
    }

    private func writeConnection(_ form: Form, to buffer: inout ByteBuffer) {
        if form.closes {
            buffer.writeStaticString("connection: close\r\n")
        } else if form.isHTTP10 {
            buffer.writeStaticString("connection: keep-alive\r\n")
        }
    }
}
