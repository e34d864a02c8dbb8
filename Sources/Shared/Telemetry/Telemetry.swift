import CoreMetrics
import Instrumentation
import Synchronization

/// The telemetry of one process: its instruments, its tracer, and the finished spans that wait to be sent.
///
/// Recording never waits and never fails: what does not fit is dropped, oldest first, and counted (`iii.telemetry.dropped.total`).
/// The link to the engine takes frames from here in batches (`TelemetrySender`).
public final class Telemetry: Sendable {
    /// Most that is kept of what nobody has taken yet; beyond that the oldest is dropped and counted.
    public struct Limits: Sendable {
        /// Finished spans that may wait. Default 8,192.
        public var maximumSpans = 8_192
        /// What they may cost in memory, in bytes. Default 8 MiB.
        public var maximumSpanBytes = 8 << 20
        /// Spans in one frame. Default 512.
        public var maximumBatch = 512
        /// Series of one metric. Default 2,000.
        public var maximumSeries = 2_000

        /// With the defaults that stand at each property.
        public init() {}
    }

    private struct State {
        var spans: SpanBuffer
        var sampler: Sampler?
        var batchIsFull: (@Sendable () -> Void)?
    }

    /// What every frame says about its sender, e.g. `service.name`.
    public let resource: [(key: String, value: TelemetryValue)]
    /// All instruments of the process.
    public let metrics: MetricStore
    private let limits: Limits
    private let state: Mutex<State>
    private let isTracing = Atomic<Bool>(false)
    private let idSeed: UInt64
    private let idCount = Atomic<UInt64>(0)
    private let startNanoseconds = LogTimestamp.nowNanosecondsUnsigned()
    private let recorded: CounterInstrument
    private let dropped: CounterInstrument

    /// `sampler` nil: tracing is off, and contexts pass through as they came.
    public init(resource: [(key: String, value: TelemetryValue)], sampler: Sampler? = nil, limits: Limits = Limits()) {
        self.resource = resource
        self.limits = limits
        metrics = MetricStore(maximumSeries: limits.maximumSeries)
        state = Mutex(
            State(spans: SpanBuffer(maximumSpans: limits.maximumSpans, maximumBytes: limits.maximumSpanBytes), sampler: sampler))
        idSeed = UInt64.random(in: .min ... .max)
        recorded = metrics.counter("iii.telemetry.spans.total", description: "Spans that were finished and queued for sending")
        dropped = metrics.counter(
            "iii.telemetry.dropped.total", labels: [("signal", "spans")], description: "Telemetry that was dropped because too much waited")
        isTracing.store(sampler != nil, ordering: .relaxed)
    }

    /// Spans are recorded from now on, or (nil) no more.
    public func setSampler(_ sampler: Sampler?) {
        state.withLock { $0.sampler = sampler }
        isTracing.store(sampler != nil, ordering: .relaxed)
    }

    /// For `MetricsSystem.bootstrap`.
    public var metricsFactory: TelemetryMetrics { TelemetryMetrics(store: metrics) }
    /// For `InstrumentationSystem.bootstrap`.
    public var tracer: TelemetryTracer { TelemetryTracer(telemetry: self) }

    /// Has what this process counts through swift-metrics and traces through swift-distributed-tracing recorded here, unless the
    /// program has chosen another place before.
    package func bootstrapProcess() {
        if MetricsSystem.factory is NOOPMetricsHandler { MetricsSystem.bootstrap(metricsFactory) }
        if InstrumentationSystem.instrument is NoOpInstrument { InstrumentationSystem.bootstrap(tracer) }
    }

    // MARK: Spans

    /// Begins a span below `parent`, or a trace where it has none. With tracing off nothing is recorded and `parent` is handed on.
    public func span(_ name: @autoclosure () -> String, _ kind: SpanRecord.Kind = .internal, parent: TraceContext = .none) -> TraceSpan {
        guard isTracing.load(ordering: .relaxed) else { return TraceSpan(context: parent) }
        let (context, record) = begin(name(), kind: kind, parent: parent, startNanoseconds: LogTimestamp.nowNanosecondsUnsigned())
        guard let record else { return TraceSpan(context: context) }
        return TraceSpan(context: context, record: record, telemetry: self)
    }

    /// The context of a new trace that somebody else records, or none where nothing is recorded: its first span is whatever the callee makes.
    package func newTrace() -> TraceContext {
        let context = SpanContext(
            traceHigh: nextID(), traceLow: nextID(), spanID: nextID(),
            isSampled: isTracing.load(ordering: .relaxed) && (state.withLock { $0.sampler }?.ratio ?? 0) > 0)
        return TraceContext(span: context)
    }

    func begin(
        _ name: @autoclosure () -> String, kind: SpanRecord.Kind, parent: TraceContext, startNanoseconds: UInt64
    ) -> (TraceContext, SpanRecord?) {
        guard isTracing.load(ordering: .relaxed), let sampler = state.withLock({ $0.sampler }),
            parent.span != nil || sampler.beginsTraces
        else { return (parent, nil) }
        let high = parent.span?.traceHigh ?? nextID()
        let low = parent.span?.traceLow ?? nextID()
        let isSampled = sampler.decides(traceLow: low, parent: parent.span)
        // Nothing is recorded here, and whoever is called knows already.
        if !isSampled, parent.span?.isSampled == false { return (parent, nil) }
        let context = SpanContext(traceHigh: high, traceLow: low, spanID: nextID(), isSampled: isSampled)
        var handedOn = parent
        handedOn.span = context
        guard isSampled else { return (handedOn, nil) }
        let record = SpanRecord(
            name: name(), kind: kind, context: context, parentID: parent.span?.spanID, startNanoseconds: startNanoseconds)
        return (handedOn, record)
    }

    func finished(_ span: SpanRecord, at nanoseconds: UInt64) {
        var span = span
        span.endNanoseconds = max(nanoseconds, span.startNanoseconds)
        recorded.add()
        let (lost, isFull) = state.withLock { state in
            let lost = state.spans.append(span)
            return (lost, state.spans.count == limits.maximumBatch ? state.batchIsFull : nil)
        }
        dropped.add(Int64(lost))
        isFull?()
    }

    /// Unique and evenly spread, never zero; not a secret.
    private func nextID() -> UInt64 {
        var mixed = idSeed &+ idCount.wrappingAdd(1, ordering: .relaxed).newValue &* 0x9E37_79B9_7F4A_7C15
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return max(mixed ^ (mixed >> 31), 1)
    }

    // MARK: Frames

    /// Whether any span waits.
    package var hasSpans: Bool { state.withLock { $0.spans.count > 0 } }
    /// Whether a whole batch of spans waits.
    package var hasBatch: Bool { state.withLock { $0.spans.count >= limits.maximumBatch } }
    /// Runs `work` on whatever thread finishes the span that makes a batch full.
    package func whenBatchFull(_ work: (@Sendable () -> Void)?) { state.withLock { $0.batchIsFull = work } }

    /// The next batch of spans as a frame, nil when none wait. Call it off the path: it encodes.
    package func takeSpanFrame() -> [UInt8]? {
        let batch = state.withLock { $0.spans.take(limits.maximumBatch) }
        return batch.isEmpty ? nil : OTLPText.spans(batch, resource: resource)
    }

    /// All metrics as a frame. Call it off the path: it encodes.
    package func metricFrame(nowNanoseconds: UInt64 = LogTimestamp.nowNanosecondsUnsigned()) -> [UInt8] {
        OTLPText.metrics(metrics.snapshot(), resource: resource, startNanoseconds: startNanoseconds, nowNanoseconds: nowNanoseconds)
    }
}
