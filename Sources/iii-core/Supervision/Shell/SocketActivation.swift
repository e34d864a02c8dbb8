import CSupervision
import Glibc

/// The sockets systemd handed to this process, by name (docs/reference/supervisor.md#systemd).
///
/// Empty unless `LISTEN_PID` is our own pid. Descriptors are made close-on-exec at once.
package struct SocketActivation: Sendable {
    package private(set) var descriptors: [String: [Int32]] = [:]

    package init(environment: [String: String], pid: Int32, firstDescriptor: Int32 = 3) {
        guard environment["LISTEN_PID"].flatMap(Int32.init) == pid, let count = environment["LISTEN_FDS"].flatMap(Int32.init), count > 0
        else { return }
        let names = (environment["LISTEN_FDNAMES"] ?? "").split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        for index in 0..<min(count, 1024) {
            let name = Int(index) < names.count ? names[Int(index)] : "unknown"
            _ = csup_set_cloexec(firstDescriptor + index)
            descriptors[name, default: []].append(firstDescriptor + index)
        }
    }

    /// The socket for the core's own worker listener; nil when systemd passed none.
    package mutating func takeWorkerListener() -> Int32? { take("worker") }

    /// Takes the next socket of that name; each is handed out once.
    package mutating func take(_ name: String) -> Int32? {
        guard var list = descriptors[name], !list.isEmpty else { return nil }
        let first = list.removeFirst()
        descriptors[name] = list
        return first
    }
}
