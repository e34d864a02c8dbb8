import IIITLS
import NIOCore
import NIOPosix

/// One connection to a server, from the dial to its end: socket, TLS, greeting, replies. Who owns it decides what is said on it.
final class RedisConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// What becomes of a connection; all on its event loop, `ended` exactly once and last.
    struct Events {
        var ready: (RedisServerFacts) -> Void
        var received: (RedisValue) -> Void
        var readCompleted: () -> Void
        /// `isLasting`: the server itself is the reason, and the next one would be too.
        var ended: (_ error: RedisError, _ isLasting: Bool) -> Void
    }

    private let reader: RedisReplyReader
    private let events: Events
    private var greeting: RedisGreeting
    private var isGreeted = false
    private var hasEnded = false
    private var channel: (any Channel)?
    private var deadline: Scheduled<Void>?
    private var failure: (RedisError, Bool)?

    private init(_ settings: RedisSettings, scripts: [RedisScript], _ events: Events) throws(RedisError) {
        reader = try RedisReplyReader(maximumBytes: settings.maximumReplyBytes)
        greeting = RedisGreeting(settings, scripts: scripts)
        self.events = events
    }

    /// Begins to connect; `events` tell how it goes.
    static func dial(
        _ settings: RedisSettings, tls: TLSClientContext?, scripts: [RedisScript], on eventLoop: any EventLoop, _ events: Events
    ) throws(RedisError) -> RedisConnection {
        let connection = try RedisConnection(settings, scripts: scripts, events)
        let bound = NIOLoopBound(connection, eventLoop: eventLoop)
        connection.deadline = eventLoop.scheduleTask(in: settings.connectTimeout) {
            bound.value.close(
                RedisError(
                    .notSent, "no greeting from \(settings.url.displayText) within \(settings.connectTimeout.nanoseconds / 1_000_000) ms"))
        }
        let bootstrap = ClientBootstrap(group: eventLoop).connectTimeout(settings.connectTimeout)
            .channelOption(.maxMessagesPerRead, value: 16)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let tls, case .host(let host, _) = settings.url.address {
                        let session = try TLSSession(client: tls, host: host, verifiesHost: settings.verifiesHost)
                        try channel.pipeline.syncOperations.addHandler(TLSClientHandler(session))
                    }
                    try channel.pipeline.syncOperations.addHandler(bound.value)
                }
            }
        let future =
            switch settings.url.address {
            case .host(let host, let port): bootstrap.connect(host: host, port: port)
            case .unixSocket(let path): bootstrap.connect(unixDomainSocketPath: path)
            }
        future.whenFailure { error in
            let reason = (error as? NIOConnectionError)?.connectionErrors.first.map { "\($0.error)" } ?? "\(error)"
            bound.value.end(RedisError(.notSent, "\(settings.url.displayText) cannot be reached: \(reason)"), isLasting: false)
        }
        return connection
    }

    func write(_ bytes: ByteBuffer) { channel?.writeAndFlush(bytes, promise: nil) }

    /// Ends the connection for this reason.
    func close(_ error: RedisError, isLasting: Bool = false) {
        if failure == nil { failure = (error, isLasting) }
        if let channel { channel.close(promise: nil) } else { end(error, isLasting: isLasting) }
    }

    func channelActive(context: ChannelHandlerContext) {
        guard !hasEnded else { return context.close(promise: nil) }
        channel = context.channel
        context.writeAndFlush(Self.wrapOutboundOut(greeting.begin()), promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        do throws(RedisReplyReader.Malformed) {
            try reader.feed(Self.unwrapInboundIn(data))
            while failure == nil, let value = try reader.next() {
                if isGreeted { events.received(value) } else { greet(value) }
            }
        } catch {
            close(RedisError(.failed, "what came is not Redis: \(error.reason)"))
        }
    }

    private func greet(_ value: RedisValue) {
        switch greeting.received(value) {
        case .more: break
        case .failed(let error, let isLasting): close(error, isLasting: isLasting)
        case .done(let facts):
            isGreeted = true
            deadline?.cancel()
            events.ready(facts)
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) { if isGreeted { events.readCompleted() } }

    func channelInactive(context: ChannelHandlerContext) {
        let (error, isLasting) = failure ?? (RedisError(.notSent, "Redis has closed the connection"), false)
        end(error, isLasting: isLasting)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        close(RedisError(.notSent, "the connection to Redis broke: \(error)"))
    }

    private func end(_ error: RedisError, isLasting: Bool) {
        guard !hasEnded else { return }
        hasEnded = true
        deadline?.cancel()
        channel = nil
        events.ended(error, isLasting)
    }
}
