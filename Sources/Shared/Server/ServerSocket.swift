import Glibc
import NIOCore

/// Where a server listens: on a socket that was handed down by the core or systemd, or on one that it binds itself.
package enum ServerSocket: Sendable {
    /// Already bound; listening on it again is harmless. Owned by the server from then on; a process that passed it on keeps its own.
    case inherited(CInt)
    /// Port 0 takes a free one; a host name is resolved.
    case address(host: String, port: Int)

    /// Clients that wait in the kernel while nobody accepts.
    package static let backlog: CInt = 4096

    /// The text that operators look for when an address cannot be had.
    package static func message(for error: any Error, host: String, port: Int) -> String {
        if let error = error as? IOError, error.errnoCode == EADDRINUSE { return "address \(host):\(port) is already in use" }
        return "failed to bind to \(host):\(port): \(error)"
    }

    /// `[::1]` as the operating system wants it.
    static func unbracketed(_ host: String) -> String {
        host.hasPrefix("[") && host.hasSuffix("]") ? String(host.dropFirst().dropLast()) : host
    }
}

extension SocketAddress {
    /// Whether only this machine can reach it.
    var isLoopback: Bool { ipAddress.map { $0.hasPrefix("127.") || $0 == "::1" || $0.hasPrefix("::ffff:127.") } ?? true }
}
