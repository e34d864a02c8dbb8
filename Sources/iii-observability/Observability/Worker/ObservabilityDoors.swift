import IIIProtocol
import IIISignals
import IIITelemetry
import IIIWorker
import Logging
import NIOCore
import Synchronization

/// Everything by which telemetry comes in and goes out besides the link: receiver, Prometheus endpoint, exporters, alerts. Confined to the event
/// loop, except where it says otherwise.
final class ObservabilityDoors {
    let alerts: Alerts
    /// What is taken in goes by here. Any thread.
    let outlets: Outlets
    private let configuration: ObservabilityConfiguration
    private let context: CoreWorkerContext
    private let prometheus: PrometheusEndpoint
    private let receiver: OTLPReceiver
    private let intake: Intake
    private var timer: CoreWorkerTimer?
    private let start = UInt64(WallClock.nanoseconds())

    /// Where the receiver hands what it has decoded.
    private final class Intake: Sendable {
        let take: Mutex<(@Sendable (TelemetryBatch) -> Void)?> = Mutex(nil)
    }

    /// At least so long before the end, for what comes after.
    private static let drainMargin = TimeAmount.milliseconds(500)
    /// A receiver that takes longer than this loses what it was to get: the fleet ends all the same.
    static let longestDrain = TimeAmount.seconds(5)

    /// Throws what the configuration asks for and cannot be.
    init(_ configuration: ObservabilityConfiguration, context: CoreWorkerContext) throws {
        self.configuration = configuration
        self.context = context
        let alerts = Alerts(
            try configuration.alertRules(), allowsPrivateWebhooks: configuration.allowsPrivateWebhooks, context: context)
        self.alerts = alerts
        var exporters: [(any TelemetryExporter, Set<Signal>)] = []
        if let settings = try configuration.otlpExport() { exporters.append((OTLPExporter(settings), configuration.exportedSignals)) }
        for exporter in ObservabilityWorker.exporters.withLock({ $0 }) { exporters.append((exporter(), Set(Signal.allCases))) }
        let outlets = Outlets(
            exporters.map { (exporter: $0.0, signals: $0.1) }, limits: configuration.exportLimits, logLimits: configuration.logExportLimits,
            alerts: alerts, metrics: context.metrics, logger: context.logger)
        self.outlets = outlets
        prometheus = PrometheusEndpoint(context: context)
        let intake = Intake()
        self.intake = intake
        receiver = OTLPReceiver(configuration.receiver, context: context) { batch in
            if let take = intake.take.withLock({ $0 }) { take(batch) } else { outlets.take(batch) }
        }
        if let warning = configuration.endpointWarning { context.logger.warning(.configurationSuspicious, "\(warning)") }
    }

    /// What the receiver has decoded goes to `take` from now on, which sees to it that it comes by `outlets`.
    func receive(into take: @escaping @Sendable (TelemetryBatch) -> Void) { intake.take.withLock { $0 = take } }

    func open(on loop: isolated WorkerLoop) async throws {
        if let door = configuration.prometheusDoor { try await prometheus.open(door, on: loop) }
        if let door = configuration.receiverDoor { try await receiver.open(door, on: loop) }
        if outlets.wantsMetrics { timer = context.schedule(every: configuration.metricsExportInterval) { [self] in exportMetrics() } }
        if alerts.ruleCount > 0 { alerts.start() }
    }

    private func exportMetrics() {
        let (resource, start) = (configuration.engineResource, start)
        context.perform { [link = context.link] in
            let answer = try await link.ask(FleetMetricReader.function, ["format": "json"], timeout: .seconds(15))
            return FleetMetricReader.metrics(
                answer["text"]?.string ?? "", resource: resource, start: start, now: UInt64(WallClock.nanoseconds()))
        } then: { [outlets] result in
            outlets.exportMetrics(with: (try? result.get()) ?? [])
        }
    }

    /// Nothing more is taken in; what waits is exported.
    func drain(deadline: NIODeadline, on loop: isolated WorkerLoop) async {
        timer = nil
        alerts.stop()
        receiver.close()
        prometheus.close()
        let end = min(deadline - Self.drainMargin, .now() + Self.longestDrain)
        await outlets.drain(by: .nanoseconds(Int64(end.uptimeNanoseconds)))
    }
}

extension ObservabilityWorker {
    /// Exporters of a program that links this library, beside OTLP; each is made once a start and given all signals
    /// (docs/extending.md#telemetry-exporters).
    public static let exporters = Mutex<[@Sendable () -> any TelemetryExporter]>([])
}
