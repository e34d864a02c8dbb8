import Glibc
import Logging

/// Installs the process-wide log. Call it once, in `@main` only: swift-log traps on a second bootstrap.
package enum TelemetryLog {
    /// Which standard stream carries the log.
    package enum Stream: Int32, Sendable {
        case standardOutput = 1
        case standardError = 2
    }

    package static func bootstrap(level: Logger.Level, format: LogFormat, stream: Stream = .standardError) {
        bootstrap(filter: LogFilter(level: level), format: format, stream: stream)
    }

    package static func bootstrap(filter: LogFilter, format: LogFormat, stream: Stream = .standardError) {
        bootstrap(filter: filter, target: .descriptor(stream.rawValue, format: format, isJournal: isJournal))
    }

    /// For a process that owns its console otherwise, as the core does with its log multiplexer.
    package static func bootstrap(filter: LogFilter, target: ConsoleLogHandler.Target) {
        LoggingSystem.bootstrap { label in
            ConsoleLogHandler(label: label, level: filter.level(for: label), target: target)
        }
    }

    /// For built-ins and other processes that the core supervises: level from `III_LOG_LEVEL`; lines as the core's log multiplexer
    /// wants them (`III_LOG_STREAM`: `text` or `json`), else text for a person, or for the journal.
    package static func bootstrapFromEnvironment() {
        let level = getenv("III_LOG_LEVEL").flatMap { LogFilter(parsing: String(cString: $0)) } ?? LogFilter()
        let stream = getenv("III_LOG_STREAM").map { String(cString: $0) }
        let target = ConsoleLogHandler.Target.descriptor(
            Stream.standardError.rawValue, format: stream == "json" ? .json : .text, isJournal: isJournal)
        bootstrap(filter: level, target: target)
    }

    /// Whether somebody else stamps the lines: the systemd journal, or the core's log multiplexer.
    package static var isJournal: Bool { getenv("JOURNAL_STREAM") != nil || getenv("III_LOG_STREAM") != nil }
}
