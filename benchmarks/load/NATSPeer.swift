import NIOCore
import NIOPosix

/// Caller and worker over the NATS client protocol: request/reply with one inbox per slot, payloads as large as ours.
enum NATSPeer {
    static func start(_ run: Run, host: String, port: Int) async throws {
        try await connect(.worker, run.loop, host, port)
        // The subscription must stand before the first request.
        try await run.loop.scheduleTask(in: .milliseconds(200)) {}.futureResult.get()
        try await connect(.caller(run), run.loop, host, port)
    }

    private static func connect(_ role: NATSConnection.Role, _ loop: any EventLoop, _ host: String, _ port: Int) async throws {
        _ = try await ClientBootstrap(group: loop).channelInitializer { channel in
            channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(NATSConnection(role: role)) }
        }.connect(host: host, port: port).get()
    }
}

private final class NATSConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    enum Role: Sendable {
        case worker
        case caller(Run)
    }

    private let role: Role
    private var received = ByteBuffer()
    private var outgoing = ByteBuffer()
    private var sentAt: [NIODeadline] = []
    private var payload: [UInt8] = []

    init(role: Role) { self.role = role }

    func channelActive(context: ChannelHandlerContext) {
        outgoing.writeString("CONNECT {\"verbose\":false,\"pedantic\":false}\r\n")
        switch role {
        case .worker:
            outgoing.writeString("SUB bench.echo 1\r\nPING\r\n")
        case .caller(let run):
            // As many bytes as our frame carries, so that both routers move the same amount.
            payload =
                Array(
                    #"{"type":"invokefunction","invocation_id":"01234567-89ab-4def-8000-000000000000","function_id":"bench::echo","data":{"text":""#
                        .utf8) + run.payload + Array(#""}}"#.utf8)
            sentAt = Array(repeating: .now(), count: run.inFlight)
            outgoing.writeString("SUB inbox.* 1\r\n")
            run.start()
            for slot in 0..<run.inFlight { call(slot) }
        }
        flush(context)
    }

    private func call(_ slot: Int) {
        sentAt[slot] = .now()
        outgoing.writeString("PUB bench.echo inbox.\(slot) \(payload.count)\r\n")
        outgoing.writeBytes(payload)
        outgoing.writeStaticString("\r\n")
    }

    private func flush(_ context: ChannelHandlerContext) {
        guard outgoing.readableBytes > 0 else { return }
        let buffer = outgoing
        outgoing = ByteBuffer()
        context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var incoming = unwrapInboundIn(data)
        received.writeBuffer(&incoming)
        while let message = nextMessage() { handle(message) }
        received.discardReadBytes()
        flush(context)
    }

    private func handle(_ message: (subject: Substring, reply: Substring?, payload: ByteBuffer)) {
        switch role {
        case .worker:
            guard let reply = message.reply else { return }
            outgoing.writeString("PUB \(reply) \(message.payload.readableBytes)\r\n")
            outgoing.writeImmutableBuffer(message.payload)
            outgoing.writeStaticString("\r\n")
        case .caller(let run):
            guard let slot = Int(message.subject.dropFirst(6)), slot < sentAt.count, !run.isOver else { return }
            run.answered(sentAt: sentAt[slot])
            call(slot)
        }
    }

    /// The next `MSG` in the buffer; other lines are skipped, `PING` is answered.
    private func nextMessage() -> (subject: Substring, reply: Substring?, payload: ByteBuffer)? {
        while let lineEnd = received.readableBytesView.firstIndex(of: UInt8(ascii: "\n")) {
            let start = received.readerIndex
            let line = received.getString(at: start, length: lineEnd - start - 1) ?? ""
            guard line.hasPrefix("MSG ") else {
                received.moveReaderIndex(to: lineEnd + 1)
                if line == "PING" { outgoing.writeStaticString("PONG\r\n") }
                continue
            }
            let parts = line.split(separator: " ")
            guard let length = parts.last.flatMap({ Int($0) }), received.writerIndex >= lineEnd + 1 + length + 2 else { return nil }
            received.moveReaderIndex(to: lineEnd + 1)
            guard let payload = received.readSlice(length: length) else { return nil }
            received.moveReaderIndex(forwardBy: 2)
            return (parts[1], parts.count == 5 ? parts[3] : nil, payload)
        }
        return nil
    }
}
