import IIITelemetry

/// How full the stores are (docs/reference/metrics.md).
struct StoreGauges {
    private let records: [GaugeInstrument]
    private let bytes: [GaugeInstrument]
    private let evicted: CounterInstrument

    init(_ metrics: MetricStore) {
        let signals = ["traces", "logs", "metrics"]
        records = signals.map {
            metrics.gauge(
                "iii.observability.stored.records", labels: [("signal", $0)], description: "Spans, log records and metrics that are kept")
        }
        bytes = signals.map {
            metrics.gauge(
                "iii.observability.stored.bytes", labels: [("signal", $0)], description: "Memory that they take, roughly", unit: "By")
        }
        evicted = metrics.counter("iii.observability.evicted.spans.total", description: "Spans that went to make room for newer ones")
    }

    func set(_ stores: TelemetryStores) {
        let traces = stores.traces { ($0.spanCount, $0.bytes, $0.evictedSpans) }
        let logs = stores.logs { ($0.count, $0.bytes) }
        let metrics = stores.metrics { records, _ in (records.count, records.bytes) }
        for (index, sizes) in [(traces.0, traces.1), logs, metrics].enumerated() {
            records[index].set(sizes.0)
            bytes[index].set(sizes.1)
        }
        evicted.advance(to: traces.2)
    }
}
