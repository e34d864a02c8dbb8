import IIIProtocol
import IIIServer
import IIISettings
import IIIWorker
import Logging
import NIOCore

/// One of the ports that this built-in opens for others. A port that was asked for and cannot be had ends the start; a default one that is
/// taken stays shut, with a warning, so that two fleets on one machine need no configuration.
struct ListeningDoor: Sendable {
    let name: String
    let host: String
    let port: Int
    let isWritten: Bool

    /// nil where the door is to stay shut.
    init?(_ name: String, _ values: SettingValues, enabled: Setting<Bool>, port: Setting<Int>) {
        guard values[enabled] else { return nil }
        self.name = name
        host = values[ObservabilitySettings.Door.host]
        self.port = values[port]
        isWritten = values.isWritten(port) || values.isWritten(ObservabilitySettings.Door.host)
    }

    private var isPrivate: Bool { host.hasPrefix("127.") || host == "::1" || host == "[::1]" || host == "localhost" }

    private struct Failure: Error, CustomStringConvertible { let description: String }

    /// nil where the default port is taken.
    func open(
        on eventLoop: any EventLoop, maximumConnections: Int, logger: Logger,
        configure: @escaping @Sendable (any Channel, AcceptedConnection) throws -> Void
    ) async throws -> Server? {
        do {
            let server = try await eventLoop.flatSubmit {
                var options = ServerOptions()
                options.limits = AcceptLimits(maximumConnections: maximumConnections)
                return Server.open(
                    .address(host: host, port: port), on: eventLoop, options: options, tls: ServerTLS(eventLoop: eventLoop, logger: logger),
                    logger: logger, configure: configure
                ).map { server in
                    server.startAccepting()
                    return server
                }
            }.get()
            if !isPrivate {
                logger.warning(.listensPublicly, "\(name) listens on \(host) without TLS; put a proxy in front or set host to 127.0.0.1")
            }
            logger.info("\(name) listening on address: \(host):\(server.localAddress?.port ?? port)")
            return server
        } catch {
            let message = ServerSocket.message(for: error, host: host, port: port)
            guard !isWritten else { throw Failure(description: "\(name): \(message)") }
            logger.warning(.portTaken, "\(name) stays shut: \(message); set another `port`, or `enabled: false`")
            return nil
        }
    }
}
