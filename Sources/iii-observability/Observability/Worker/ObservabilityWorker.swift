import Dispatch
import IIIProtocol
import IIISettings
import IIISignals
import IIITelemetry
import IIIWorker
import Logging
import NIOCore

/// The `iii-observability` core worker: takes in the telemetry of all workers, keeps it, and answers questions about it
/// (docs/reference/observability.md).
///
/// Confined to the link's event loop; decoding, storing and searching happen elsewhere (`TelemetryIntake`, `serve`).
public final class ObservabilityWorker: CoreWorker {
    public static var role: String { "observability" }

    /// Opaque outside: the settings of the entry.
    public struct Configuration: Sendable {
        let values: ObservabilityConfiguration
    }

    let context: CoreWorkerContext
    private(set) var configuration: ObservabilityConfiguration
    let stores: TelemetryStores
    let intake: TelemetryIntake
    private let logTriggers: LogTriggers
    private let traceTriggers: TraceTriggers
    /// Where questions are answered: away from the loop, one after the other.
    private let questions = DispatchQueue(label: "iii.observability.questions", qos: .userInitiated)
    private var sweep: CoreWorkerTimer?
    private let console: LogConsole
    let doors: ObservabilityDoors

    public static var settings: SettingGroup { ObservabilitySettings.group }

    public static func configuration(from json: JSONValue) throws -> Configuration {
        Configuration(values: try ObservabilityConfiguration(json))
    }

    public required init(configuration: Configuration, context: CoreWorkerContext) throws {
        self.context = context
        self.configuration = configuration.values
        stores = TelemetryStores(limits: configuration.values.limits, now: UInt64(WallClock.nanoseconds()))
        intake = TelemetryIntake(stores: stores, metrics: context.metrics, logger: context.logger)
        logTriggers = LogTriggers(calls: context.calls, telemetry: context.telemetry)
        traceTriggers = TraceTriggers(calls: context.calls, telemetry: context.telemetry, eventLoop: context.eventLoop)
        console = LogConsole(logger: context.logger)
        doors = try ObservabilityDoors(configuration.values, context: context)
        for warning in configuration.values.values.warnings {
            context.logger.warning(.configurationSuspicious, "configuration: \(warning)")
        }
        // The core sends as soon as it knows this worker.
        intake.want(self.configuration.wanted)
        context.link.onTelemetry = { [intake] in intake.receive($0) }
    }

    // MARK: Life

    public func start(on loop: isolated WorkerLoop) async throws {
        observe()
        sweep = context.schedule(every: .seconds(configuration.sweepSeconds)) { [stores, questions] in
            questions.async { stores.expire(now: UInt64(WallClock.nanoseconds())) }
        }
        let gauges = StoreGauges(context.metrics)
        context.whenCollecting { [stores] in gauges.set(stores) }
        doors.receive { [intake] in intake.receive($0) }
        try await doors.open(on: loop)
    }

    public func drain(deadline: NIODeadline, on loop: isolated WorkerLoop) async {
        // What has come before the end is part of it.
        await withCheckedContinuation { (done: CheckedContinuation<Void, Never>) in intake.whenDone { done.resume() } }
        await doors.drain(deadline: deadline, on: loop)
    }

    public func registerTriggerTypes(on link: WorkerLink) {
        guard configuration.isEnabled else { return }
        logTriggers.register(on: link) { [self] in observe() }
        traceTriggers.register(on: link) { [self] in observe() }
    }

    public func registerFunctions(on link: WorkerLink) {
        BaggageFunctions().register(on: link)
        LogFunctions(worker: self).register(on: link)
        TraceFunctions(worker: self).register(on: link)
        MetricFunctions(worker: self).register(on: link)
        HealthFunctions(worker: self).register(on: link)
        AlertFunctions(alerts: doors.alerts).register(on: link)
    }

    public func sessionEstablished(_ session: CoreWorkerSession, on loop: isolated WorkerLoop) async throws {
        let ratio: JSONValue = configuration.traceRatio.map { .double($0) } ?? .null
        _ = try await context.link.ask("core::telemetry::trace", ["ratio": ratio], timeout: .seconds(10))
    }

    public func end(on loop: isolated WorkerLoop) async { sweep = nil }

    public var status: String {
        guard configuration.isEnabled else { return "off" }
        let (traces, spans) = stores.traces { ($0.traceCount, $0.spanCount) }
        let logs = stores.logs { $0.count }
        return "\(spans) spans of \(traces) traces, \(logs) log records, \(logTriggers.count + traceTriggers.count) triggers"
    }

    /// Tells the intake who wants to hear of new records.
    private func observe() {
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        let loop = context.eventLoop
        let console = configuration.values[ObservabilitySettings.logsConsoleOutput] ? console : nil
        let (wantsLogs, wantsSpans) = (!logTriggers.isEmpty, !traceTriggers.isEmpty)
        let outlets = doors.outlets
        let logs: @Sendable ([LogRecord]) -> Void = { records in
            console?.show(records)
            outlets.logs(records)
            if wantsLogs { loop.execute { bound.value.logTriggers.deliver(records) } }
        }
        let spans: @Sendable ([Span]) -> Void = { spans in
            outlets.spans(spans)
            if wantsSpans { loop.execute { bound.value.traceTriggers.deliver(spans) } }
        }
        intake.observe { observers in
            observers.logs = logs
            observers.spans = wantsSpans || outlets.wantsSpans ? spans : nil
            observers.metrics = { outlets.metrics($0) }
        }
    }

    // MARK: For the functions

    /// Serves a function: its input is read on the loop, its answer is made away from it.
    func serve(
        _ id: String, _ description: String, _ schema: JSONValue, on link: WorkerLink,
        _ prepare: @escaping (FunctionInput) throws(InvocationError) -> @Sendable (TelemetryStores) -> JSONValue
    ) {
        link.registerFunction(id, description: description, requestFormat: schema) { [self] call in
            do throws(InvocationError) { answer(call, try prepare(try FunctionInput(call.data, of: id))) } catch { call.fail(error) }
        }
    }

    func answer(_ call: IncomingCall, _ work: @escaping @Sendable (TelemetryStores) -> JSONValue) {
        let bound = NIOLoopBound(call, eventLoop: context.eventLoop)
        let loop = context.eventLoop
        // What a caller has sent before it asks is there when it is answered.
        intake.whenDone { [questions, stores] in
            questions.async {
                let answer = work(stores).bytes
                loop.execute { bound.value.reply(raw: answer) }
            }
        }
    }

    func needTraces() throws(InvocationError) {
        guard configuration.keepsTraces else {
            throw InvocationError(
                .memoryExporterNotEnabled, "In-memory span storage is not available. Set exporter: memory or both in config.")
        }
    }

    var keepsLogs: Bool { configuration.keepsLogs }
    var exporterName: String { configuration.exporterName }

    /// What writes a record by `engine::log::*`: its service, and what the configuration says of this engine.
    func logResource(service: String) -> Resource { configuration.logResource(service: service) }

    /// A record of `engine::log::*`.
    func write(_ record: LogRecord) {
        let values = configuration.values
        guard values[ObservabilitySettings.logsEnabled] else { return console.show([record]) }
        let ratio = values[ObservabilitySettings.logsSamplingRatio]
        if ratio < 1, record.severityNumber < Severity.warn.rawValue, Double.random(in: 0..<1) >= ratio { return }
        var batch = TelemetryBatch()
        batch.logs = [record]
        intake.receive(batch)
    }
}
