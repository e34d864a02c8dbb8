import IIIProtocol
import IIITransport
import IIIWorker
import Logging
import NIOCore
import NIOEmbedded

/// The engine's end of a worker link, played by the test: no socket, no thread, no clock but the test's.
///
/// Frames go through the real framing of both sides. Time stands still until `advanceTime`.
public final class FakeEngine {
    /// The link under test; everything on it happens inside the calls of this object.
    public let link: WorkerLink
    /// Runs, and its clock moves, when the test says so.
    public let eventLoop = EmbeddedEventLoop()
    private var channel: EmbeddedChannel?
    private var unread = ByteBuffer()

    /// `name` is what the link calls itself.
    public init(name: String = "under-test") {
        var logger = Logger(label: name)
        logger.logLevel = .critical
        var options = WorkerOptions(url: WebSocketURL(host: "fake", port: 1), name: name)
        // Calls are the test's business; this one would stand among them.
        options.reportsMetadata = false
        link = WorkerLink(options: options, on: eventLoop, logger: logger)
    }

    /// Connects the link: it is registered, and has said its registrations, when this returns.
    public func connect() throws { try beginConnecting()() }

    /// The link is connecting when this returns, and connected once the result is called.
    public func beginConnecting() throws -> () throws -> Void {
        let connection = link.makeConnection()
        let channel = EmbeddedChannel(handler: connection, loop: eventLoop)
        self.channel = channel
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        return { [self] in
            connection.open()
            try send(["type": "workerregistered", "worker_id": "00000000-0000-4000-8000-000000000001"])
        }
    }

    /// Cuts the connection. The link tries to come back by itself, to an address that does not exist: use `connect`.
    public func disconnect() throws {
        _ = try channel?.finish(acceptAlreadyClosed: true)
        channel = nil
        unread = ByteBuffer()
        eventLoop.run()
    }

    /// Sends a message as the engine.
    public func send(_ message: JSONValue) throws {
        let payload = message.bytes
        var frame = ByteBuffer()
        var header = [UInt8](repeating: 0, count: WebSocketFrameHeader.length(forPayload: payload.count, masked: false))
        header.withUnsafeMutableBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            WebSocketFrameHeader.write(to: base, isFinal: true, opcode: .text, payloadLength: payload.count, maskingKey: nil)
        }
        frame.writeBytes(header)
        frame.writeBytes(payload)
        try channel?.writeInbound(frame)
        eventLoop.run()
    }

    /// Everything the link has sent since the last time, decoded; pings of the heartbeat left out.
    public func received() throws -> [JSONValue] {
        eventLoop.run()
        while let buffer = try channel?.readOutbound(as: ByteBuffer.self) {
            var buffer = buffer
            unread.writeBuffer(&buffer)
        }
        var messages: [JSONValue] = []
        try unread.withUnsafeMutableReadableBytes { bytes in
            var rest = bytes[...]
            while case .header(let header) = WebSocketFrameHeader.parse(
                UnsafeRawBufferPointer(rebasing: rest), expectsMask: true, maximumFrameLength: 64 << 20),
                rest.count >= header.headerLength + header.payloadLength
            {
                let payload = UnsafeMutableRawBufferPointer(rebasing: rest.dropFirst(header.headerLength).prefix(header.payloadLength))
                if let key = header.maskingKey { WebSocketFrameHeader.applyMask(key, to: payload) }
                if header.opcode == .text { messages.append(try JSONValue(parsing: UnsafeRawBufferPointer(payload))) }
                rest = rest.dropFirst(header.headerLength + header.payloadLength)
            }
        }
        unread.clear()
        return messages
    }

    /// The messages of one type among `received()`; the others are dropped.
    public func received(_ type: String) throws -> [JSONValue] { try received().filter { $0["type"]?.string == type } }

    /// Says that everything sent so far has been handled: answers the link's barriers.
    public func answerBarriers(_ messages: [JSONValue]) throws {
        for message in messages where message["type"] == "ping" { try send(["type": "pong"]) }
    }

    /// Lets time pass, and what was due in it happen.
    public func advanceTime(by amount: TimeAmount) { eventLoop.advanceTime(by: amount) }
}
