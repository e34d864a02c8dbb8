import Glibc
import IIIConfiguration
import IIIEngine
import IIIProtocol
import IIISettings
import IIISupervision
import Logging
import NIOConcurrencyHelpers
import NIOCore

/// The engine's listeners, one per `iii-worker-manager` entry, and their change on a reload (protocol.md §7.1).
///
/// Used from the main thread at start and from the supervisor's thread afterwards, which is the same one.
final class WorkerListeners: @unchecked Sendable {
    private struct Listener {
        var entry: WorkerEntry
        var settings: ListenerSettings
        var channel: any Channel
    }

    private let engine: Engine
    private var listeners: [String: Listener] = [:]

    init(engine: Engine) { self.engine = engine }

    /// Where the first entry really listens, as its children dial it.
    private(set) var engineAddress = EngineAddress(url: "ws://127.0.0.1:49134", port: 49134)

    /// Opens every entry. `inherited` is a socket systemd passed, for the first.
    func open(_ entries: [WorkerEntry], inherited: CInt?) throws {
        for (index, entry) in entries.enumerated() {
            let socket = try socket(of: entry, inherited: index == 0 ? inherited : nil)
            if index == 0 { engineAddress = Self.dialled(socket) }
            try serve(entry, socket)
        }
    }

    /// Applies a new set of entries; an error text means that nothing was changed.
    func apply(_ entries: [WorkerEntry]) -> String? {
        let wanted = Dictionary(entries.map { ($0.id, $0) }, uniquingKeysWith: { _, last in last })
        // Bind everything new first: if one address is taken, the old listeners stay as they are.
        var bound: [(WorkerEntry, ListeningSocket)] = []
        var closed: [Listener] = []
        for entry in entries {
            let old = listeners[entry.id]
            if let old, Self.address(old.entry) == Self.address(entry) { continue }
            // `127.0.0.1` and `0.0.0.0` cannot hold one port together.
            if let old, old.entry.address?.port == entry.address?.port {
                try? old.channel.close().wait()
                closed.append(old)
            }
            do {
                bound.append((entry, try socket(of: entry, inherited: nil)))
            } catch {
                for (_, socket) in bound { close(socket.descriptor) }
                for listener in closed { try? serve(listener.entry, socket(of: listener.entry, inherited: nil)) }
                return "\(entry.id): \(error)"
            }
        }
        if let (entry, socket) = bound.first, entry.id == entries.first?.id { engineAddress = Self.dialled(socket) }
        for (id, old) in listeners where wanted[id].map({ Self.address($0) != Self.address(old.entry) }) ?? true {
            old.channel.close(promise: nil)
            listeners[id] = nil
        }
        for (entry, socket) in bound {
            do { try serve(entry, socket) } catch { return "\(entry.id): \(error)" }
        }
        for (id, listener) in listeners {
            guard let entry = wanted[id] else { continue }
            listeners[id]?.entry = entry
            listener.settings.replace(with: EngineOptions(entry), on: engine.eventLoop)
        }
        if let first = entries.first {
            let options = EngineOptions(first)
            engine.eventLoop.execute { [engine] in engine.optionsChanged(options) }
        }
        return nil
    }

    /// A wildcard address is reached over loopback.
    private static func dialled(_ socket: ListeningSocket) -> EngineAddress {
        let host =
            switch socket.host {
            case "0.0.0.0", "": "127.0.0.1"
            case "::", "[::]": "[::1]"
            case let host where host.contains(":") && !host.hasPrefix("["): "[\(host)]"
            default: socket.host
            }
        let port = socket.actualPort ?? socket.port
        return EngineAddress(url: "ws://\(host):\(port)", port: port)
    }

    private static func address(_ entry: WorkerEntry) -> String { entry.address.map { "\($0.host):\($0.port)" } ?? "" }

    private func socket(of entry: WorkerEntry, inherited: CInt?) throws -> ListeningSocket {
        let address = entry.address ?? ("127.0.0.1", WorkerManagerSettings.defaultPort)
        if let inherited { return ListeningSocket(descriptor: inherited, host: address.host, port: address.port) }
        return try ListeningSocket.bind(host: address.host, port: address.port)
    }

    private func serve(_ entry: WorkerEntry, _ socket: ListeningSocket) throws {
        let settings = ListenerSettings(EngineOptions(entry))
        let channel = try engine.serve(socket: socket.descriptor, settings: settings).wait()
        listeners[entry.id] = Listener(entry: entry, settings: settings, channel: channel)
        engine.logger.info("workers connect to \(socket.host):\(socket.actualPort ?? socket.port)", metadata: ["entry": .string(entry.id)])
    }
}

extension EngineOptions {
    /// From an `iii-worker-manager` entry of a loaded configuration.
    init(_ entry: WorkerEntry) { self.init(entry.values ?? WorkerManagerSettings.group.defaults) }
}
