import IIIProtocol
import IIISignals
import IIITelemetry
import IIIWorker
import NIOCore

/// The trigger type `trace`: a function is called with the ids of traces that have got spans
/// (docs/reference/observability.md#the-trigger-type-trace). Ids of 300 ms come together. Confined to the event loop.
final class TraceTriggers {
    static let delay = TimeAmount.milliseconds(300)
    /// Ids of one delivery; further ones of the same while wait for the next.
    static let maximumIDs = 1_000

    private struct Lane {
        let target: TriggerTarget
        let serviceName: String?
        let status: String?
        var ids: [TraceID] = []
        var known: Set<TraceID> = []
        var isScheduled = false
    }

    static let declaration = TriggerTypeDeclaration(
        id: "trace", description: "Traces have got spans",
        triggerRequestFormat: [
            "type": "object", "properties": ["service_name": ["type": ["string", "null"]], "status": ["type": ["string", "null"]]],
        ],
        callRequestFormat: ["type": "object", "properties": ["trace_ids": ["type": "array", "items": ["type": "string"]]]])

    private let calls: OutboundCalls
    private let eventLoop: any EventLoop
    private let telemetry: Telemetry
    private var lanes: [String: Lane] = [:]
    private var deliveries = DeliveryTraces()
    private var provider: TriggerProvider<String>?

    init(calls: OutboundCalls, telemetry: Telemetry, eventLoop: any EventLoop) {
        self.calls = calls
        self.telemetry = telemetry
        self.eventLoop = eventLoop
    }

    var isEmpty: Bool { lanes.isEmpty }
    var count: Int { lanes.count }

    /// `changed` runs after every change of the triggers.
    func register(on link: WorkerLink, changed: @escaping () -> Void) {
        provider = TriggerProvider(
            Self.declaration, on: link,
            accept: { [self] binding, _ throws(InvocationError) in
                lanes[binding.id] = Lane(
                    target: binding.target, serviceName: binding.config["service_name"]?.string?.lowercased(),
                    status: binding.config["status"]?.string?.lowercased())
                changed()
                return binding.id
            },
            release: { [self] binding, _, _ in
                lanes[binding.id] = nil
                changed()
            })
    }

    func deliver(_ spans: [Span]) {
        for id in Array(lanes.keys) {
            guard var lane = lanes[id] else { continue }
            let function = lane.target.functionID.text
            for span in spans where !span.isPending && matches(span, lane) {
                if span.functionID == function || deliveries.caused(span.traceID.text, by: function) { continue }
                if lane.ids.count < Self.maximumIDs, lane.known.insert(span.traceID).inserted { lane.ids.append(span.traceID) }
            }
            if !lane.ids.isEmpty, !lane.isScheduled {
                lane.isScheduled = true
                let bound = NIOLoopBound(self, eventLoop: eventLoop)
                eventLoop.scheduleTask(in: Self.delay) { bound.value.flush(id) }
            }
            lanes[id] = lane
        }
    }

    private func matches(_ span: Span, _ lane: Lane) -> Bool {
        if let name = lane.serviceName, span.resource.serviceName.lowercased() != name { return false }
        if let status = lane.status, span.status.text != status { return false }
        if let function = span.functionID, ObservabilityFunctions.contains(function) { return false }
        return span.parentID != nil || !TraceQuery.isInternal(span)
    }

    private func flush(_ id: String) {
        guard var lane = lanes[id] else { return }
        let payload: JSONValue = ["trace_ids": .array(lane.ids.map { .string($0.text) })]
        (lane.ids, lane.known, lane.isScheduled) = ([], [], false)
        lanes[id] = lane
        let trace = telemetry.newTrace()
        if let span = trace.span { deliveries.add(span.traceID, of: lane.target.functionID.text) }
        calls.fire(lane.target, payload: payload.bytes, trace: trace, timeout: .seconds(300)) { _ in }
    }
}

/// Functions that are about observing: nobody's activity, never traced.
enum ObservabilityFunctions {
    private static let prefixes = [
        "engine::traces::", "engine::logs::", "engine::log::", "engine::metrics::", "engine::baggage::", "engine::sampling::",
        "engine::health::", "engine::alerts::", "engine::rollups::", "iii-observability::",
    ]

    static func contains(_ id: String) -> Bool { prefixes.contains { id.hasPrefix($0) } }
}
