/// A span under way, for code on an event loop: a value, without a lock, that costs nothing where nothing is recorded.
///
/// Code written with Swift concurrency uses `withSpan` of swift-distributed-tracing instead, whose tracer makes the same records
/// (`TelemetryTracer`); that API wants an object and a lock for each span.
public struct TraceSpan: Sendable {
    /// What calls made on behalf of this span hand on.
    public let context: TraceContext
    /// Nil where the trace is not recorded.
    private var record: SpanRecord?
    private let telemetry: Telemetry

    init(context: TraceContext, record: SpanRecord?, telemetry: Telemetry) {
        self.context = context
        self.record = record
        self.telemetry = telemetry
    }

    /// Whether it is worth computing attributes.
    public var isRecording: Bool { record != nil }

    /// Sets an attribute. Not evaluated when the span is not recorded.
    public mutating func set(_ key: String, _ value: @autoclosure () -> TelemetryValue) { record?.set(key, value()) }
    /// Another name, known only now.
    public mutating func rename(_ name: @autoclosure () -> String) { if record != nil { record?.name = name() } }
    /// Another span that it goes back to; nil does nothing.
    public mutating func link(_ span: SpanContext?) { if let span { record?.addLink(span) } }
    /// Something that happened now.
    public mutating func event(_ name: String, _ attributes: @autoclosure () -> [(key: String, value: TelemetryValue)] = []) {
        record?.addEvent(name, nanoseconds: LogTimestamp.nowNanosecondsUnsigned(), attributes: attributes())
    }

    /// Ends the span and queues it for sending. A second end does nothing.
    public mutating func end(_ status: SpanRecord.Status = .unset) {
        guard var finished = record else { return }
        record = nil
        if status != .unset { finished.status = status }
        telemetry.finished(finished, at: LogTimestamp.nowNanosecondsUnsigned())
    }
}
