import IIIProtocol
import Testing

@testable import IIITelemetry

@Suite struct MetricScrapeTests {
    private static func gauge(_ name: String, _ value: Int64, _ labels: [MetricFamily.Label] = []) -> MetricFamily {
        MetricFamily(name: name, kind: .gauge, points: [.init(labels: labels, value: .integer(value))])
    }

    private static func text(_ parts: [([MetricFamily], MetricScrape.Origin)]) -> String {
        var scrape = MetricScrape()
        for (families, origin) in parts { scrape.add(families, from: origin) }
        return scrape.pieces(.prometheus).joined()
    }

    @Test func builtInsShareNamesWithTheEngineAndWorkersDoNot() {
        let text = Self.text([
            ([Self.gauge("iii.sockets", 1)], .engine), ([Self.gauge("iii.sockets", 2, [.init("worker_name", "iii-http")])], .builtIn),
            ([Self.gauge("iii.sockets", 3), Self.gauge("shop.load", 4)], .worker),
        ])
        #expect(
            text == """
                # TYPE iii_sockets gauge
                iii_sockets 1
                iii_sockets{worker_name="iii-http"} 2
                # TYPE sdk_iii_sockets gauge
                sdk_iii_sockets 3
                # TYPE shop_load gauge
                shop_load 4

                """)
    }

    @Test func aNameHasOneMeaning() {
        var scrape = MetricScrape()
        let counter = MetricFamily(name: "a", kind: .counter, points: [.init(value: .integer(1))])
        scrape.add([counter, Self.gauge("a.total", 2)], from: .worker)
        #expect(scrape.pieces(.prometheus).joined().contains("sdk_a_total 2"))
        scrape.add([Self.gauge("a_total", 3), Self.gauge("a", 4)], from: .worker)
        #expect(scrape.leftOut == 0 && scrape.pieces(.prometheus).joined().contains("sdk_a 4"))
        scrape.add([MetricFamily(name: "a", kind: .histogram, points: [])], from: .worker)
        #expect(scrape.leftOut == 1, "no name is left")
    }

    @Test func labelsThatSayWhereItComesFromCannotBeSpoofed() throws {
        let document = try JSONValue(
            parsing: #"""
                {"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"a","gauge":{"dataPoints":[{"asInt":1,"attributes":[
                {"key":"worker.id","value":{"stringValue":"x"}},{"key":"worker_id","value":{"stringValue":"y"}},
                {"key":"k","value":{"stringValue":"v"}}]}]}}]}]}]}
                """#)
        let told = MetricFamily.families(otlp: document, adding: [.init("worker_id", "1")])
        #expect(told.first?.points.first?.labels == [.init("exported_worker_id", "y"), .init("k", "v"), .init("worker_id", "1")])
        let filled = MetricFamily.families(otlp: document, adding: [.init("worker_id", "1")], filling: true)
        #expect(filled.first?.points.first?.labels == [.init("k", "v"), .init("worker_id", "y")])
    }

    /// Keys that sanitise to one name share the label; what Prometheus keeps for itself is nobody's to set.
    @Test func labelsNeverClash() {
        let labels = ["a.b": "1", "a-b": "2", "a_b": "3", "0x": "1", "__name__": "z", "le": "9"].map {
            MetricFamily.Label($0.key, $0.value)
        }
        let histogram = MetricFamily.Value.histogram(bounds: [], counts: [3], sum: 6)
        let text = Self.text([
            ([MetricFamily(name: "h", kind: .histogram, points: [.init(labels: labels, value: histogram)])], .worker),
            (
                [
                    MetricFamily(
                        name: "g", kind: .gauge,
                        points: [-0.0, 1e-9, 1e300, .infinity].map { .init(labels: [.init("v", "\($0)")], value: .double($0)) })
                ], .worker
            ),
        ])
        let common = #"_0x="1",exported___name__="z",a_b="2;1;3",exported_le="9""#
        #expect(text.contains("h_bucket{\(common),le=\"+Inf\"} 3\nh_sum{\(common)} 6\nh_count{\(common)} 3\n"))
        #expect(
            text.contains(#"g{v="-0.0"} -0.0"#) && text.contains("} 1e-09\n") && text.contains("} 1e+300\n") && text.contains("} +Inf\n"))
    }

    @Test func exemplarsStandOnTheirBucketsInOpenMetricsOnly() throws {
        let context = try #require(SpanContext(traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"))
        let point = MetricFamily.Point(
            value: .histogram(bounds: [1, 2], counts: [0, 1, 0], sum: 1.5),
            exemplars: [.init(value: 1.5, milliseconds: 1_700_000_000_123, context: context)])
        var scrape = MetricScrape()
        scrape.add([MetricFamily(name: "h", kind: .histogram, points: [point])], from: .engine)
        let exemplar = #" # {trace_id="4bf92f3577b34da6a3ce929d0e0e4736",span_id="00f067aa0ba902b7"} 1.5 1700000000.123"#
        let text = scrape.pieces(.openMetrics).joined()
        #expect(text.contains("h_bucket{le=\"2\"} 1\(exemplar)\n"))
        #expect(text.split(separator: " # ").count == 2)
        #expect(!scrape.pieces(.prometheus).joined().contains("trace_id"))
    }

    @Test func jsonIsOneDocumentInPieces() throws {
        let telemetry = Telemetry(resource: [])
        telemetry.metrics.histogram("took", unit: "s", bounds: [0.5]).record(0.7)
        telemetry.metrics.gauge("endless").set(.infinity)
        var scrape = MetricScrape()
        scrape.add(telemetry.metrics.snapshot(), from: .engine)
        let document = try JSONValue(parsing: scrape.jsonPieces().joined())
        let took = try #require(document.array?.first { $0["name"] == "took" }?["points"]?.array?.first)
        #expect(
            took["counts"] == [0, 1] && took["count"] == 1 && took["sum"]?.number == 0.7 && took["bounds"]?.array?.first?.number == 0.5)
        #expect(document.array?.first { $0["name"] == "endless" }?["points"]?.array?.first?["value"] == "inf")
        #expect(try JSONValue(parsing: MetricScrape().jsonPieces().joined()) == [])
    }
}
