import NIOCore

// Responses whose body comes through a channel (docs/reference/http.md#streaming).
extension ResponseWriter {
    /// The head; notes in `form` whether a body may follow at all.
    func writeStreamHead(_ status: Int, _ headers: [UInt8], _ form: inout Form, to buffer: inout ByteBuffer) {
        form.isStreamed = Self.mayHaveBody(status) && !form.isHead
        if form.isStreamed, form.isHTTP10 { form.closes = true }
        writeCollectedHead(status, headers, form, to: &buffer)
        if form.isChunked { buffer.writeStaticString("transfer-encoding: chunked\r\n") }
        if status == 205 { buffer.writeStaticString("content-length: 0\r\n") }
        writeConnection(form, to: &buffer)
        buffer.writeStaticString("\r\n")
    }

    /// A stream that ended without a byte.
    func writeEmptyStream(_ status: Int, _ headers: [UInt8], _ form: Form, to buffer: inout ByteBuffer) {
        writeCollectedHead(status, headers, form, to: &buffer)
        finish(status, form, body: Self.empty, to: &buffer)
    }

    private func writeCollectedHead(_ status: Int, _ text: [UInt8], _ form: Form, to buffer: inout ByteBuffer) {
        writeStatusLine(status, to: &buffer)
        var headers = ResponseHeaders(cors: cors, reserved: requestIDName)
        text.withUnsafeBytes { headers.write($0, to: &buffer) }
        writeCommonHeaders(form, hasDate: headers.hasDate, to: &buffer)
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
}
