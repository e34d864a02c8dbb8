import IIICrypto
import IIIProtocol
import IIIWorker
import NIOCore

// The channels of an exchange: opened by the function, if at all, and served from here (http.md §7.2, §10.1, §10.3).
extension HTTPConnection {
    /// Somebody has opened a channel of the current exchange. False when there is nothing for them in it.
    func channelOpened(_ ref: ChannelRef, _ end: ChannelReference.End) -> Bool {
        switch (end, ref.direction) {
        case (.requestBody, .read) where !isUploadOpen: openUpload(ref)
        case (.response, .write) where download == nil && phase != .streaming && phase != .answered: openDownload(ref)
        default: return false
        }
        return true
    }

    /// The exchange is over: what is still open of its channels is ended, and what opens late is refused.
    func releaseChannels() {
        guard let slot else { return }
        gateway.slots.voidToken(slot)
        upload?.stop()
        upload = nil
        isUploadOpen = false
        download?.socket.abort()
        download = nil
        isDownloadLost = false
    }

    // MARK: Request body

    private func openUpload(_ ref: ChannelRef) {
        isUploadOpen = true
        let pump = makeUpload()
        let socket = gateway.link.makeChannelSocket()
        pump.start(socket)
        gateway.link.open(ChannelRef(channelID: ref.channelID, accessKey: ref.accessKey, direction: .write), with: socket)
        sendContinueIfExpected()
    }

    /// The pump of this exchange; created by the first body bytes, or by a function that opens an empty body.
    func makeUpload() -> RequestBodyPump {
        if let upload { return upload }
        let pump = RequestBodyPump()
        if hasRequestEnded { pump.completed() }
        pump.onRoom = { [unowned self] in resumeReading() }
        upload = pump
        return pump
    }

    // MARK: Response

    private func openDownload(_ ref: ChannelRef) {
        let socket = gateway.link.makeChannelSocket()
        let stream = ResponseStream(socket: socket)
        download = stream
        socket.onMessage = { [unowned self] bytes, isText in
            if !isText { chunkReceived(bytes) } else if phase != .streaming { stream.control(bytes) }
        }
        socket.onCaughtUp = { [unowned self] in
            stream.hasCaughtUp = true
            settleHeldResult()
        }
        socket.onEnd = { [unowned self] ending in downloadEnded(ending) }
        gateway.link.open(ChannelRef(channelID: ref.channelID, accessKey: ref.accessKey, direction: .read), with: socket)
        guard phase == .grace else { return }
        phase = .waiting
        settings.requestTimers.start(timer)
    }

    /// A return value beside an open response channel waits: bytes that were written before it win over it (§10.1), and they
    /// come by another socket.
    func hold(_ text: UnsafeRawBufferPointer) -> Bool {
        guard let download else { return false }
        download.heldResult = Array(text)
        settleHeldResult()
        return true
    }

    /// Once we have all that waited in the engine, only what is still between the function and the engine can be missing.
    private func settleHeldResult() {
        guard let download, download.hasCaughtUp, download.heldResult != nil, let loop = context?.eventLoop else { return }
        let held = NIOLoopBound((self, exchange), eventLoop: loop)
        loop.scheduleTask(in: ResponseStream.settleTime) {
            let (connection, exchange) = held.value
            if connection.exchange == exchange { connection.deliverHeldResult() }
        }
    }

    private func deliverHeldResult() {
        guard let result = download?.heldResult else { return }
        result.withUnsafeBytes { respond(result: $0) }
    }

    private func chunkReceived(_ bytes: UnsafeRawBufferPointer) {
        if phase != .streaming {
            beginStream()
            guard phase == .streaming else { return }
        }
        guard !bytes.isEmpty else { return }
        settings.writer.writeChunk(bytes, form, to: &output)
        streamedBytes += bytes.count
        scheduleFlush()
        if !isWritable { download?.socket.readsAutomatically = false }
    }

    private func beginStream() {
        guard let download else { return }
        // Bytes were written before the handler returned: its value does not count any more.
        download.heldResult = nil
        abandonCall()
        prepareResponse()
        settings.writer.writeStreamHead(download.status, download.headersText, &form, to: &output)
        phase = .streaming
        exchange &+= 1
        timer.cancel()
        givePlaceBack()
        scheduleFlush()
        // Nothing may follow: the writer learns it from its socket.
        if !form.isStreamed { responseWritten(download.status) }
    }

    private func downloadEnded(_ ending: ChannelSocket.Ending) {
        let isStreaming = phase == .streaming
        if !isStreaming, download?.heldResult != nil { return deliverHeldResult() }
        switch ending {
        case .complete:
            if isStreaming {
                settings.writer.writeStreamEnd(form, to: &output)
                responseWritten(download?.status ?? 200)
            } else if let download {
                abandonCall()
                respond(download.status) { settings.writer.writeEmptyStream(download.status, download.headersText, form, to: &$0) }
            }
        case .broken where isStreaming:
            cutResponse()
        case .broken:
            download = nil
            // The handler may still return or fail; only one that has returned nothing leaves no answer.
            if phase == .waiting { fail(.streamLost) } else { isDownloadLost = true }
        }
    }

    /// The head of the response is out and the rest will not come: only the end of the connection can tell. No final chunk, and
    /// over TLS no close_notify, or the client would take what it has for the whole.
    func cutResponse() {
        closesUncleanly()
        releaseChannels()
        beginClosing()
    }

    /// The client takes data again, or not: the writer of the stream waits with it.
    func streamWritabilityChanged(_ isWritable: Bool) { download?.socket.readsAutomatically = isWritable }
}
