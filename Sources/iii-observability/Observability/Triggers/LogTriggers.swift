import IIIProtocol
import IIISignals
import IIITelemetry
import IIIWorker
import NIOCore

/// The trigger type `log`: a function is called with every record of a level (docs/reference/observability.md#the-trigger-type-log).
///
/// Of each trigger a few calls are under way and some records wait; then the oldest that waits goes, and is counted. A record that comes of
/// a delivery is not delivered to the same function again. Confined to the event loop.
final class LogTriggers {
    /// Calls of one trigger under way, and records that wait for one of them to end.
    static let maximumRunning = 16
    static let maximumWaiting = 1_024

    private struct Lane {
        let target: TriggerTarget
        /// nil: every level.
        let level: String?
        var running = 0
        var waiting = CircularBuffer<LogRecord>()
    }

    static let declaration = TriggerTypeDeclaration(
        id: "log", description: "A log record was written",
        triggerRequestFormat: [
            "type": "object",
            "properties": ["level": ["type": ["string", "null"], "enum": ["all", "debug", "info", "warn", "error"], "default": "all"]],
        ],
        callRequestFormat: [
            "type": "object",
            "properties": [
                "timestamp_unix_nano": ["type": "integer"], "observed_timestamp_unix_nano": ["type": "integer"],
                "severity_number": ["type": "integer"], "severity_text": ["type": "string"], "body": ["type": "string"],
                "attributes": ["type": "object"], "trace_id": ["type": ["string", "null"]], "span_id": ["type": ["string", "null"]],
                "resource": ["type": "object"], "service_name": ["type": "string"],
                "instrumentation_scope_name": ["type": ["string", "null"]], "instrumentation_scope_version": ["type": ["string", "null"]],
            ],
        ])

    private let calls: OutboundCalls
    private let telemetry: Telemetry
    private let dropped: CounterInstrument
    private var lanes: [String: Lane] = [:]
    private var deliveries = DeliveryTraces()
    private var provider: TriggerProvider<String>?

    init(calls: OutboundCalls, telemetry: Telemetry) {
        self.calls = calls
        self.telemetry = telemetry
        dropped = telemetry.metrics.counter(
            "iii.observability.log_triggers.dropped.total", description: "Records that a trigger's function was too slow for")
    }

    var isEmpty: Bool { lanes.isEmpty }
    var count: Int { lanes.count }

    /// `changed` runs after every change of the triggers.
    func register(on link: WorkerLink, changed: @escaping () -> Void) {
        provider = TriggerProvider(
            Self.declaration, on: link,
            accept: { [self] binding, _ throws(InvocationError) in
                let level = binding.config["level"]?.string
                lanes[binding.id] = Lane(target: binding.target, level: level == "all" ? nil : level)
                changed()
                return binding.id
            },
            release: { [self] binding, _, _ in
                lanes[binding.id] = nil
                changed()
            })
    }

    func deliver(_ records: [LogRecord]) {
        for id in Array(lanes.keys) {
            for record in records {
                guard let lane = lanes[id] else { break }
                if let level = lane.level, record.severityText.lowercased() != level { continue }
                if let trace = record.traceID, deliveries.caused(trace, by: lane.target.functionID.text) { continue }
                offer(record, to: id)
            }
        }
    }

    private func offer(_ record: LogRecord, to id: String) {
        guard let lane = lanes[id] else { return }
        guard lane.running >= Self.maximumRunning else { return call(id, record) }
        lanes[id]?.waiting.append(record)
        if lane.waiting.count >= Self.maximumWaiting {
            lanes[id]?.waiting.removeFirst()
            dropped.add()
        }
    }

    private func call(_ id: String, _ record: LogRecord) {
        guard let target = lanes[id]?.target else { return }
        lanes[id]?.running += 1
        let trace = telemetry.newTrace()
        if let span = trace.span { deliveries.add(span.traceID, of: target.functionID.text) }
        calls.fire(target, payload: record.payload.bytes, trace: trace, timeout: .seconds(300)) { [self] _ in
            guard lanes[id] != nil else { return }
            lanes[id]?.running -= 1
            if let next = lanes[id]?.waiting.popFirst() { call(id, next) }
        }
    }
}

/// The traces of deliveries under way and a while after, with the function that each is of. Pure. Bounded: the oldest go first.
struct DeliveryTraces {
    static let maximum = 20_000
    private var functions: [String: String] = [:]
    private var order = CircularBuffer<String>()

    mutating func add(_ trace: String, of function: String) {
        if functions.updateValue(function, forKey: trace) == nil { order.append(trace) }
        if order.count > Self.maximum { functions[order.removeFirst()] = nil }
    }

    /// Whether a record of `trace` comes of a delivery to `function`.
    func caused(_ trace: String, by function: String) -> Bool { functions[trace] == function }
}
