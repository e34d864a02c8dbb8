import IIIProtocol
import NIOCore

// What functions return, as responses: handlers (docs/reference/http.md#what-a-function-returns), and middleware that responds.
extension ResponseWriter {
    /// What became of a function's return value.
    struct Written {
        let status: Int
        /// Whether it had a status that is no integer: it counts as absent, and that must not pass in silence.
        let ignoresStatus: Bool
    }

    /// Writes what a handler returned; nil, with nothing written, when that status cannot be sent.
    func writeResult(_ text: UnsafeRawBufferPointer, _ form: Form, to buffer: inout ByteBuffer) -> Written? {
        let result = HandlerResult(text, defaultStatus: form.defaultStatus)
        guard let status = result.status else { return nil }
        let start = buffer.writerIndex
        let headers = writeHead(status, result, text, form, to: &buffer)
        let sent = withBody(of: result, text, headers) { body in
            if let entityTags, status == 200, !headers.hasEntityTag, let known = form.negotiation?.knownEntityTags {
                let tag = entityTags.weakTag(of: body)
                guard !EntityTags.matches(tag, known) else {
                    buffer.moveWriterIndex(to: start)
                    _ = writeHead(304, result, text, form, to: &buffer)
                    buffer.writeString("etag: \(tag)\r\n")
                    finish(304, form, body: Self.empty, to: &buffer)
                    return 304
                }
                buffer.writeString("etag: \(tag)\r\n")
            }
            let isCompressible = headers.contentKind != .other && !headers.forbidsCompression
            writeBody(status, form, body, isCompressible: isCompressible, to: &buffer)
            return status
        }
        return Written(status: sent, ignoresStatus: result.ignoresStatus)
    }

    /// Calls `use` once with the bytes of the body; a Node `Buffer` counts as its bytes beside a content type that is not JSON.
    private func withBody(
        of result: HandlerResult, _ text: UnsafeRawBufferPointer, _ headers: ResponseHeaders, _ use: (UnsafeRawBufferPointer) -> Int
    ) -> Int {
        guard let range = bodyRange(of: result, text) else { return Self.emptyObject.withUnsafeBytes(use) }
        let value = UnsafeRawBufferPointer(rebasing: text[range])
        guard headers.hasContentType else { return use(value) }
        switch value.first {
        case UInt8(ascii: "\""): return ResponseHeaders.withString(value, use) ?? use(Self.empty)
        case UInt8(ascii: "n"): return use(Self.empty)
        case UInt8(ascii: "{"):
            let bytes = headers.contentKind == .json ? nil : NodeBuffer.bytes(of: value)
            return bytes?.withUnsafeBytes(use) ?? use(value)
        default: return use(value)
        }
    }

    private static let emptyObject = Array("{}".utf8)

    /// nil: the body is `{}`. A value that is no envelope is the body only if `plain_return_as_body` says so.
    private func bodyRange(of result: HandlerResult, _ text: UnsafeRawBufferPointer) -> Range<Int>? {
        if let body = result.body { return body }
        return returnsPlainValues && !result.isEnvelope ? 0..<text.count : nil
    }

    private func writeHead(
        _ status: Int, _ result: HandlerResult, _ text: UnsafeRawBufferPointer, _ form: Form, to buffer: inout ByteBuffer
    ) -> ResponseHeaders {
        writeStatusLine(status, to: &buffer)
        var headers = ResponseHeaders(cors: cors, reserved: requestIDName)
        if let range = result.headers { headers.write(UnsafeRawBufferPointer(rebasing: text[range]), to: &buffer) }
        if !headers.hasContentType, Self.mayHaveBody(status) { buffer.writeStaticString("content-type: application/json\r\n") }
        writeCommonHeaders(form, hasDate: headers.hasDate, to: &buffer)
        return headers
    }

    /// Writes the `response` member of a middleware's answer; nil as for `writeResult`.
    ///
    /// Deliberately not the rules of handlers: the body is always JSON text, `null` by default, whatever the content type.
    func writeMiddlewareResponse(_ text: UnsafeRawBufferPointer, _ form: Form, to buffer: inout ByteBuffer) -> Written? {
        let result = HandlerResult(text, defaultStatus: 200)
        guard let status = result.status else { return nil }
        writeStatusLine(status, to: &buffer)
        var headers = ResponseHeaders(cors: cors, reserved: requestIDName)
        if let range = result.headers {
            let value = UnsafeRawBufferPointer(rebasing: text[range])
            if Self.hasOnlyStrings(value) { headers.write(value, to: &buffer) }
        }
        if !headers.hasContentType, Self.mayHaveBody(status) { buffer.writeStaticString("content-type: application/json\r\n") }
        writeCommonHeaders(form, hasDate: headers.hasDate, to: &buffer)
        if let body = result.body {
            finish(status, form, body: UnsafeRawBufferPointer(rebasing: text[body]), to: &buffer)
        } else {
            Self.null.withUnsafeBytes { finish(status, form, body: $0, to: &buffer) }
        }
        return Written(status: status, ignoresStatus: result.ignoresStatus)
    }

    private static let null = Array("null".utf8)

    /// One value of another kind makes the whole map of a middleware's headers void; a list is taken as handlers' lists are.
    private static func hasOnlyStrings(_ headers: UnsafeRawBufferPointer) -> Bool {
        var hasOnlyStrings = true
        JSONMembers.forEach(in: headers) { _, value in
            if headers[value.lowerBound] != UInt8(ascii: "\"") { hasOnlyStrings = false }
        }
        return hasOnlyStrings
    }
}

/// The JSON form that Node gives a `Buffer`: `{"type":"Buffer","data":[0…255, …]}`.
enum NodeBuffer {
    /// The bytes it stands for; nil when `text` is any other object.
    static func bytes(of text: UnsafeRawBufferPointer) -> [UInt8]? {
        var isBuffer = false
        var data: Range<Int>?
        var count = 0
        JSONMembers.forEach(in: text) { key, value in
            count += 1
            if key.elementsEqual("type".utf8) {
                isBuffer = text[value].elementsEqual(#""Buffer""#.utf8)
            } else if key.elementsEqual("data".utf8) {
                data = value
            }
        }
        guard isBuffer, count == 2, let data, text[data.lowerBound] == UInt8(ascii: "[") else { return nil }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(data.count / 4)
        var isValid = true
        let list = UnsafeRawBufferPointer(rebasing: text[data])
        JSONMembers.forEachElement(in: list) { range in
            guard range.count <= 3, let byte = UInt8(String(decoding: list[range], as: UTF8.self)) else {
                isValid = false
                return
            }
            bytes.append(byte)
        }
        return isValid ? bytes : nil
    }
}
