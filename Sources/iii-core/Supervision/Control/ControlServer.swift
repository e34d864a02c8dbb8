import CSupervision
import Glibc
import IIIProtocol

/// Serves the control socket on the supervisor's loop: one JSON request per line, one or more JSON lines as the answer.
///
/// The directory has mode 0700, the socket 0600. A socket left behind by a dead engine is replaced; a live one is an error.
/// Limits: 32 clients, 64 KiB per request line, 8 MiB of unread answers; a client beyond a limit is disconnected.
/// The last line of each answer has `"done": true`.
package final class ControlServer {
    package static let maximumClients = 32
    package static let maximumLine = 65536
    package static let maximumUnread = 8_388_608

    private var path: String
    private var descriptor: Int32
    private weak var loop: EventLoop?
    private var tag: UInt64 = 0
    private var clients: [ObjectIdentifier: ControlConnection] = [:]
    private var perform: ((FleetRequest, ControlConnection) -> Void)?

    package init(path: String) throws(SupervisorError) {
        self.path = path
        descriptor = try Self.open(path)
    }

    private static func open(_ path: String) throws(SupervisorError) -> Int32 {
        try makeDirectory(of: path)
        if let live = ControlSocketPath.connect(path) {
            close(live)
            throw SupervisorError(
                message: "another iii-core answers on \(path): end it first, or use another engine port")
        }
        unlink(path)
        guard var address = ControlSocketPath.address(path) else {
            throw SupervisorError(
                message: "the control socket path '\(path)' is too long (at most 107 bytes): set a shorter XDG_RUNTIME_DIR")
        }
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        let descriptor = socket(AF_UNIX, kind, 0)
        let status = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
        // The directory already keeps others out between bind and chmod.
        guard status == 0, chmod(path, 0o600) == 0, Glibc.listen(descriptor, 16) == 0 else {
            let cause = ProcessSpawner.text(errno)
            close(descriptor)
            throw SupervisorError(message: "cannot create the control socket '\(path)': \(cause)")
        }
        return descriptor
    }

    /// Listens on another path from now on; clients stay connected. When it throws nothing has changed.
    package func move(to path: String) throws(SupervisorError) {
        guard path != self.path else { return }
        let fresh = try Self.open(path)
        loop?.remove(tag)
        close(descriptor)
        unlink(self.path)
        descriptor = fresh
        self.path = path
        listen()
    }

    package func attach(to loop: EventLoop, perform: @escaping (FleetRequest, ControlConnection) -> Void) {
        self.loop = loop
        self.perform = perform
        listen()
    }

    private func listen() {
        if let loop { tag = loop.add(descriptor, .read) { [weak self] _, _ in self?.accept() } }
    }

    package func shutDown() {
        for client in clients.values { client.end() }
        clients.removeAll()
        loop?.remove(tag)
        close(descriptor)
        unlink(path)
    }

    private func accept() {
        while true {
            let accepted = csup_accept(descriptor)
            guard accepted >= 0, let loop else { return }
            guard clients.count < Self.maximumClients else {
                close(accepted)
                continue
            }
            let connection = ControlConnection(descriptor: accepted, loop: loop)
            connection.onRequest = { [weak self] line, connection in self?.received(line, connection) }
            connection.onEnd = { [weak self] connection in self?.clients[ObjectIdentifier(connection)] = nil }
            clients[ObjectIdentifier(connection)] = connection
        }
    }

    private func received(_ line: [UInt8], _ connection: ControlConnection) {
        do {
            perform?(try FleetRequest(json: try JSONValue(parsing: line)), connection)
        } catch let error as FleetError {
            connection.finish(.failure(error))
        } catch {
            connection.finish(.failure(.invalid("a request is one JSON object on one line: \(error)")))
        }
    }

    private static func makeDirectory(of path: String) throws(SupervisorError) {
        let directory = String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)])
        mkdir(directory, 0o700)
        var status = stat()
        guard lstat(directory, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else {
            throw SupervisorError(
                message: "cannot create the directory '\(directory)' for the control socket: \(ProcessSpawner.text(errno))")
        }
        guard status.st_uid == geteuid() else {
            throw SupervisorError(
                message: "the directory '\(directory)' belongs to another user (uid \(status.st_uid)): remove it, or set XDG_RUNTIME_DIR")
        }
        chmod(directory, 0o700)
    }
}
