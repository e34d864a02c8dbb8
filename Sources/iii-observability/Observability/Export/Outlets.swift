import IIIHTTPClient
import IIIOTLP
import IIIProtocol
import IIISettings
import IIISignals
import IIITelemetry
import IIIWorker
import Logging
import NIOCore
import Synchronization

/// What leaves this engine: everything that is taken in comes by here, and goes on to the exporters and the alert rules. Nobody waits for either.
final class Outlets: Sendable {
    private struct Line: Sendable {
        let exporter: any TelemetryExporter
        let spans: ExportPipeline<Span>?
        let logs: ExportPipeline<LogRecord>?
        let metrics: ExportPipeline<Metric>?
    }

    private let lines: [Line]
    private let alerts: Alerts?
    /// Metrics are sent once an interval, in their newest state.
    private let newestMetrics = Mutex(NewestMetrics())

    /// `exporters` with the signals each is given.
    init(
        _ exporters: [(exporter: any TelemetryExporter, signals: Set<Signal>)], limits: ExportLimits, logLimits: ExportLimits,
        alerts: Alerts?,
        metrics: MetricStore, logger: Logger
    ) {
        self.alerts = alerts
        lines = exporters.map { exporter, signals in
            Line(
                exporter: exporter,
                spans: signals.contains(.traces) ? ExportPipeline(exporter, limits: limits, metrics: metrics, logger: logger) : nil,
                logs: signals.contains(.logs) ? ExportPipeline(exporter, limits: logLimits, metrics: metrics, logger: logger) : nil,
                metrics: signals.contains(.metrics) ? ExportPipeline(exporter, limits: limits, metrics: metrics, logger: logger) : nil)
        }
    }

    /// Whether anybody wants spans.
    var wantsSpans: Bool { lines.contains { $0.spans != nil } }

    /// Any thread. Spans under way are not exported.
    func take(_ batch: TelemetryBatch) {
        spans(batch.spans)
        logs(batch.logs)
        metrics(batch.metrics)
    }

    func spans(_ spans: [Span]) {
        guard wantsSpans else { return }
        let finished = spans.filter { !$0.isPending }
        if !finished.isEmpty { for line in lines { line.spans?.submit(finished) } }
    }

    func logs(_ records: [LogRecord]) {
        if !records.isEmpty { for line in lines { line.logs?.submit(records) } }
    }

    func metrics(_ metrics: [Metric]) {
        guard !metrics.isEmpty else { return }
        alerts?.observe(metrics)
        if wantsMetrics { newestMetrics.withLock { $0.add(metrics) } }
    }

    /// Whether anybody wants metrics.
    var wantsMetrics: Bool { lines.contains { $0.metrics != nil } }

    /// Once an interval, with those of the engine itself.
    func exportMetrics(with own: [Metric] = []) {
        let newest = newestMetrics.withLock { $0.take() } + own
        if !newest.isEmpty { for line in lines { line.metrics?.submit(newest) } }
    }

    /// All signals leave at the same time.
    func drain(by deadline: Duration) async {
        exportMetrics()
        await withTaskGroup(of: Void.self) { group in
            for line in lines {
                if let spans = line.spans { group.addTask { await spans.drain(by: deadline) } }
                if let logs = line.logs { group.addTask { await logs.drain(by: deadline) } }
                if let metrics = line.metrics { group.addTask { await metrics.drain(by: deadline) } }
            }
        }
        for line in lines { await line.exporter.shutDown() }
    }
}

/// The newest points of metrics since the last export: cumulative ones replace each other, deltas add up in a list. A value.
struct NewestMetrics: Sendable {
    private struct Key: Hashable {
        let resource: Resource
        let scope: InstrumentationScope
        let name: String
    }

    static let maximumMetrics = 10_000

    private var newest: [Key: Metric] = [:]
    private var deltas: [Metric] = []

    mutating func add(_ metrics: [Metric]) {
        for metric in metrics {
            if metric.kind != .gauge, metric.temporality == .delta {
                if deltas.count < Self.maximumMetrics { deltas.append(metric) }
            } else {
                let key = Key(resource: metric.resource, scope: metric.scope, name: metric.name)
                if newest[key] != nil || newest.count < Self.maximumMetrics { newest[key] = metric }
            }
        }
    }

    mutating func take() -> [Metric] {
        defer { (newest, deltas) = ([:], []) }
        return Array(newest.values) + deltas
    }
}
