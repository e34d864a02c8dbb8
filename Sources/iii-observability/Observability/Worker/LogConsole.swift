import IIIProtocol
import IIISignals
import Logging

/// Shows the log records of workers among the lines of the engine (docs/reference/observability.md#on-the-console).
struct LogConsole: Sendable {
    let logger: Logger

    func show(_ records: [LogRecord]) {
        for record in records {
            let level = Self.level(record.severityNumber)
            guard level >= logger.logLevel else { continue }
            var metadata: Logger.Metadata = ["service": "\(record.resource.serviceName)"]
            var data = record.attributes
            // The SDK's logger says here which function or step it is.
            if let step = data["service.name"]?.text, !step.isEmpty { metadata["function"] = "\(step)" }
            data.removeAll { ["service.name", "trace_id", "span_id"].contains($0.key) }
            if !data.isEmpty { metadata["data"] = "\(data.json.text)" }
            if let trace = record.traceID { metadata["trace_id"] = "\(trace)" }
            logger.log(level: level, "\(record.body.text)", metadata: metadata)
        }
    }

    private static func level(_ severity: Int) -> Logger.Level {
        switch Severity(number: severity) {
        case .trace: .trace
        case .debug: .debug
        case .info, nil: .info
        case .warn: .warning
        case .error, .fatal: .error
        }
    }
}
