import Glibc
import IIIProtocol
import Logging
import Synchronization

/// How log lines look.
package enum LogFormat: String, Sendable, CaseIterable {
    case text, json
}

/// Writes one complete line per event with a single `write(2)`, so that lines of several threads never interleave.
///
/// Under the systemd journal (`JOURNAL_STREAM` set) text lines carry no time and start with the `<N>` priority prefix.
/// A failed or short write is not retried: a log must never stop the process it reports on.
package struct ConsoleLogHandler: LogHandler {
    /// Where lines go and how they look; shared by all handlers of a process.
    package struct Target: Sendable {
        package var format: LogFormat
        package var isJournal: Bool
        package var write: @Sendable ([UInt8]) -> Void
        let limit = SharedLimit()

        package init(format: LogFormat, isJournal: Bool, write: @escaping @Sendable ([UInt8]) -> Void) {
            self.format = format
            self.isJournal = isJournal
            self.write = write
        }

        /// One `write(2)` per line to `descriptor`.
        package static func descriptor(_ descriptor: Int32, format: LogFormat, isJournal: Bool) -> Target {
            Target(format: format, isJournal: isJournal) { line in
                line.withUnsafeBytes { _ = Glibc.write(descriptor, $0.baseAddress, $0.count) }
            }
        }
    }

    /// One limit for all handlers of a process.
    package final class SharedLimit: Sendable {
        private let limit = Mutex(LogRateLimit())
        func withLock<Result>(_ body: (inout LogRateLimit) -> Result) -> Result { limit.withLock { body(&$0) } }
    }

    package let label: String
    package let target: Target
    package var logLevel: Logger.Level
    package var metadata: Logger.Metadata = [:]
    package var metadataProvider: Logger.MetadataProvider?

    package init(label: String, level: Logger.Level, target: Target) {
        self.label = label
        self.logLevel = level
        self.target = target
    }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    package func log(event: LogEvent) {
        var merged = metadata
        if let provided = metadataProvider?.get() { merged.merge(provided) { $1 } }
        if let own = event.metadata { merged.merge(own) { $1 } }
        if let error = event.error { merged["error"] = "\(error)" }
        let now = LogTimestamp.nowNanoseconds()
        guard event.level >= .warning else { return write(event.level, event.message.description, merged, now) }
        let kind = "\(label) \(merged["code"].map(\.description) ?? event.message.description)"
        let (verdict, owed) = target.limit.withLock { limit in (limit.verdict(kind, now: now), limit.owed(now: now)) }
        for (kind, count) in owed { leftOut(count, kind, now) }
        guard case .write(let leftOut) = verdict else { return }
        if leftOut > 0 { merged["left_out"] = "\(leftOut)" }
        write(event.level, event.message.description, merged, now)
    }

    private func leftOut(_ count: Int, _ kind: String, _ now: Int64) {
        let metadata: Logger.Metadata = ["code": .string(DiagnosticCode.linesLeftOut.rawValue), "like": "\(kind)"]
        write(.warning, "\(count) more lines like this were left out", metadata, now)
    }

    private func write(_ level: Logger.Level, _ message: String, _ metadata: Logger.Metadata, _ now: Int64) {
        let message = LogText.capped(message, LogText.maximumMessageBytes)
        switch target.format {
        case .text: target.write(textLine(level, message, metadata, now))
        case .json: target.write(jsonLine(level, message, metadata, now))
        }
    }

    private func prefix(_ level: Logger.Level) -> String { target.isJournal ? "<\(level.journalPriority)>" : "" }

    private func textLine(_ level: Logger.Level, _ message: String, _ metadata: Logger.Metadata, _ now: Int64) -> [UInt8] {
        var text = target.isJournal ? prefix(level) : "\(LogTimestamp.console(now)) \(level.column) "
        text += "\(label): \(message)"
        for key in metadata.keys.sorted() {
            if let value = metadata[key] {
                text += " \(key)=\(LogText.quoted(LogText.capped(value.description, LogText.maximumValueBytes)))"
            }
        }
        return Array(LogText.singleLine(text).utf8) + [UInt8(ascii: "\n")]
    }

    /// The schema of docs/reference/log.md: `timestamp`, `level`, `fields` with the message, `target`.
    private func jsonLine(_ level: Logger.Level, _ message: String, _ metadata: Logger.Metadata, _ now: Int64) -> [UInt8] {
        var fields = metadata.mapValues(\.jsonValue)
        fields["message"] = .string(message)
        let record: JSONValue = [
            "timestamp": .string(LogTimestamp.rfc3339(now)), "level": .string(level.word), "fields": .object(fields),
            "target": .string(label),
        ]
        return Array(prefix(level).utf8) + LogText.json(record) + [UInt8(ascii: "\n")]
    }
}

extension Logger.Level {
    /// The syslog priority that the journal reads from a `<N>` prefix.
    package var journalPriority: Int {
        switch self {
        case .trace, .debug: 7
        case .info: 6
        case .notice: 5
        case .warning: 4
        case .error: 3
        case .critical: 2
        }
    }

    /// As records name it.
    package var word: String {
        switch self {
        case .trace: "TRACE"
        case .debug: "DEBUG"
        case .info: "INFO"
        case .notice: "NOTICE"
        case .warning: "WARN"
        case .error: "ERROR"
        case .critical: "FATAL"
        }
    }

    /// Five characters wide, so that columns line up.
    package var column: String { self == .notice ? "NOTE " : word.count < 5 ? "\(word) " : word }
}

extension Logger.MetadataValue {
    fileprivate var jsonValue: JSONValue {
        switch self {
        case .string(let text): .string(LogText.capped(text, LogText.maximumValueBytes))
        case .stringConvertible(let value): .string(LogText.capped(value.description, LogText.maximumValueBytes))
        case .array(let elements): .array(elements.map(\.jsonValue))
        case .dictionary(let members): .object(members.mapValues(\.jsonValue))
        }
    }
}
