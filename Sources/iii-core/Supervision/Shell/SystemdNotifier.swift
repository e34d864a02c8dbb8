import Glibc

/// Tells systemd how the service is doing (docs/reference/supervisor.md#systemd). Without `NOTIFY_SOCKET` every method does
/// nothing.
///
/// Thread-safe: it is immutable and sends single datagrams, which never block (a full queue drops the message).
package final class SystemdNotifier: Sendable {
    private let descriptor: Int32
    private let path: String?
    /// Half of `WATCHDOG_USEC`: how often `watchdogPing` is due. Nil when no watchdog is asked of this process.
    package let watchdogInterval: Duration?

    package init(environment: [String: String], pid: Int32) {
        let path = environment["NOTIFY_SOCKET"].flatMap { $0.hasPrefix("/") || $0.hasPrefix("@") ? $0 : nil }
        self.path = path
        let kind = Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        descriptor = path == nil ? -1 : socket(AF_UNIX, kind, 0)
        let isOurs = environment["WATCHDOG_PID"].map { Int32($0) == pid } ?? true
        let period = environment["WATCHDOG_USEC"].flatMap(Int64.init)
        watchdogInterval = isOurs && path != nil ? period.flatMap { $0 > 0 ? .microseconds($0 / 2) : nil } : nil
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    package func ready(status: String) { send("READY=1\nSTATUS=\(status)") }
    package func status(_ text: String) { send("STATUS=\(text)") }
    package func stopping(extendBy budget: Duration) {
        send("STOPPING=1\nSTATUS=draining\nEXTEND_TIMEOUT_USEC=\(budget.components.seconds * 1_000_000)")
    }

    package func reloading() {
        let now = MonotonicClock.now.components
        send("RELOADING=1\nMONOTONIC_USEC=\(now.seconds * 1_000_000 + now.attoseconds / 1_000_000_000_000)")
    }

    /// Call it every `watchdogInterval` from the event loop that routes messages, so that a stuck loop is noticed.
    package func watchdogPing() { send("WATCHDOG=1") }

    private func send(_ message: String) {
        guard let path, descriptor >= 0 else { return }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else { return }
        withUnsafeMutableBytes(of: &address.sun_path) { place in
            place.copyBytes(from: bytes)
            // `@name` is the notation for a socket in the abstract namespace, whose name begins with a zero byte.
            if bytes.first == UInt8(ascii: "@") { place[0] = 0 }
        }
        let size = socklen_t(MemoryLayout<sa_family_t>.size + bytes.count)
        let payload = Array(message.utf8)
        withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                _ = sendto(descriptor, payload, payload.count, Int32(MSG_NOSIGNAL), $0, size)
            }
        }
    }
}
