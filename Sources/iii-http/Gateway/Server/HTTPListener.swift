import Glibc
import IIITLS
import NIOCore
import NIOHTTP1
import NIOPosix

/// Where the gateway listens: a socket handed down by the core or systemd, or one that it binds itself.
///
/// The listener accepts nothing until `startAccepting`, so that no request comes before the routes do; clients wait in the
/// kernel's backlog (4096) meanwhile. Closing it leaves an inherited socket open in the process that passed it on.
enum HTTPListener {
    private static let backlog: Int32 = 4096
    private static let acceptsPerTurn: UInt = 256
    private static let readsPerTurn: UInt = 4

    /// Opens the listener on the gateway's own event loop.
    static func open<Link>(_ core: GatewayCore<Link>, inherited: CInt?) -> EventLoopFuture<any Channel> {
        let configuration = core.settings.configuration
        let bound = NIOLoopBound(core, eventLoop: core.eventLoop)
        let bootstrap = ServerBootstrap(group: core.eventLoop)
            .serverChannelOption(.backlog, value: backlog)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .serverChannelOption(.maxMessagesPerRead, value: acceptsPerTurn)
            .serverChannelOption(.autoRead, value: false)
            .childChannelOption(.maxMessagesPerRead, value: readsPerTurn)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try configure(channel, bound.value) }
            }
        guard let inherited else {
            return bootstrap.bind(host: unbracketed(configuration.host), port: configuration.port)
        }
        // Idempotent; the passing process may have bound only, or listened with a shorter backlog.
        _ = listen(inherited, backlog)
        return bootstrap.withBoundSocket(inherited)
    }

    static func configure<Link>(_ channel: any Channel, _ core: GatewayCore<Link>) throws {
        if let endpoint = core.tls.endpoint { try channel.pipeline.syncOperations.addHandler(TLSServerHandler(endpoint)) }
        var limits = NIOHTTPDecoderLimitConfiguration()
        let configuration = core.settings.configuration
        limits.maxHeaderFieldSize = configuration.maximumHeadBytes
        limits.maxHeaderListSize = configuration.maximumHeadBytes
        limits.maxHeaderFieldCount = configuration.maximumHeaderCount
        let decoder = HTTPRequestDecoder(leftOverBytesStrategy: .dropBytes, limitConfiguration: limits)
        try channel.pipeline.syncOperations.addHandlers(ByteToMessageHandler(decoder), HTTPConnection(gateway: core))
    }

    /// The text that operators look for when the address cannot be had (http.md §3.2).
    static func message(for error: any Error, _ configuration: HTTPConfiguration) -> String {
        let address = "\(configuration.host):\(configuration.port)"
        if let error = error as? IOError, error.errnoCode == EADDRINUSE { return "address \(address) is already in use" }
        return "failed to bind to \(address): \(error)"
    }

    /// `[::]` as the operating system wants it.
    private static func unbracketed(_ host: String) -> String {
        host.hasPrefix("[") && host.hasSuffix("]") ? String(host.dropFirst().dropLast()) : host
    }
}
