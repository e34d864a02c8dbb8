import IIIServer
import IIITLS
import NIOCore
import NIOHTTP1

/// The gateway's listener: a socket handed down by the core or systemd, or one that it binds itself.
///
/// It accepts nothing until `startAccepting`, so that no request comes before the routes do; clients wait in the
/// kernel's backlog meanwhile. A connection counts as a handshake until its first request head is complete.
enum HTTPListener {
    private static let readsPerTurn: UInt = 4

    /// Opens the listener on the gateway's own event loop.
    static func open(_ core: GatewayCore, inherited: CInt?) -> EventLoopFuture<Server> {
        let configuration = core.settings.configuration
        var options = ServerOptions()
        options.readsPerTurn = readsPerTurn
        options.promisedConnections = (key: "max_connections", value: configuration.maximumConnections)
        let socket = inherited.map(ServerSocket.inherited) ?? .address(host: configuration.host, port: configuration.port)
        return Server.open(socket, on: core.eventLoop, options: options, tls: core.tls, logger: core.logger) { channel, connection in
            try configure(channel, core, FirstRequestWatch(connection))
        }
    }

    /// Fills the pipeline of a connection, behind TLS.
    static func configure(_ channel: any Channel, _ core: GatewayCore, _ watch: FirstRequestWatch? = nil) throws {
        var limits = NIOHTTPDecoderLimitConfiguration()
        let configuration = core.settings.configuration
        limits.maxHeaderFieldSize = configuration.maximumHeadBytes
        limits.maxHeaderListSize = configuration.maximumHeadBytes
        limits.maxHeaderFieldCount = configuration.maximumHeaderCount
        let decoder = HTTPRequestDecoder(leftOverBytesStrategy: .dropBytes, limitConfiguration: limits)
        let pipeline = channel.pipeline.syncOperations
        try pipeline.addHandler(ByteToMessageHandler(decoder))
        if let watch { try pipeline.addHandler(watch) }
        try pipeline.addHandler(HTTPConnection(gateway: core))
    }

    /// The text that operators look for when the address cannot be had.
    static func message(for error: any Error, _ configuration: HTTPConfiguration) -> String {
        ServerSocket.message(for: error, host: configuration.host, port: configuration.port)
    }
}
