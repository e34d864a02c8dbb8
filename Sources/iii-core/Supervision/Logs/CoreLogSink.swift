import Glibc
import IIITelemetry
import Synchronization

/// Brings the engine's own swift-log lines into the stream of the supervisor, where they are stamped, coloured and kept in
/// the ring `iii-core` like the lines of children.
///
/// Made before the supervisor exists: until `attach`, and again after the supervisor has ended, lines go to stderr at once.
package final class CoreLogSink: Sendable {
    private let supervisor = Mutex<Supervisor?>(nil)

    package init() {}

    /// For `TelemetryLog.bootstrap(filter:target:)`.
    package func target(format: LogFormat) -> ConsoleLogHandler.Target {
        // The priority prefix tells the multiplexer the level.
        ConsoleLogHandler.Target(format: format, isJournal: true) { [self] line in write(line) }
    }

    package func attach(_ supervisor: Supervisor) { self.supervisor.withLock { $0 = supervisor } }

    private func write(_ line: [UInt8]) {
        let current = supervisor.withLock { $0 }
        let text = String(decoding: line.last == UInt8(ascii: "\n") ? line.dropLast() : line[...], as: UTF8.self)
        let parsed = LogLine(time: 0, name: "", pid: 0, stream: .standardError, rawText: text)
        if current?.log(priority: parsed.priority ?? 6, parsed.text) ?? false { return }
        line.withUnsafeBytes { _ = Glibc.write(2, $0.baseAddress, $0.count) }
    }
}
