import IIIProtocol
import IIITLS
import IIITelemetry
import IIITransport
import Logging
import NIOCore
import NIOHTTP1

/// A listener for WebSocket upgrades: on any path its owner knows, with an asynchronous decision, behind the rules for origins,
/// with one deadline over the whole handshake. Everything else gets a plain answer.
///
/// Limits: `AcceptLimits` and the descriptors of the process (see `AcceptGate`), heads of 64 KiB and 100 fields, one refusal's WARN
/// ten times a minute. Confined to its event loop, unless a method says otherwise.
package final class WebSocketServer: @unchecked Sendable {
    /// Changeable while it serves, for connections that come from then on.
    package struct Settings: Sendable {
        /// From the acceptance to the end of the request, TLS included. Default 10 s.
        package var handshakeTimeout = TimeAmount.seconds(10)
        /// For the owner's decision. Default 10 s.
        package var decisionTimeout = TimeAmount.seconds(10)
        package var origins = OriginPolicy()
        /// Key of the configuration that allows an origin, for the log and the refused client.
        package var originsKey = "allowed_origins"
        package var limits = AcceptLimits()

        package init() {}
    }

    /// What the owner says to requests. All on the loop.
    package struct Routes {
        /// Decides on a sound upgrade, now or later; later than `decisionTimeout` the client gets 503.
        package var decide: (UpgradeRequest, UpgradeReply) -> Void
        /// Answers what is no upgrade; nil = 405 for other methods than GET, else 400.
        package var answer: (HTTPRequestHead) -> HTTPAnswer?

        package init(
            decide: @escaping (UpgradeRequest, UpgradeReply) -> Void, answer: @escaping (HTTPRequestHead) -> HTTPAnswer? = { _ in nil }
        ) {
            self.decide = decide
            self.answer = answer
        }
    }

    /// What all handshakes of the server share.
    final class Shared {
        var settings: Settings
        let routes: Routes
        let logger: Logger
        weak var server: Server?
        /// Only this machine reaches the listener.
        var bindsLoopback = false
        private var warnings = WarningAllowance(10)

        init(_ settings: Settings, _ routes: Routes, _ logger: Logger) {
            self.settings = settings
            self.routes = routes
            self.logger = logger
        }

        var counters: ServerCounters {
            get { server?.counters ?? ServerCounters() }
            set { server?.counters = newValue }
        }

        func decide(_ request: UpgradeRequest, _ reply: UpgradeReply) { routes.decide(request, reply) }

        func answer(_ head: HTTPRequestHead) -> HTTPAnswer {
            if let answer = routes.answer(head) { return answer }
            if head.method != .GET { return HTTPAnswer(.methodNotAllowed, headers: [("allow", "GET")]) }
            return HTTPAnswer(.badRequest, "this port speaks WebSocket (RFC 6455, version 13)\n")
        }

        func objection(host: HostName, origin: String?, localAddress: SocketAddress?) -> HTTPAnswer? {
            let objection = settings.origins.objection(
                host: host, origin: origin, bindsLoopback: bindsLoopback,
                arrivesOnLoopback: localAddress?.isLoopback ?? false)
            guard let objection else { return nil }
            counters.originsRefused += 1
            let key = settings.originsKey
            let suppressed = warnings.take(now: .now())
            switch objection {
            case .origin(let origin):
                let origin = Self.shown(origin)
                if let suppressed {
                    logger.warning(
                        .originRefused, "a web page was refused: add its origin to \(key) if it may connect",
                        metadata: ["origin": "\(origin)", "key": "\(key)", "suppressed": "\(suppressed)"])
                }
                return HTTPAnswer(.forbidden, "pages of '\(origin)' may not connect here (\(key))\n")
            case .host(let host):
                let host = Self.shown(host)
                if let suppressed {
                    logger.warning(
                        .originRefused,
                        "a connection to a loopback address under a public name was refused (DNS rebinding): add https://\(host) to \(key) if that is a proxy of yours",
                        metadata: [
                            "host": "\(host)", "origin": "\(origin.map(Self.shown) ?? "none")", "key": "\(key)",
                            "suppressed": "\(suppressed)",
                        ])
                }
                return HTTPAnswer(.forbidden, "this port is not known as '\(host)' (\(key))\n")
            }
        }

        /// A stranger's text, short and on one line.
        private static func shown(_ text: String) -> String {
            String(text.unicodeScalars.prefix(200).map { $0.properties.generalCategory == .control ? "?" : Character($0) })
        }
    }

    private let shared: Shared
    private let server: Server

    private init(shared: Shared, server: Server) {
        self.shared = shared
        self.server = server
        shared.server = server
        shared.bindsLoopback = server.localAddress?.isLoopback ?? false
    }

    /// Listens and accepts. On the loop.
    package static func open(
        _ socket: ServerSocket, on eventLoop: any EventLoop, settings: Settings, options: ServerOptions, tls: TLSServerContext?,
        logger: Logger, routes: Routes
    ) -> EventLoopFuture<WebSocketServer> {
        let shared = Shared(settings, routes, logger)
        let certificates = ServerTLS(eventLoop: eventLoop, logger: logger)
        certificates.apply(tls, handshakeTimeout: settings.handshakeTimeout)
        var options = options
        options.limits = settings.limits
        let bound = NIOLoopBound(shared, eventLoop: eventLoop)
        return Server.open(socket, on: eventLoop, options: options, tls: certificates, logger: logger) { channel, connection in
            let decoder = ByteToMessageHandler(
                HTTPRequestDecoder(leftOverBytesStrategy: .forwardBytes, limitConfiguration: Self.headLimits))
            let encoder = HTTPResponseEncoder()
            let handshake = WebSocketHandshakeHandler(server: shared, connection: connection, decoder: decoder, encoder: encoder)
            try channel.pipeline.syncOperations.addHandlers([encoder, decoder, handshake])
        }.map { server in
            let server = WebSocketServer(shared: bound.value, server: server)
            server.server.startAccepting()
            return server
        }
    }

    private static var headLimits: NIOHTTPDecoderLimitConfiguration {
        var limits = NIOHTTPDecoderLimitConfiguration()
        limits.maxHeaderFieldSize = 64 << 10
        limits.maxHeaderListSize = 64 << 10
        limits.maxHeaderFieldCount = 100
        return limits
    }

    package var eventLoop: any EventLoop { server.eventLoop }
    package var localAddress: SocketAddress? { server.localAddress }
    package var counters: ServerCounters { server.counters }
    package var reading: ServerMetrics.Reading { server.reading }
    package var connectionCount: Int { server.connectionCount }
    package var handshakeCount: Int { server.handshakeCount }

    package func apply(_ settings: Settings) {
        shared.settings = settings
        server.apply(settings.limits)
        server.tls.endpoint?.handshakeTimeout = settings.handshakeTimeout
    }

    /// nil = without TLS from now on.
    package func apply(tls: TLSServerContext?) { server.tls.apply(tls, handshakeTimeout: shared.settings.handshakeTimeout) }

    /// Stops listening; connections stay. May be called from any thread.
    @discardableResult
    package func close() -> EventLoopFuture<Void> { server.close() }
}
