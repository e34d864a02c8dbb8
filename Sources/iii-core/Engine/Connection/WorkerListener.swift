import IIICrypto
import IIIProtocol
import IIIServer
import IIITLS
import IIITransport
import NIOCore

/// Who may connect to a listener of the engine.
package enum ListenerAudience: Sendable {
    case everybody
    /// The processes that the core has started: built-ins by their secret, user processes by a path that begins with
    /// `secret`, channels by their own key. For a loopback listener that nobody else is told of
    /// (docs/reference/core-workers.md#where-it-connects).
    case children(secret: String)
}

/// The settings of one listener, replaceable while it serves. Confined to the engine's loop.
package final class ListenerSettings: @unchecked Sendable {
    private(set) var options: EngineOptions
    fileprivate let tls: TLSServerContext?
    fileprivate weak var server: WebSocketServer?

    /// `tls`: nil = plain.
    package init(_ options: EngineOptions, tls: TLSServerContext? = nil) {
        self.options = options
        self.tls = tls
    }

    /// For connections that come from now on. May be called from any thread.
    package func replace(with options: EngineOptions, on eventLoop: any EventLoop) {
        eventLoop.execute {
            self.options = options
            self.server?.apply(options.serverSettings)
        }
    }

    /// Likewise; nil = without TLS from now on.
    package func replace(tls: TLSServerContext?, on eventLoop: any EventLoop) {
        eventLoop.execute { self.server?.apply(tls: tls) }
    }
}

extension Engine {
    /// Serves workers on a bound, listening socket, which the engine then owns. `settings` are the limits of this entry.
    /// May be called from any thread.
    package func serve(
        socket: CInt, settings: ListenerSettings, audience: ListenerAudience = .everybody
    ) -> EventLoopFuture<WebSocketServer> {
        eventLoop.flatSubmit { [self] in
            var options = ServerOptions()
            options.keepsAlive = true
            switch audience {
            case .everybody: options.promisedConnections = (key: "max_connections", value: settings.options.maximumConnections)
            case .children: options.share = .essential
            }
            return WebSocketServer.open(
                .inherited(socket), on: eventLoop, settings: settings.options.serverSettings, options: options, tls: settings.tls,
                logger: logger, routes: routes(settings, audience))
        }.map { [self] server in
            settings.server = server
            listenerSettings.append(settings)
            housekeeping.start()
            listeners.append(server)
            return server
        }
    }

    /// Stops listening; its workers stay. May be called from any thread.
    @discardableResult
    package func close(_ listener: WebSocketServer) -> EventLoopFuture<Void> {
        eventLoop.flatSubmit { [self] in
            listeners.removeAll { $0 === listener }
            listenerSettings.removeAll { $0.server === listener || $0.server == nil }
            closedListeners.counters = closedListeners.counters + listener.counters
            closedListeners.tls = closedListeners.tls + listener.reading.tls
            return listener.close()
        }
    }

    private func routes(_ settings: ListenerSettings, _ audience: ListenerAudience) -> WebSocketServer.Routes {
        WebSocketServer.Routes(
            decide: { [unowned self] request, reply in
                switch audience {
                case .everybody: reply.settle(admit(request, settings.options))
                case .children(let secret): reply.settle(admitChild(request, secret, settings.options))
                }
            },
            answer: { head in
                // Nothing is served here but upgrades; an unknown path is 404 however it is asked for.
                let path = String(head.uri.prefix { $0 != "?" })
                return Self.isServed(path) ? nil : HTTPAnswer(.notFound)
            })
    }

    static func isServed(_ path: String) -> Bool { path == "/" || path == "/otel" || path.hasPrefix(channelPath) }

    static let channelPath = "/ws/channels/"

    private func admitChild(_ request: UpgradeRequest, _ secret: String, _ options: EngineOptions) -> UpgradeDecision {
        let isBuiltin = request.headers.contains(name: "x-iii-builtin-token")
        // A channel's own key is what opens it.
        if isBuiltin || request.path.hasPrefix(Self.channelPath) { return admit(request, options) }
        let prefix = Array("/\(secret)".utf8)
        let path = Array(request.path.utf8)
        guard path.count >= prefix.count, SecureBytes.constantTimeEquals(Array(path[..<prefix.count]), prefix) else {
            return .refuse(.forbidden, body: "this port is for processes that the engine has started\n")
        }
        var inner = request
        inner.path = String(decoding: path[prefix.count...], as: UTF8.self)
        if inner.path.isEmpty { inner.path = "/" }
        return admit(inner, options)
    }

    /// What all listeners have done, and hold now.
    var listenerMetrics: [String: JSONValue] {
        var members = listeners.reduce(closedListeners.counters) { $0 + $1.counters }.json
        members["sockets_open"] = JSONValue(listeners.reduce(0) { $0 + $1.connectionCount })
        members["handshakes_open"] = JSONValue(listeners.reduce(0) { $0 + $1.handshakeCount })
        return members
    }
}

extension EngineOptions {
    /// What the listener itself looks after.
    var serverSettings: WebSocketServer.Settings {
        var settings = WebSocketServer.Settings()
        settings.handshakeTimeout = handshakeTimeout
        settings.origins = OriginPolicy(allowedOrigins: allowedOrigins)
        settings.originsKey = "iii-worker-manager.config.allowed_origins"
        settings.limits = AcceptLimits(maximumHandshakes: maximumHandshakes)
        return settings
    }
}
