import Glibc

/// Listening sockets handed down by the core or by systemd (sd_listen_fds(3)), so that a restart refuses no connection.
package struct InheritedSockets: Sendable, Equatable {
    package static let firstDescriptor: CInt = 3
    /// More than any unit passes; bounds a nonsense count.
    package static let maximumCount = 64

    private let names: [String]

    /// Reads the protocol's variables; without sockets for process `pid` the result is empty.
    package init(environment: (String) -> String?, pid: Int32) {
        guard environment("LISTEN_PID").flatMap(Int32.init) == pid, let count = environment("LISTEN_FDS").flatMap(Int.init), count > 0,
            count <= Self.maximumCount
        else {
            names = []
            return
        }
        let given = environment("LISTEN_FDNAMES").map { $0.split(separator: ":", omittingEmptySubsequences: false).map(String.init) } ?? []
        names = (0..<count).map { $0 < given.count ? given[$0] : "unknown" }
    }

    /// The sockets of this process.
    package static func current() -> InheritedSockets {
        InheritedSockets(environment: { name in getenv(name).map { String(cString: $0) } }, pid: getpid())
    }

    /// The descriptor of the first socket called `name`.
    package func descriptor(named name: String) -> CInt? {
        names.firstIndex(of: name).map { Self.firstDescriptor + CInt($0) }
    }
}
