import Glibc

/// Where the control socket of the engine on a port lives (docs/reference/supervisor.md#control-socket).
package enum ControlSocketPath {
    /// `$XDG_RUNTIME_DIR/iii-core/<port>.sock`; `/tmp/iii-core-<uid>/<port>.sock` when that directory is not set or not there.
    package static func path(port: Int, environment: [String: String], uid: UInt32 = getuid()) -> String {
        "\(directory(environment: environment, uid: uid))/\(port).sock"
    }

    static func directory(environment: [String: String], uid: UInt32) -> String {
        if let runtime = environment["XDG_RUNTIME_DIR"], runtime.hasPrefix("/"), access(runtime, W_OK) == 0 { return "\(runtime)/iii-core" }
        return "/tmp/iii-core-\(uid)"
    }

    /// Sockets in `directory`, answering or not, by port.
    static func sockets(in directory: String) -> [String] {
        guard let stream = opendir(directory) else { return [] }
        defer { closedir(stream) }
        var ports: [Int] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name.hasSuffix(".sock"), let port = Int(name.dropLast(5)) { ports.append(port) }
        }
        return ports.sorted().map { "\(directory)/\($0).sock" }
    }

    /// Fills a socket address; nil when the path is longer than the kernel takes (107 bytes).
    static func address(_ path: String) -> sockaddr_un? {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else { return nil }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        return address
    }

    /// Nil when nobody answers there; `errno` says why.
    static func connect(_ path: String) -> Int32? {
        guard var address = address(path) else { return nil }
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return nil }
        let status = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        if status == 0 { return descriptor }
        let cause = errno
        close(descriptor)
        errno = cause
        return nil
    }
}
