import IIIProtocol
import IIISettings
import IIISignals
import IIITelemetry
import IIIWorker
import Logging

/// The functions `engine::log::*` and `engine::logs::*` (docs/reference/observability.md#logs).
struct LogFunctions {
    let worker: ObservabilityWorker

    func register(on link: WorkerLink) {
        for severity in [Severity.trace, .debug, .info, .warn, .error] { registerWriter(severity, on: link) }
        worker.serve(
            "engine::logs::list", "The log records that are kept, the newest first",
            InputSchema.object([
                "trace_id": "string", "span_id": "string", "severity_min": "integer", "severity_text": "string", "start_time": "integer",
                "end_time": "integer", "offset": "integer", "limit": "integer",
            ]), on: link
        ) { input throws(InvocationError) in
            let query = try LogQuery(input)
            let isKept = worker.keepsLogs
            return { stores in Self.list(query, stores, isKept: isKept) }
        }
        worker.serve("engine::logs::clear", "Forgets all log records", InputSchema.object([:]), on: link) { _ throws(InvocationError) in
            guard worker.keepsLogs else { return { _ in ["success": true, "message": "No log storage initialized"] } }
            return { stores in
                stores.logs { $0.clear() }
                return ["success": true]
            }
        }
    }

    private func registerWriter(_ severity: Severity, on link: WorkerLink) {
        let id = "engine::log::\(severity)"
        let worker = worker
        link.registerFunction(
            id, description: "Writes a log record of the level \(severity.text)",
            requestFormat: InputSchema.object(
                ["message": "string", "data": "object", "trace_id": "string", "span_id": "string", "service_name": "string"],
                required: ["message"])
        ) { call in
            do throws(InvocationError) {
                let input = try FunctionInput(call.data, of: id)
                worker.write(try Self.record(input, severity, call.trace, worker))
                call.reply(nil)
            } catch {
                call.fail(error)
            }
        }
    }

    private static func record(
        _ input: FunctionInput, _ severity: Severity, _ trace: TraceContext, _ worker: ObservabilityWorker
    ) throws(InvocationError) -> LogRecord {
        let now = UInt64(WallClock.nanoseconds())
        let message = try input.required("message")
        let service = try input.text("service_name") ?? "unknown"
        var record = LogRecord(
            nanoseconds: now, observedNanoseconds: now, severityNumber: severity.rawValue, severityText: severity.text,
            body: .string(message), resource: worker.logResource(service: service))
        if case .map(let members) = AttributeValue(json: input["data"] ?? .null) { record.attributes = members }
        record.traceID = try input.text("trace_id").map { TraceID($0)?.text ?? $0 } ?? trace.span?.traceID
        record.spanID = try input.text("span_id").map { SpanID($0)?.text ?? $0 } ?? trace.span?.spanIDText
        record.scope = InstrumentationScope(name: "iii", version: workerLibraryVersion)
        return record
    }

    private static func list(_ query: LogQuery, _ stores: TelemetryStores, isKept: Bool) -> JSONValue {
        let now = JSONValue.integer(Int64(WallClock.milliseconds()))
        guard isKept else { return ["logs": [], "total": 0, "timestamp": now] }
        let (page, total) = stores.logs { query.run(on: $0) }
        return [
            "logs": .array(page.map { .object($0.record.members) }), "total": JSONValue(total), "query": query.echo, "timestamp": now,
        ]
    }
}

/// Which log records are asked for. Pure.
struct LogQuery: Sendable {
    private let traceID: String?
    private let spanID: String?
    private let minimumSeverity: Int?
    private let severityText: String?
    /// Milliseconds since the epoch.
    private let start: UInt64?
    private let end: UInt64?
    private let offset: Int
    private let limit: Int
    /// The inputs, null where absent.
    let echo: JSONValue

    init(_ input: FunctionInput) throws(InvocationError) {
        traceID = try input.text("trace_id").map { TraceID($0)?.text ?? $0 }
        spanID = try input.text("span_id").map { SpanID($0)?.text ?? $0 }
        minimumSeverity = try input.integer("severity_min")
        severityText = try input.text("severity_text")?.lowercased()
        start = try input.unsigned("start_time")
        end = try input.unsigned("end_time")
        offset = Int(clamping: try input.unsigned("offset") ?? 0)
        limit = Int(clamping: try input.unsigned("limit") ?? .max)
        let keys = ["trace_id", "span_id", "severity_min", "severity_text", "start_time", "end_time", "offset", "limit"]
        echo = .object(Dictionary(uniqueKeysWithValues: keys.map { ($0, input.echo($0)) }))
    }

    /// The page, newest first, and how many there are in all. Of the same time: in the order of their arrival.
    func run(on table: LogTable) -> (page: [LogTable.Entry], total: Int) {
        let (from, overflow) = (start ?? 0).multipliedReportingOverflow(by: 1_000_000)
        let (to, endOverflow) = (end ?? 0).multipliedReportingOverflow(by: 1_000_000)
        guard !overflow, !endOverflow else { return ([], 0) }
        var found = table.all.filter { entry in
            let record = entry.record
            if let traceID, record.traceID != traceID { return false }
            if let spanID, record.spanID != spanID { return false }
            if let minimumSeverity, record.severityNumber < minimumSeverity { return false }
            if let severityText, record.severityText.lowercased() != severityText { return false }
            if start != nil, entry.nanoseconds < from { return false }
            return end == nil || entry.nanoseconds <= to
        }
        found.sort { $0.nanoseconds != $1.nanoseconds ? $0.nanoseconds > $1.nanoseconds : $0.sequence < $1.sequence }
        return (Array(found.dropFirst(offset).prefix(limit)), found.count)
    }
}
