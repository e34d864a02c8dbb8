import NIOCore

// Responses on their way into the outgoing buffer.
extension HTTPConnection {
    func write(_ answer: ExchangeAction.Answer, closes: Bool) {
        _ = respond(closes: closes) { output in
            switch answer {
            case .failure:
                let error = machine.takeFailure()
                settings.writer.writeError(error, form, to: &output)
                return error.status
            case .noContent:
                settings.writer.writeNoContent(form, to: &output)
                return 204
            case .emptyStream:
                settings.writer.writeEmptyStream(machine.exchange.streamStatus, machine.exchange.streamHeaders, form, to: &output)
                return machine.exchange.streamStatus
            case .planned: return writePlanned(&output)
            }
        }
    }

    private func writePlanned(_ output: inout ByteBuffer) -> Int {
        switch plannedAnswer {
        case .options(let requestedHeaders, let allowed):
            settings.writer.writeOptions(form, requestedHeaders: requestedHeaders, allow: allowed, to: &output)
            return 200
        case .endpoint(let endpoint):
            let (status, document) = gateway.document(of: endpoint)
            settings.writer.writeDocument(status, document, form, to: &output)
            return status
        case nil:
            settings.writer.writeError(.notFound, form, to: &output)
            return 404
        }
    }

    /// Has one whole response written and flushed; `write` returns its status, or nil when there is none. Returns whether there was one.
    func respond(closes: Bool, _ write: (inout ByteBuffer) -> Int?) -> Bool {
        gateway.date.update(now: HTTPDate.now().seconds)
        form.closes = closes
        let start = output.writerIndex
        guard let status = write(&output) else { return false }
        lastStatus = status
        lastByteCount = output.writerIndex - start
        scheduleFlush()
        return true
    }

    /// The head of a streamed response, straight before its first bytes. Returns whether a body may follow.
    func writeStreamHead() -> Bool {
        heldResult = nil
        _ = respond(closes: machine.exchange.isLast) { output in
            settings.writer.writeStreamHead(machine.exchange.streamStatus, machine.exchange.streamHeaders, &form, to: &output)
            return machine.exchange.streamStatus
        }
        if form.isStreamed { lastByteCount = 0 }
        return form.isStreamed
    }

    func writeChunk(_ bytes: UnsafeRawBufferPointer) {
        guard !bytes.isEmpty else { return }
        settings.writer.writeChunk(bytes, form, to: &output)
        lastByteCount += bytes.count
        scheduleFlush()
    }

    func writeStreamEnd() {
        settings.writer.writeStreamEnd(form, to: &output)
        scheduleFlush()
    }
}
