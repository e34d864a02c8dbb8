import Glibc
import IIIProtocol
import Logging

/// How log lines look.
package enum LogFormat: String, Sendable, CaseIterable {
    case text, json
}

/// Writes one complete line per event with a single `write(2)`, so that lines of several threads never interleave.
///
/// Under the systemd journal (`JOURNAL_STREAM` set) text lines carry no time and start with the `<N>` priority prefix
/// (spec §29.8). A failed or short write is not retried: a log must never stop the process it reports on.
package struct ConsoleLogHandler: LogHandler {
    /// Where lines go and how they look; shared by all handlers of a process.
    package struct Target: Sendable {
        package var format: LogFormat
        package var isJournal: Bool
        package var write: @Sendable ([UInt8]) -> Void

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
        let line =
            switch target.format {
            case .text: textLine(event, merged, now)
            case .json: jsonLine(event, merged, now)
            }
        target.write(line)
    }

    private func textLine(_ event: LogEvent, _ metadata: Logger.Metadata, _ now: Int64) -> [UInt8] {
        var text = target.isJournal ? "<\(event.level.journalPriority)>" : "\(LogTimestamp.console(now)) \(event.level.column) "
        text += "\(label): \(event.message)"
        for key in metadata.keys.sorted() {
            if let value = metadata[key] { text += " \(key)=\(Self.quoted(value.description))" }
        }
        return Self.singleLine(text) + [UInt8(ascii: "\n")]
    }

    private func jsonLine(_ event: LogEvent, _ metadata: Logger.Metadata, _ now: Int64) -> [UInt8] {
        var members: [String: JSONValue] = [
            "ts": .string(LogTimestamp.rfc3339(now)), "level": .string(event.level.rawValue), "logger": .string(label),
            "message": .string(event.message.description),
        ]
        if !metadata.isEmpty { members["metadata"] = .object(metadata.mapValues(\.jsonValue)) }
        return JSONValue.object(members).bytes + [UInt8(ascii: "\n")]
    }

    private static func quoted(_ value: String) -> String {
        let needsQuotes = value.isEmpty || value.utf8.contains { $0 <= 0x20 || $0 == UInt8(ascii: "\"") || $0 == UInt8(ascii: "=") }
        return needsQuotes ? String(decoding: JSONText.string(value), as: UTF8.self) : value
    }

    /// A message with line breaks would forge further log lines; they are written as `\n`.
    private static func singleLine(_ text: String) -> [UInt8] {
        var bytes: [UInt8] = []
        for byte in text.utf8 {
            switch byte {
            case 0x0A: bytes += [UInt8(ascii: "\\"), UInt8(ascii: "n")]
            case 0x0D: bytes += [UInt8(ascii: "\\"), UInt8(ascii: "r")]
            default: bytes.append(byte)
            }
        }
        return bytes
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

    /// Five characters wide, so that columns line up.
    package var column: String {
        switch self {
        case .trace: "TRACE"
        case .debug: "DEBUG"
        case .info: "INFO "
        case .notice: "NOTE "
        case .warning: "WARN "
        case .error: "ERROR"
        case .critical: "FATAL"
        }
    }
}

extension Logger.MetadataValue {
    fileprivate var jsonValue: JSONValue {
        switch self {
        case .string(let text): .string(text)
        case .stringConvertible(let value): .string(value.description)
        case .array(let elements): .array(elements.map(\.jsonValue))
        case .dictionary(let members): .object(members.mapValues(\.jsonValue))
        }
    }
}
