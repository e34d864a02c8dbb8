import CoreMetrics
import IIIProtocol
import Testing

@testable import IIITelemetry

@Suite struct MetricTests {
    private func family(_ telemetry: Telemetry, _ name: String) -> MetricFamily? {
        telemetry.metrics.snapshot().first { $0.name == name }
    }

    @Test func swiftMetricsCountIntoTheStore() {
        let telemetry = Telemetry(resource: [])
        let factory = telemetry.metricsFactory
        Counter(label: "calls", dimensions: [("status", "ok")], factory: factory).increment(by: 2)
        Counter(label: "calls", dimensions: [("status", "ok")], factory: factory).increment()
        Gauge(label: "depth", dimensions: [], factory: factory).record(7)
        Timer(label: "took", dimensions: [], factory: factory).recordMilliseconds(30)
        #expect(family(telemetry, "calls")?.points == [.init(labels: [.init("status", "ok")], value: .integer(3))])
        #expect(family(telemetry, "depth")?.points == [.init(value: .double(7))])
        guard case .histogram(_, let counts, let sum)? = family(telemetry, "took")?.points.first?.value else { return #expect(Bool(false)) }
        #expect(counts.reduce(0, +) == 1 && sum == 0.03)
    }

    @Test func seriesAreBoundedAndTotalsStayExact() {
        var limits = Telemetry.Limits()
        limits.maximumSeries = 10
        let telemetry = Telemetry(resource: [], limits: limits)
        for number in 0..<1_000 { telemetry.metrics.counter("calls", labels: [("id", "\(number)")]).add() }
        let points = family(telemetry, "calls")?.points ?? []
        #expect(points.count == 11)
        #expect(points.first { $0.labels == [.init("otel_metric_overflow", "true")] }?.value == .integer(990))
    }

    @Test func aNameHasOneKind() {
        let telemetry = Telemetry(resource: [])
        telemetry.metrics.counter("x").add()
        telemetry.metrics.gauge("x").set(5)
        #expect(family(telemetry, "x")?.points == [.init(value: .integer(1))])
    }

    @Test func framesComeBackAsTheyWere() throws {
        let telemetry = Telemetry(resource: [("service.name", "shop")])
        telemetry.metrics.counter("calls", labels: [("b", "2"), ("a", "\"1\"")], description: "how many").add(3)
        telemetry.metrics.gauge("load").set(0.5)
        telemetry.metrics.gauge("endless").set(.infinity)
        telemetry.metrics.histogram("took", unit: "s").record(.milliseconds(3))
        let frame = telemetry.metricFrame()
        #expect(frame.starts(with: Array("MTRC".utf8)))
        let document = try JSONValue(parsing: Array(frame.dropFirst(4)))
        #expect(MetricFamily.families(otlp: document).sorted { $0.name < $1.name } == telemetry.metrics.snapshot())
    }

    @Test func malformedPointsAreLeftOut() throws {
        let text = """
            {"resourceMetrics":[{"scopeMetrics":[{"metrics":[
            {"name":"a","gauge":{"dataPoints":[{"asDouble":"NaN"},{"asDouble":1.5,"flags":1},{"asInt":"7"},{},7]}},
            {"name":"b","histogram":{"dataPoints":[{"bucketCounts":["1"],"explicitBounds":[1]}]}},
            {"name":"c"},{"sum":{}},"x",{"name":"d","sum":{"isMonotonic":true,"dataPoints":[{"asInt":3}]}}]}]}]}
            """
        let families = MetricFamily.families(otlp: try JSONValue(parsing: text))
        #expect(families.map(\.name) == ["a", "d"])
        #expect(families[0].points.map(\.value) == [.integer(7)] && families[1].kind == .counter)
    }

    @Test func prometheusReadsIt() {
        let telemetry = Telemetry(resource: [])
        telemetry.metrics.counter("iii.calls.total", labels: [("function id", "a\"b\\c\nd")], description: "Calls\nmade").add(3)
        telemetry.metrics.histogram("took", unit: "s", bounds: [0.5, 1]).record(0.7)
        telemetry.metrics.gauge("9lives").set(9)
        let families = telemetry.metrics.snapshot().filter { !$0.name.hasPrefix("iii.telemetry") }
        #expect(
            PrometheusText.text(families) == #"""
                # TYPE _9lives gauge
                _9lives 9
                # HELP iii_calls_total Calls\nmade
                # TYPE iii_calls_total counter
                iii_calls_total{function_id="a\"b\\c\nd"} 3
                # TYPE took_seconds histogram
                took_seconds_bucket{le="0.5"} 0
                took_seconds_bucket{le="1"} 1
                took_seconds_bucket{le="+Inf"} 1
                took_seconds_sum 0.7
                took_seconds_count 1

                """#)
        let open = PrometheusText.text(families, .openMetrics)
        #expect(open.contains("# TYPE iii_calls counter\niii_calls_total{") && open.hasSuffix("# EOF\n"))
    }
}
