import Glibc
import IIIObservability
import IIISignals
import IIIWorker

/// A log destination of one's own: every record is a line of a file that another system collects (docs/extending.md#telemetry-exporters).
struct Spool: LogDestination {
    let path: String

    struct Unwritable: Error {}

    func write(_ records: [LogRecord]) async throws {
        let lines = Array(records.map { "\($0.severityText) \($0.resource.serviceName): \($0.body.text)\n" }.joined().utf8)
        let file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw Unwritable() }
        defer { Glibc.close(file) }
        guard Glibc.write(file, lines, lines.count) == lines.count else { throw Unwritable() }
    }
}

ObservabilityWorker.exporters.withLock { exporters in
    exporters.append { LogExporter(Spool(path: getenv("SPOOL_FILE").map { String(cString: $0) } ?? "spool.log")) }
}
CoreWorkerProcess.main(ObservabilityWorker.self)
