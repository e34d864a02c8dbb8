import IIIProtocol
import Synchronization

/// A span under way, for code on an event loop: no task-local, and next to nothing where nothing is recorded. Copies are the same span;
/// any thread may use them.
///
/// Code written with Swift concurrency uses `withSpan` of swift-distributed-tracing instead, whose tracer makes the same records
/// (`TelemetryTracer`).
public struct TraceSpan: Sendable {
    /// A record until the span ends.
    private final class Recording: Sendable {
        let record: Mutex<SpanRecord?>
        let telemetry: Telemetry

        init(_ record: SpanRecord, _ telemetry: Telemetry) {
            self.record = Mutex(record)
            self.telemetry = telemetry
        }

        func change(_ body: (inout SpanRecord) -> Void) {
            record.withLock { record in
                guard var changed = record.take() else { return }
                body(&changed)
                record = changed
            }
        }
    }

    /// What calls made on behalf of this span hand on.
    public let context: TraceContext
    /// Nil where the trace is not recorded.
    private let recording: Recording?

    init(context: TraceContext) {
        self.context = context
        recording = nil
    }

    init(context: TraceContext, record: SpanRecord, telemetry: Telemetry) {
        self.context = context
        recording = Recording(record, telemetry)
    }

    /// Whether it is worth computing attributes.
    public var isRecording: Bool { recording != nil }

    /// Sets an attribute. Not evaluated when the span is not recorded.
    public func set(_ key: String, _ value: @autoclosure () -> TelemetryValue) {
        guard let recording else { return }
        let value = value()
        recording.change { $0.set(key, value) }
    }

    /// Another name, known only now.
    public func rename(_ name: @autoclosure () -> String) {
        guard let recording else { return }
        let name = name()
        recording.change { $0.name = name }
    }

    /// Another span that it goes back to; nil does nothing.
    public func link(_ span: SpanContext?) {
        guard let recording, let span else { return }
        recording.change { $0.addLink(span) }
    }

    /// Something that happened now.
    public func event(_ name: String, _ attributes: @autoclosure () -> [(key: String, value: TelemetryValue)] = []) {
        guard let recording else { return }
        let attributes = attributes()
        recording.change { $0.addEvent(name, nanoseconds: LogTimestamp.nowNanosecondsUnsigned(), attributes: attributes) }
    }

    /// Ends the span as a failure, so that a console shows what went wrong (docs/reference/metrics.md#spans).
    public func fail(_ error: InvocationError) {
        guard isRecording else { return }
        set("error.type", .string(error.code))
        set("error.message", .string(error.message))
        event("exception", [("exception.type", .string(error.code)), ("exception.message", .string(error.message))])
        end(.error(error.message))
    }

    /// Ends the span and queues it for sending. A second end does nothing.
    public func end(_ status: SpanRecord.Status = .unset) {
        guard let recording else { return }
        guard var finished = recording.record.withLock({ $0.take() }) else { return }
        if status != .unset { finished.status = status }
        recording.telemetry.finished(finished, at: LogTimestamp.nowNanosecondsUnsigned())
    }
}
