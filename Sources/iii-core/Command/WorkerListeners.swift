import Glibc
import IIIConfiguration
import IIICrypto
import IIIEngine
import IIIProtocol
import IIIServer
import IIISettings
import IIISupervision
import IIITLS
import IIIWorker
import Logging
import NIOCore

/// The engine's listeners: one per `iii-worker-manager` entry, with their change on a reload, and one on loopback for the
/// processes that the core starts, which no setting of the others touches
/// (docs/reference/core-workers.md#where-it-connects).
///
/// Used from the main thread at start and from the supervisor's thread afterwards, which is the same one.
final class WorkerListeners: @unchecked Sendable {
    private struct Listener {
        var entry: WorkerEntry
        var settings: ListenerSettings
        var server: WebSocketServer
    }

    private let engine: Engine
    private var listeners: [String: Listener] = [:]
    private var children: (url: String, settings: ListenerSettings)?
    /// Begins the path of user processes on the children's listener.
    private let secret = SecureBytes.hex(SecureBytes.random(count: 32))

    init(engine: Engine) { self.engine = engine }

    /// Where the first entry really listens, and what children dial.
    private(set) var engineAddress = EngineAddress(url: "ws://127.0.0.1:49134", port: 49134)

    /// Opens every entry. `inherited` is a socket systemd passed, for the first.
    func open(_ entries: [WorkerEntry], inherited: CInt?) throws {
        let certificates = try entries.map(Self.certificate)
        for (index, entry) in entries.enumerated() {
            let socket = try socket(of: entry, inherited: index == 0 ? inherited : nil)
            try serve(entry, socket, certificates[index])
            guard index == 0 else { continue }
            try serveChildren(entry)
            engineAddress = address(of: entry, socket)
        }
    }

    /// Applies a new set of entries; an error text means that nothing was changed.
    func apply(_ entries: [WorkerEntry]) -> String? {
        let wanted = Dictionary(entries.map { ($0.id, $0) }, uniquingKeysWith: { _, last in last })
        var certificates: [String: TLSServerContext] = [:]
        do {
            for entry in entries
            where Self.tls(of: entry) != nil && Self.tls(of: entry) != listeners[entry.id].flatMap({ Self.tls(of: $0.entry) }) {
                certificates[entry.id] = try Self.certificate(entry)
            }
        } catch {
            return "\(error)"
        }
        // Bind everything new first: if one address is taken, the old listeners stay as they are.
        var bound: [(WorkerEntry, ListeningSocket)] = []
        var closed: [Listener] = []
        for entry in entries {
            let old = listeners[entry.id]
            if let old, Self.address(old.entry) == Self.address(entry) { continue }
            // `127.0.0.1` and `0.0.0.0` cannot hold one port together.
            if let old, old.entry.address?.port == entry.address?.port {
                try? engine.close(old.server).wait()
                closed.append(old)
            }
            do {
                bound.append((entry, try socket(of: entry, inherited: nil)))
                if certificates[entry.id] == nil { certificates[entry.id] = try Self.certificate(entry) }
            } catch {
                for (_, socket) in bound { close(socket.descriptor) }
                for listener in closed {
                    try? serve(listener.entry, socket(of: listener.entry, inherited: nil), Self.certificate(listener.entry))
                }
                return "\(entry.id): \(error)"
            }
        }
        for (id, old) in listeners where wanted[id].map({ Self.address($0) != Self.address(old.entry) }) ?? true {
            engine.close(old.server)
            listeners[id] = nil
        }
        for (id, listener) in listeners {
            guard let entry = wanted[id] else { continue }
            listeners[id]?.entry = entry
            listener.settings.replace(with: EngineOptions(entry), on: engine.eventLoop)
            if Self.tls(of: entry) != Self.tls(of: listener.entry) {
                listener.settings.replace(tls: certificates[id], on: engine.eventLoop)
            }
        }
        for (entry, socket) in bound {
            do { try serve(entry, socket, certificates[entry.id]) } catch { return "\(entry.id): \(error)" }
        }
        guard let first = entries.first else { return nil }
        let options = EngineOptions(first)
        engine.eventLoop.execute { [engine] in engine.optionsChanged(options) }
        children?.settings.replace(with: options.withoutRules, on: engine.eventLoop)
        if let listener = listeners[first.id] { engineAddress = address(of: first, listener.server) }
        return nil
    }

    // MARK: Addresses

    private static func address(_ entry: WorkerEntry) -> String { entry.address.map { "\($0.host):\($0.port)" } ?? "" }

    private func address(of entry: WorkerEntry, _ socket: ListeningSocket) -> EngineAddress {
        address(of: entry, port: socket.actualPort ?? socket.port)
    }

    private func address(of entry: WorkerEntry, _ server: WebSocketServer) -> EngineAddress {
        address(of: entry, port: server.localAddress?.port ?? entry.address?.port ?? 49134)
    }

    /// A wildcard address is reached over loopback. User processes whose libraries may not trust the certificate, or have none of
    /// their own, and those that would fall under access rules go by the children's listener.
    private func address(of entry: WorkerEntry, port: Int) -> EngineAddress {
        let host =
            switch entry.address?.host ?? "127.0.0.1" {
            case "0.0.0.0", "": "127.0.0.1"
            case "::", "[::]": "[::1]"
            case let host where host.contains(":") && !host.hasPrefix("["): "[\(host)]"
            case let host: host
            }
        let hasTLS = Self.tls(of: entry) != nil
        let isOpen = !hasTLS && EngineOptions(entry).access == nil
        return EngineAddress(
            url: "\(hasTLS ? "wss" : "ws")://\(host):\(port)", userURL: isOpen ? nil : children.map { "\($0.url)/\(secret)" },
            builtinURL: children?.url, port: port)
    }

    // MARK: Opening

    private static func tls(of entry: WorkerEntry) -> JSONValue? {
        entry.effectiveConfig["tls"].flatMap { $0.isNull ? nil : $0 }
    }

    private static func certificate(_ entry: WorkerEntry) throws(ConfigurationError) -> TLSServerContext? {
        do throws(TLSFailure) {
            guard let values = entry.values?[WorkerManagerSettings.tls] else { return nil }
            return try TLSServerContext(TLSServerSettings(values), environment: ServerTLS.environment)
        } catch {
            throw ConfigurationError("\(entry.id).config.\(error)")
        }
    }

    private func socket(of entry: WorkerEntry, inherited: CInt?) throws(ListenError) -> ListeningSocket {
        let address = entry.address ?? ("127.0.0.1", WorkerManagerSettings.defaultPort)
        if let inherited { return ListeningSocket(descriptor: inherited, host: address.host, port: address.port) }
        return try ListeningSocket.bind(host: address.host, port: address.port)
    }

    private func serve(_ entry: WorkerEntry, _ socket: ListeningSocket, _ certificate: TLSServerContext?) throws {
        let settings = ListenerSettings(EngineOptions(entry), tls: certificate)
        let server = try engine.serve(socket: socket.descriptor, settings: settings).wait()
        listeners[entry.id] = Listener(entry: entry, settings: settings, server: server)
        engine.logger.info(
            "workers connect to \(socket.host):\(socket.actualPort ?? socket.port)",
            metadata: ["entry": .string(entry.id), "tls": .string(certificate == nil ? "off" : "on")])
    }

    /// A free port of 127.0.0.1, or of ::1 where there is no IPv4.
    private func serveChildren(_ entry: WorkerEntry) throws {
        let socket: ListeningSocket
        do { socket = try ListeningSocket.bind(host: "127.0.0.1", port: 0) } catch {
            socket = try ListeningSocket.bind(host: "::1", port: 0)
        }
        let settings = ListenerSettings(EngineOptions(entry).withoutRules)
        _ = try engine.serve(socket: socket.descriptor, settings: settings, audience: .children(secret: secret)).wait()
        let host = socket.host.contains(":") ? "[\(socket.host)]" : socket.host
        children = ("ws://\(host):\(socket.actualPort ?? socket.port)", settings)
    }
}

extension EngineOptions {
    /// From an `iii-worker-manager` entry of a loaded configuration.
    init(_ entry: WorkerEntry) { self.init(entry.values ?? WorkerManagerSettings.group.defaults) }

    /// For those whom the configuration itself has started.
    fileprivate var withoutRules: EngineOptions {
        var options = self
        options.access = nil
        return options
    }
}
