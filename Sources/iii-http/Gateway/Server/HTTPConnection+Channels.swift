import IIICrypto
import IIIProtocol
import IIIWorker
import NIOCore

// The channels of an exchange: opened by the function, if at all, and served from here (docs/reference/http.md#streaming).
extension HTTPConnection {
    /// Somebody has opened a channel of the current exchange. False when there is nothing for them in it.
    func channelOpened(_ ref: ChannelRef, _ end: ChannelReference.End) -> Bool {
        switch (end, ref.direction) {
        case (.requestBody, .read) where machine.handle({ $0.channelOpened(.requestBody) }): openUpload(ref)
        case (.response, .write) where machine.handle({ $0.channelOpened(.response) }): openDownload(ref)
        default: return false
        }
        perform()
        return true
    }

    /// The exchange is over: what is still open of its channels is ended, and what opens late is refused.
    func releaseChannels() {
        gateway.voidToken(slot)
        upload?.abort()
        upload = nil
        download?.abort()
        download = nil
    }

    private func openUpload(_ ref: ChannelRef) {
        let socket = gateway.link.makeChannelSocket()
        upload = socket
        socket.onOpen = { [weak self] in self?.exchangeChanged { $0.uploadOpened() } }
        socket.onDrained = { [weak self, unowned socket] in
            self?.exchangeChanged { $0.uploadDrained(queuedBytes: socket.queuedBytes) }
        }
        socket.onEnd = { [weak self] _ in
            self?.upload = nil
            self?.exchangeChanged { $0.uploadEnded() }
        }
        gateway.link.open(ChannelRef(channelID: ref.channelID, accessKey: ref.accessKey, direction: .write), with: socket)
    }

    private func exchangeChanged(_ event: (inout HTTPExchange) -> Void) {
        machine.handle(event)
        perform()
    }

    func pumpBody() {
        while let message = machine.handle({ $0.nextBodyMessage() }) {
            guard let socket = upload else { return }
            switch message {
            case .send(let bytes): bytes.withUnsafeReadableBytes { socket.sendBinary($0) }
            case .finish:
                // From here the socket looks after itself: the function gets all of it even if the exchange ends now.
                (socket.onOpen, socket.onDrained, socket.onEnd) = (nil, nil, nil)
                upload = nil
                socket.finish()
            }
        }
    }

    private func openDownload(_ ref: ChannelRef) {
        let socket = gateway.link.makeChannelSocket()
        download = socket
        socket.onMessage = { [weak self] bytes, isText in self?.messageReceived(bytes, isText) }
        socket.onCaughtUp = { [weak self] in
            self?.exchangeChanged { $0.streamCaughtUp() }
        }
        socket.onEnd = { [weak self] ending in
            self?.download = nil
            self?.exchangeChanged { $0.streamEnded(isComplete: ending == .complete) }
        }
        gateway.link.open(ChannelRef(channelID: ref.channelID, accessKey: ref.accessKey, direction: .read), with: socket)
    }

    private func controlReceived(_ text: UnsafeRawBufferPointer) {
        guard !machine.handle({ $0.controlReceived(text) }) else { return }
        gateway.logger.warning(
            .responseInvalid, "a function set a status on its response channel that is no integer from 200 to 599; it is ignored",
            metadata: ["route": "\(request?.match.route.description ?? "")"])
    }

    private func messageReceived(_ bytes: UnsafeRawBufferPointer, _ isText: Bool) {
        guard !isText else { return controlReceived(bytes) }
        switch machine.handle({ $0.chunkReceived() }) {
        case .drop: break
        case .write: writeChunk(bytes)
        case .begin:
            let carriesBody = writeStreamHead()
            if carriesBody { writeChunk(bytes) }
            machine.handle { $0.headWritten(carriesBody: carriesBody) }
        }
        perform()
    }
}
