import Dispatch
import IIIOTLP
import IIIProtocol
import IIISignals
import IIITelemetry
import Logging
import Synchronization

/// Takes in what comes through any door, decodes frames on a queue of its own, cleans records, and adds them to the stores.
///
/// Whoever brings something never waits: what finds no room is dropped and counted.
final class TelemetryIntake: Sendable {
    /// What is told about records that are new, on the queue of the intake.
    struct Observers: Sendable {
        var spans: (@Sendable ([Span]) -> Void)?
        var logs: (@Sendable ([LogRecord]) -> Void)?
        var metrics: (@Sendable ([Metric]) -> Void)?
    }

    /// Which signals are taken in at all.
    struct Wanted: Sendable {
        var traces = true
        var metrics = true
        var logs = true
        /// Spans under way are kept.
        var pending = true
        /// What the engine's own processes are called, in the place of what they send.
        var engine: [Attribute] = []
    }

    private struct State {
        var frames = FrameQueues()
        var isRunning = false
        var wanted = Wanted()
        var observers = Observers()
    }

    let stores: TelemetryStores
    private let state = Mutex(State())
    private let queue = DispatchQueue(label: "iii.observability.intake", qos: .utility)
    private let logger: Logger
    private let counters: IntakeCounters

    init(stores: TelemetryStores, metrics: MetricStore, logger: Logger) {
        self.stores = stores
        self.logger = logger
        counters = IntakeCounters(metrics)
    }

    var rejected: Int64 { counters.rejectedTotal }
    var dropped: Int64 { counters.droppedTotal }
    var waitingBytes: Int { state.withLock { $0.frames.waitingBytes } }

    func want(_ wanted: Wanted) { state.withLock { $0.wanted = wanted } }
    func observe(_ change: (inout Observers) -> Void) { state.withLock { change(&$0.observers) } }

    /// A frame of the worker protocol, prefix included. Called from the event loop.
    func receive(_ bytes: UnsafeRawBufferPointer) {
        guard let signal = Signal(frame: bytes.prefix(4)) else { return }
        let (isTaken, starts) = state.withLock { state -> (Bool, Bool) in
            guard state.wanted[signal] else { return (true, false) }
            guard state.frames.append(Array(bytes.dropFirst(4)), signal) else { return (false, false) }
            defer { state.isRunning = true }
            return (true, !state.isRunning)
        }
        if !isTaken { counters.dropped(1, signal) }
        if starts { queue.async { self.run() } }
    }

    /// Records that another door has decoded. From any thread but the intake's own; in order with its own frames.
    func receive(_ batch: TelemetryBatch) { queue.async { self.take(batch) } }

    /// Runs `work` when everything has been taken in that was there before.
    func whenDone(_ work: @escaping @Sendable () -> Void) { queue.async(execute: work) }

    private func run() {
        while true {
            let next = state.withLock { state -> (frame: [UInt8], signal: Signal)? in
                let next = state.frames.next()
                state.isRunning = next != nil
                return next
            }
            guard let next else { return }
            do throws(OTLPFault) {
                take(try OTLPDocument.read(next.frame, next.signal, as: .json))
            } catch {
                counters.rejected(1, next.signal)
                warn(next.signal, "\(error)")
            }
        }
    }

    private func take(_ batch: TelemetryBatch) {
        var batch = batch
        let now = UInt64(WallClock.nanoseconds())
        let (wanted, observers) = state.withLock { ($0.wanted, $0.observers) }
        if batch.rejected > 0 {
            let signal: Signal = !batch.metrics.isEmpty ? .metrics : !batch.logs.isEmpty ? .logs : .traces
            counters.rejected(batch.rejected, signal)
            warn(signal, batch.firstRejection ?? "")
        }
        batch.rename(engine: wanted.engine)
        if wanted.traces, !batch.spans.isEmpty { add(batch.spans, wanted, observers, now) }
        if wanted.logs, !batch.logs.isEmpty { add(batch.logs, observers, now) }
        if wanted.metrics, !batch.metrics.isEmpty {
            counters.accepted(batch.metrics.count, .metrics)
            let metrics = batch.metrics
            stores.metrics { records, rollups in
                records.add(metrics, now: now)
                rollups.add(metrics, now: now)
            }
            observers.metrics?(metrics)
        }
    }

    private func add(_ spans: [Span], _ wanted: Wanted, _ observers: Observers, _ now: UInt64) {
        var spans = wanted.pending ? spans : spans.filter { !$0.isPending }
        for index in spans.indices { Redaction.clean(&spans[index]) }
        counters.accepted(spans.count, .traces)
        let added = spans
        let news = stores.traces { $0.add(added, now: now) }
        if !news.isEmpty { observers.spans?(news) }
    }

    private func add(_ logs: [LogRecord], _ observers: Observers, _ now: UInt64) {
        var logs = logs
        for index in logs.indices { Redaction.clean(&logs[index]) }
        counters.accepted(logs.count, .logs)
        let added = logs
        stores.logs { $0.add(added, now: now) }
        observers.logs?(logs)
    }

    private func warn(_ signal: Signal, _ reason: String) {
        logger.warning(
            .telemetryRejected, "telemetry of a worker cannot be read and was left out",
            metadata: ["signal": "\(signal)", "reason": "\(reason.prefix(200))"])
    }
}

extension TelemetryIntake.Wanted {
    subscript(signal: Signal) -> Bool {
        switch signal {
        case .traces: traces
        case .metrics: metrics
        case .logs: logs
        }
    }
}

extension TelemetryBatch {
    /// Gives the records of the engine's own processes, which call themselves `iii` and say which part they are, the engine's name.
    fileprivate mutating func rename(engine attributes: [Attribute]) {
        guard !attributes.isEmpty else { return }
        var known: [ObjectIdentifier: Resource] = [:]
        func named(_ resource: Resource) -> Resource {
            if let named = known[ObjectIdentifier(resource)] { return named }
            var named = resource
            if resource.component != nil, resource.serviceName == "iii" {
                let keys = Set(attributes.map(\.key))
                named = Resource(attributes + resource.attributes.filter { !keys.contains($0.key) })
            }
            known[ObjectIdentifier(resource)] = named
            return named
        }
        for index in spans.indices { spans[index].resource = named(spans[index].resource) }
        for index in logs.indices { logs[index].resource = named(logs[index].resource) }
        for index in metrics.indices { metrics[index].resource = named(metrics[index].resource) }
    }
}

/// What becomes of records, by signal (docs/reference/metrics.md).
struct IntakeCounters: Sendable {
    private let accepted: [Signal: CounterInstrument]
    private let rejected: [Signal: CounterInstrument]
    private let dropped: [Signal: CounterInstrument]

    init(_ metrics: MetricStore) {
        func counters(_ name: String, _ description: String) -> [Signal: CounterInstrument] {
            Dictionary(
                uniqueKeysWithValues: Signal.allCases.map { signal in
                    (signal, metrics.counter(name, labels: [("signal", signal.rawValue)], description: description))
                })
        }
        accepted = counters("iii.observability.records.total", "Spans, metrics and log records that were taken in")
        rejected = counters("iii.observability.rejected.total", "Records that could not be read")
        dropped = counters("iii.observability.dropped.total", "Frames that found no room while earlier ones were decoded")
    }

    func accepted(_ count: Int, _ signal: Signal) { accepted[signal]?.add(Int64(count)) }
    func rejected(_ count: Int, _ signal: Signal) { rejected[signal]?.add(Int64(count)) }
    func dropped(_ count: Int, _ signal: Signal) { dropped[signal]?.add(Int64(count)) }

    var rejectedTotal: Int64 { rejected.values.reduce(0) { $0 + $1.value } }
    var droppedTotal: Int64 { dropped.values.reduce(0) { $0 + $1.value } }
}
