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
        #expect(told.first?.points.first?.labels == [.init("k", "v"), .init("worker_id", "1")])
        let filled = MetricFamily.families(otlp: document, adding: [.init("worker_id", "1")], filling: true)
        #expect(filled.first?.points.first?.labels == [.init("k", "v"), .init("worker_id", "y")])
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
