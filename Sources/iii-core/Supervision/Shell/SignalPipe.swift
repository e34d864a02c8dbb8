import CSupervision
import Glibc

/// Turns signals into readable bytes. Handlers are process-wide, so only one may exist at a time.
///
/// Handlers that write to a pipe rather than signalfd: signalfd needs the signal blocked in every thread, and most
/// threads of the core belong to NIO.
package final class SignalPipe {
    package static let supervised: [Int32] = [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1]

    package let descriptor: Int32
    private let writeEnd: Int32
    private let signals: [Int32]

    /// - Parameter withChildren: also SIGCHLD, which only a process that inherits orphans needs.
    package init(withChildren: Bool) {
        var ends: [Int32] = [-1, -1]
        _ = csup_pipe(&ends, 1)
        descriptor = ends[0]
        writeEnd = ends[1]
        signals = Self.supervised + (withChildren ? [SIGCHLD] : [])
        _ = csup_install_signals(writeEnd, signals, signals.count)
    }

    deinit {
        csup_restore_signals(signals, signals.count)
        close(writeEnd)
        close(descriptor)
    }

    /// The numbers of the signals that have arrived.
    package func take() -> [Int32] {
        var buffer = [UInt8](repeating: 0, count: 64)
        let count = read(descriptor, &buffer, buffer.count)
        return buffer.prefix(max(0, count)).map(Int32.init)
    }
}
