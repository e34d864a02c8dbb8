import Glibc
import IIIProtocol

/// Finds the control socket of the engine that a command means (docs/reference/supervisor.md#control-socket).
///
/// Sockets are looked for in the user's own runtime directory and in that of the shipped systemd unit, in this order. An
/// engine is known by its port, or by the file it was started with; a guess never reaches the fleet of another file.
package struct EngineLocator: Sendable {
    /// Where `deploy/iii-core.service` (`RuntimeDirectory=iii`, `XDG_RUNTIME_DIR=/run/iii`) puts its sockets.
    package static let systemDirectory = "/run/iii/iii-core"

    /// Directories with control sockets, the most likely one first.
    package var directories: [String]

    package init(environment: [String: String], uid: UInt32 = getuid(), systemDirectory: String = Self.systemDirectory) {
        let own = ControlSocketPath.directory(environment: environment, uid: uid)
        directories = own == systemDirectory ? [own] : [own, systemDirectory]
    }

    /// The engine on `port`: the first that answers, else where the user's own would be. `hint` says what stands in the way.
    package func engine(onPort port: Int) -> (socketPath: String, hint: String?) {
        let candidates = directories.map { "\($0)/\(port).sock" }
        var hint: String?
        for path in candidates {
            if let live = ControlSocketPath.connect(path) {
                close(live)
                return (path, nil)
            }
            if errno == EACCES { hint = "'\(path)' belongs to another user; is the engine a service? Then try with sudo" }
        }
        return (candidates[0], hint)
    }

    /// The engine that a file means: the one on its port, or one that was started with it on another, since the port in the file may
    /// have changed and not be in force. An engine on that port that was started with another file is not meant.
    package func engine(of configPath: String, port: Int) throws(FleetError) -> (socketPath: String, hint: String?) {
        let onPort = engine(onPort: port)
        let status = Self.status(of: onPort.socketPath)
        let wanted = Self.canonical(configPath)
        // An engine without a file is known by its port only.
        if let status, status["config"]?.string.map({ $0 == wanted }) ?? true { return onPort }
        let others = engines(startedWith: configPath)
        if others.count == 1 { return (others[0], nil) }
        guard let file = status?["config"]?.string else { return onPort }
        throw .failed("the engine on port \(port) was started with '\(file)', not with '\(wanted)'; `--port \(port)` means it all the same")
    }

    /// Sockets of the engines that answer and were started with this very file.
    package func engines(startedWith configPath: String) -> [String] {
        let wanted = Self.canonical(configPath)
        return directories.flatMap(ControlSocketPath.sockets).filter { Self.status(of: $0)?["config"]?.string == wanted }
    }

    private static func status(of socketPath: String) -> JSONValue? {
        try? ControlClient(path: socketPath, timeout: .seconds(5)).call(.status(name: nil))
    }

    /// The same text for the same file, however it is named; also for one that is gone.
    package static func canonical(_ path: String) -> String {
        func real(_ path: String) -> String? {
            guard let resolved = realpath(path, nil) else { return nil }
            defer { free(resolved) }
            return String(cString: resolved)
        }
        if let whole = real(path) { return whole }
        let slash = path.lastIndex(of: "/")
        let directory = slash.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        let name = slash.map { String(path[path.index(after: $0)...]) } ?? path
        guard let parent = real(directory) else { return path }
        return parent == "/" ? "/\(name)" : "\(parent)/\(name)"
    }
}
