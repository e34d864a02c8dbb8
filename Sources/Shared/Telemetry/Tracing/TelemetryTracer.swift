import Synchronization
import Tracing

/// The tracer behind swift-distributed-tracing: `InstrumentationSystem.bootstrap(telemetry.tracer)`.
public struct TelemetryTracer: Tracer {
    private let telemetry: Telemetry

    init(telemetry: Telemetry) { self.telemetry = telemetry }

    public func startSpan<Instant: TracerInstant>(
        _ operationName: String, context: @autoclosure () -> InstrumentationContext, ofKind kind: SpanKind,
        at instant: @autoclosure () -> Instant, function: String, file fileID: String, line: UInt
    ) -> TelemetrySpan {
        var context = context()
        let (own, record) = telemetry.begin(
            operationName, kind: SpanRecord.Kind(kind), parent: context.traceContext ?? .none,
            startNanoseconds: instant().nanosecondsSinceEpoch)
        context.traceContext = own
        return TelemetrySpan(context: context, record: record, telemetry: telemetry)
    }

    public func extract<Carrier, Extract: Extractor>(
        _ carrier: Carrier, into context: inout InstrumentationContext, using extractor: Extract
    )
    where Extract.Carrier == Carrier {
        context.traceContext = TraceContext(
            traceparent: extractor.extract(key: "traceparent", from: carrier), baggage: extractor.extract(key: "baggage", from: carrier),
            tracestate: extractor.extract(key: "tracestate", from: carrier))
    }

    public func inject<Carrier, Inject: Injector>(_ context: InstrumentationContext, into carrier: inout Carrier, using injector: Inject)
    where Inject.Carrier == Carrier {
        if let traceparent = context.traceContext?.traceparent { injector.inject(traceparent, forKey: "traceparent", into: &carrier) }
        if let baggage = context.traceContext?.baggage { injector.inject(baggage, forKey: "baggage", into: &carrier) }
        if let tracestate = context.traceContext?.tracestate { injector.inject(tracestate, forKey: "tracestate", into: &carrier) }
    }

    /// Spans are sent by themselves, in batches.
    public func forceFlush() {}
}

extension SpanRecord.Kind {
    init(_ kind: SpanKind) {
        self =
            switch kind {
            case .server: .server
            case .client: .client
            case .producer: .producer
            case .consumer: .consumer
            default: .internal
            }
    }
}

/// A span of swift-distributed-tracing. Any thread may touch it; a lock guards the record.
public final class TelemetrySpan: Span {
    private struct State {
        var record: SpanRecord?
        var name: String
        var attributes = SpanAttributes()
    }

    /// What calls made within the span carry on.
    public let context: InstrumentationContext
    private let telemetry: Telemetry
    private let state: Mutex<State>

    init(context: InstrumentationContext, record: SpanRecord?, telemetry: Telemetry) {
        self.context = context
        self.telemetry = telemetry
        state = Mutex(State(record: record, name: record?.name ?? ""))
    }

    public var isRecording: Bool { state.withLock { $0.record != nil } }

    public var operationName: String {
        get { state.withLock { $0.name } }
        set {
            state.withLock {
                $0.name = newValue
                $0.record?.name = newValue
            }
        }
    }

    public var attributes: SpanAttributes {
        get { state.withLock { $0.attributes } }
        set { state.withLock { $0.attributes = newValue } }
    }

    public func setStatus(_ status: SpanStatus) {
        state.withLock { $0.record?.status = status.code == .ok ? .ok : .error(status.message ?? "") }
    }

    public func addEvent(_ event: SpanEvent) {
        state.withLock {
            $0.record?.addEvent(event.name, nanoseconds: event.nanosecondsSinceEpoch, attributes: Self.pairs(event.attributes))
        }
    }

    public func recordError<Instant: TracerInstant>(
        _ error: any Error, attributes: SpanAttributes, at instant: @autoclosure () -> Instant
    ) {
        let time = instant().nanosecondsSinceEpoch
        let own: [(key: String, value: TelemetryValue)] = [
            ("exception.type", .string("\(type(of: error))")), ("exception.message", .string("\(error)")),
        ]
        state.withLock {
            $0.record?.status = .error("\(error)")
            $0.record?.addEvent("exception", nanoseconds: time, attributes: own + Self.pairs(attributes))
        }
    }

    public func addLink(_ link: SpanLink) {
        guard let span = link.context.traceContext?.span else { return }
        state.withLock { $0.record?.addLink(span) }
    }

    public func end<Instant: TracerInstant>(at instant: @autoclosure () -> Instant) {
        let finished = state.withLock { state -> SpanRecord? in
            guard var record = state.record else { return nil }
            state.record = nil
            for (key, value) in Self.pairs(state.attributes) { record.set(key, value) }
            return record
        }
        if let finished { telemetry.finished(finished, at: instant().nanosecondsSinceEpoch) }
    }

    private static func pairs(_ attributes: SpanAttributes) -> [(key: String, value: TelemetryValue)] {
        var pairs: [(key: String, value: TelemetryValue)] = []
        attributes.forEach { key, attribute in pairs.append((key, TelemetryValue(attribute))) }
        return pairs
    }
}

extension TelemetryValue {
    init(_ attribute: SpanAttribute) {
        self =
            switch attribute {
            case .int32(let value): .integer(Int64(value))
            case .int64(let value): .integer(value)
            case .double(let value): .double(value)
            case .bool(let value): .bool(value)
            case .string(let value): .string(value)
            case .stringConvertible(let value): .string("\(value)")
            case .int32Array(let values): .string("\(values)")
            case .int64Array(let values): .string("\(values)")
            case .doubleArray(let values): .string("\(values)")
            case .boolArray(let values): .string("\(values)")
            case .stringArray(let values): .string(values.joined(separator: ","))
            default: .string("\(attribute)")
            }
    }
}
