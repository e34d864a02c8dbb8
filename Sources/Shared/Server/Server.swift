import Glibc
import IIIProtocol
import IIITLS
import IIITelemetry
import Logging
import NIOCore
import NIOPosix

/// How a server listens and what it bounds.
package struct ServerOptions: Sendable {
    package var limits = AcceptLimits()
    /// Of the configuration: what the limit of descriptors is compared with at the start, by the name that operators know.
    package var promisedConnections: (key: String, value: Int)?
    package var share = DescriptorLimit.Share.ordinary
    /// Reads of one connection per turn of the loop.
    package var readsPerTurn: UInt = 8
    /// Finds half-open peers also where nothing is said for long: after 60 s, 4 probes 15 s apart.
    package var keepsAlive = false

    package init() {}
}

/// A listening socket whose accepted connections are bounded, with or without TLS (see `AcceptLimiter`, `ServerTLS`).
///
/// It accepts nothing before `startAccepting`; clients wait in the kernel's backlog until then. Closing it leaves its connections alone,
/// and an inherited socket open in the process that passed it on. One event loop serves the listener and all its connections; every
/// method must be called there, unless it says otherwise.
package final class Server: @unchecked Sendable {
    private let channel: any Channel
    private let gate: AcceptGate
    package let tls: ServerTLS

    private init(channel: any Channel, gate: AcceptGate, tls: ServerTLS) {
        self.channel = channel
        self.gate = gate
        self.tls = tls
    }

    /// Listens on `socket`. `configure` fills the pipeline of each accepted connection, behind TLS; it calls `established` on the
    /// connection once that has said what it wants. On the loop.
    package static func open(
        _ socket: ServerSocket, on eventLoop: any EventLoop, options: ServerOptions, tls: ServerTLS, logger: Logger,
        configure: @escaping (any Channel, AcceptedConnection) throws -> Void
    ) -> EventLoopFuture<Server> {
        let descriptors = DescriptorBudget.process
        if let promised = options.promisedConnections { warnIfTooFew(descriptors.limit, promised, logger) }
        let gate = AcceptGate(limits: options.limits, descriptors: descriptors, share: options.share, logger: logger)
        let shared = NIOLoopBound((gate: gate, tls: tls, configure: configure), eventLoop: eventLoop)
        var bootstrap = ServerBootstrap(group: eventLoop)
            .serverChannelOption(.backlog, value: ServerSocket.backlog)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            // The gate reads.
            .serverChannelOption(.autoRead, value: false)
            .serverChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(shared.value.gate) }
            }
            .childChannelOption(.maxMessagesPerRead, value: options.readsPerTurn)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let (gate, tls, configure) = shared.value
                    guard let connection = gate.connection(of: channel) else { throw ChannelError.ioOnClosedChannel }
                    if let endpoint = tls.endpoint { try channel.pipeline.syncOperations.addHandler(TLSServerHandler(endpoint)) }
                    try configure(channel, connection)
                }
            }
        if options.keepsAlive {
            bootstrap =
                bootstrap
                .childChannelOption(.socketOption(.so_keepalive), value: 1)
                .childChannelOption(.tcpOption(.init(rawValue: TCP_KEEPIDLE)), value: 60)
                .childChannelOption(.tcpOption(.init(rawValue: TCP_KEEPINTVL)), value: 15)
                .childChannelOption(.tcpOption(.init(rawValue: TCP_KEEPCNT)), value: 4)
        }
        return bound(bootstrap, to: socket).map { channel in
            let (gate, tls, _) = shared.value
            return Server(channel: channel, gate: gate, tls: tls)
        }
    }

    private static func bound(_ bootstrap: ServerBootstrap, to socket: ServerSocket) -> EventLoopFuture<any Channel> {
        switch socket {
        case .address(let host, let port): return bootstrap.bind(host: ServerSocket.unbracketed(host), port: port)
        case .inherited(let descriptor):
            return bootstrap.withBoundSocket(descriptor).map { channel in
                // NIO has listened with a backlog of 128, whatever the option says.
                _ = listen(descriptor, ServerSocket.backlog)
                return channel
            }
        }
    }

    private static func warnIfTooFew(_ descriptors: DescriptorLimit, _ promised: (key: String, value: Int), _ logger: Logger) {
        let available = descriptors.limit - descriptors.reserve
        guard promised.value > available else { return }
        logger.warning(
            .descriptorLimitLow,
            "\(promised.key) is \(promised.value), but this process may have only \(descriptors.limit) file descriptors: about \(max(available, 0)) connections; raise the limit (ulimit -n, LimitNOFILE=) or lower \(promised.key)"
        )
    }

    package var eventLoop: any EventLoop { channel.eventLoop }
    package var localAddress: SocketAddress? { channel.localAddress }
    package var counters: ServerCounters {
        get { gate.counters }
        set { gate.counters = newValue }
    }
    package var connectionCount: Int { gate.limiter.connectionCount }
    /// Connections that have not said what they want yet.
    package var handshakeCount: Int { gate.limiter.handshakeCount }

    package func startAccepting() { gate.start() }

    package func apply(_ limits: AcceptLimits) { gate.apply(limits) }

    /// Stops listening. May be called from any thread.
    @discardableResult
    package func close() -> EventLoopFuture<Void> {
        channel.eventLoop.execute { self.tls.stop() }
        return channel.close()
    }
}
