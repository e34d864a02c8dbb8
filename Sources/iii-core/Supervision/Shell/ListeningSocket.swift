import Glibc

/// Why an address could not be bound.
package struct ListenError: Error, CustomStringConvertible {
    package var description: String
}

/// A bound, listening TCP socket that the core keeps open across restarts of the child that accepts on it.
package struct ListeningSocket: Sendable, Equatable {
    package var descriptor: Int32
    /// As configured; what a change of configuration is compared with.
    package var host: String
    package var port: Int
    /// Whether systemd bound it.
    package var isInherited = false

    package init(descriptor: Int32, host: String, port: Int) {
        self.descriptor = descriptor
        self.host = host
        self.port = port
    }

    package static let backlog: Int32 = 4096

    /// Binds with SO_REUSEADDR, close-on-exec and non-blocking: core and child may accept on it at the same time. Port 0 takes a free one; a host name is resolved, its first address that
    /// can be bound wins.
    package static func bind(host: String, port: Int) throws(ListenError) -> ListeningSocket {
        let bare = host.hasPrefix("[") && host.hasSuffix("]") ? String(host.dropFirst().dropLast()) : host
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV
        var list: UnsafeMutablePointer<addrinfo>?
        let status = getaddrinfo(bare, String(port), &hints, &list)
        guard status == 0 else {
            throw ListenError(description: "failed to bind to \(host):\(port): \(String(cString: gai_strerror(status)))")
        }
        defer { freeaddrinfo(list) }
        var cause = EADDRNOTAVAIL
        var next = list
        while let address = next?.pointee {
            let descriptor = socket(
                address.ai_family, address.ai_socktype | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
            if descriptor >= 0 {
                var one: Int32 = 1
                setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
                if Glibc.bind(descriptor, address.ai_addr, address.ai_addrlen) == 0, listen(descriptor, backlog) == 0 {
                    return ListeningSocket(descriptor: descriptor, host: host, port: port)
                }
                cause = errno
                close(descriptor)
            } else {
                cause = errno
            }
            next = address.ai_next
        }
        if cause == EADDRINUSE { throw ListenError(description: "address \(host):\(port) is already in use") }
        throw ListenError(description: "failed to bind to \(host):\(port): \(ProcessSpawner.text(cause))")
    }

    /// The port it really listens on; nil for a socket without one.
    package var actualPort: Int? {
        var storage = sockaddr_storage()
        var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let status = withUnsafeMutablePointer(to: &storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &size) }
        }
        guard status == 0 else { return nil }
        // IPv4 and IPv6 addresses both have the port right after the family.
        guard storage.ss_family == sa_family_t(AF_INET) || storage.ss_family == sa_family_t(AF_INET6) else { return nil }
        return withUnsafeBytes(of: &storage) { Int(UInt16(bigEndian: $0.loadUnaligned(fromByteOffset: 2, as: UInt16.self))) }
    }
}
