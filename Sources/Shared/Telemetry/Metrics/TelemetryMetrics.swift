import CoreMetrics

/// The factory behind swift-metrics: `MetricsSystem.bootstrap(telemetry.metricsFactory)`.
///
/// Timers become histograms in seconds; recorders histograms, or gauges where they do not aggregate; meters gauges.
public struct TelemetryMetrics: MetricsFactory {
    let store: MetricStore

    public func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        CounterBridge(counter: store.counter(label, labels: dimensions))
    }

    public func makeFloatingPointCounter(label: String, dimensions: [(String, String)]) -> any FloatingPointCounterHandler {
        GaugeBridge(gauge: store.gauge(label, labels: dimensions))
    }

    public func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        GaugeBridge(gauge: store.gauge(label, labels: dimensions))
    }

    public func makeRecorder(label: String, dimensions: [(String, String)], aggregate: Bool) -> any RecorderHandler {
        guard aggregate else { return GaugeBridge(gauge: store.gauge(label, labels: dimensions)) }
        return HistogramBridge(histogram: store.histogram(label, labels: dimensions, bounds: Self.recorderBounds))
    }

    public func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        HistogramBridge(histogram: store.histogram(label, labels: dimensions, unit: "s"))
    }

    // An instrument stays for the life of the process: its total must not begin again because one user of it went away.
    public func destroyCounter(_ handler: any CounterHandler) {}
    public func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) {}
    public func destroyMeter(_ handler: any MeterHandler) {}
    public func destroyRecorder(_ handler: any RecorderHandler) {}
    public func destroyTimer(_ handler: any TimerHandler) {}

    /// OpenTelemetry's default bounds, for values whose unit nobody has told.
    private static let recorderBounds: [Double] = [0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1_000, 2_500, 5_000, 7_500, 10_000]
}

private final class CounterBridge: CounterHandler {
    private let counter: CounterInstrument
    init(counter: CounterInstrument) { self.counter = counter }
    func increment(by amount: Int64) { counter.add(amount) }
    func reset() {}
}

private final class GaugeBridge: MeterHandler, RecorderHandler, FloatingPointCounterHandler {
    private let gauge: GaugeInstrument
    init(gauge: GaugeInstrument) { self.gauge = gauge }
    func set(_ value: Int64) { gauge.set(Double(value)) }
    func set(_ value: Double) { gauge.set(value) }
    func increment(by amount: Double) { gauge.add(amount) }
    func decrement(by amount: Double) { gauge.add(-amount) }
    func record(_ value: Int64) { gauge.set(Double(value)) }
    func record(_ value: Double) { gauge.set(value) }
    func reset() {}
}

private final class HistogramBridge: RecorderHandler, TimerHandler {
    private let histogram: HistogramInstrument
    init(histogram: HistogramInstrument) { self.histogram = histogram }
    func record(_ value: Int64) { histogram.record(Double(value)) }
    func record(_ value: Double) { histogram.record(value) }
    func recordNanoseconds(_ duration: Int64) { histogram.record(Double(duration) / 1e9) }
}
