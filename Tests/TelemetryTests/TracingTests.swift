import IIIProtocol
import Synchronization
import Testing
import Tracing

@testable import IIITelemetry

@Suite struct TracingTests {
    static let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    @Test(arguments: [
        (parent, true), ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", true),
        ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-09", true),
        ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes-later", true),
        ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.x", false),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x", false),
        ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", false),
        ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false),
        ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", false),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", false), ("", false), ("00-x", false),
    ]) func readsWhatTheRecommendationAllows(text: String, isValid: Bool) {
        #expect((SpanContext(traceparent: text) != nil) == isValid)
    }

    @Test func writesWhatItRead() { #expect(SpanContext(traceparent: Self.parent)?.traceparent == Self.parent) }

    @Test func baggageIsBounded() {
        #expect(TraceContext(traceparent: nil, baggage: "a=1,b=2+3").baggage == "a=1,b=2+3")
        #expect(TraceContext(traceparent: nil, baggage: String(repeating: "a", count: 8193)).baggage == nil)
        #expect(TraceContext(traceparent: nil, baggage: Array(repeating: "a=1", count: 65).joined(separator: ",")).baggage == nil)
        #expect(TraceContext(traceparent: nil, baggage: "a=\u{1}").baggage == nil)
    }

    @Test func theRootDecidesAndEverybodyFollows() {
        let sampler = Sampler(ratio: 0)
        #expect(sampler.decides(traceLow: 1, parent: SpanContext(traceparent: Self.parent)))
        #expect(!sampler.decides(traceLow: 0, parent: nil))
        #expect(!Sampler(ratio: 0, isParentBased: false).decides(traceLow: 0, parent: SpanContext(traceparent: Self.parent)))
        var generator = SeededGenerator(seed: 7)
        let recorded = (0..<10_000).filter { _ in Sampler(ratio: 0.25).decides(traceLow: generator.next(), parent: nil) }.count
        #expect((2_300...2_700).contains(recorded))
    }

    @Test func withTracingOffTheContextPassesThrough() {
        let telemetry = Telemetry(resource: [])
        let context = TraceContext(traceparent: Self.parent, baggage: "a=1")
        let span = telemetry.span("x", parent: context)
        #expect(span.context == context && !span.isRecording)
        span.end()
        #expect(telemetry.takeSpanFrame() == nil)
    }

    @Test func anUnsampledRootTellsItsChildren() throws {
        let telemetry = Telemetry(resource: [], sampler: Sampler(ratio: 0))
        let span = telemetry.span("x")
        let context = try #require(span.context.span)
        #expect(!context.isSampled)
        #expect(!telemetry.span("y", parent: span.context).isRecording)
        #expect(telemetry.span("y", parent: span.context).context.span?.traceID == context.traceID)
    }

    @Test func aFollowerRecordsWhatOthersRecordAndBeginsNothing() throws {
        let telemetry = Telemetry(resource: [], sampler: .following)
        #expect(telemetry.span("x").context == .none)
        let sampled = TraceContext(traceparent: Self.parent, baggage: nil)
        #expect(telemetry.span("x", parent: sampled).isRecording)
        let unsampled = TraceContext(traceparent: String(Self.parent.dropLast()) + "0", baggage: "a=1", tracestate: "v=1")
        #expect(telemetry.span("x", parent: unsampled).context == unsampled, "nobody is told anything new")
    }

    @Test func whatCameIsHandedOnAsItCame() throws {
        let text = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-09-more"
        var context = TraceContext(traceparent: text, baggage: "a=1", tracestate: "v=1")
        #expect(context.traceparent == text && context.tracestate == "v=1")
        #expect(TraceContext(json: context.json) == context)
        context.span = SpanContext(traceparent: Self.parent)
        #expect(context.traceparent == Self.parent && context.baggage == "a=1" && context.tracestate == "v=1")
        #expect(TraceContext(traceparent: "x", baggage: nil, tracestate: "v=1") == .none, "a state belongs to a parent")
        #expect(TraceContext(traceparent: Self.parent, baggage: nil, tracestate: String(repeating: "v", count: 513)).tracestate == nil)
    }

    @Test func aFullBatchIsAnnouncedOnce() {
        var limits = Telemetry.Limits()
        limits.maximumBatch = 3
        let telemetry = Telemetry(resource: [], sampler: Sampler(), limits: limits)
        let announced = Atomic<Int>(0)
        telemetry.whenBatchFull { announced.add(1, ordering: .relaxed) }
        for _ in 0..<5 {
            let span = telemetry.span("x")
            span.end()
        }
        #expect(announced.load(ordering: .relaxed) == 1 && telemetry.hasBatch)
        _ = telemetry.takeSpanFrame()
        #expect(!telemetry.hasBatch && telemetry.hasSpans)
    }

    @Test func spansArriveAsOneFrame() throws {
        let telemetry = Telemetry(resource: [("service.name", "shop")], sampler: Sampler())
        let outer = telemetry.span("outer", .server, parent: TraceContext(traceparent: Self.parent, baggage: nil))
        outer.set("http.route", "/a\"b")
        outer.set("count", 3)
        outer.event("retry", [("attempt", 2)])
        outer.link(SpanContext(traceparent: Self.parent))
        let inner = telemetry.span("inner", parent: outer.context)
        inner.end(.error("broken"))
        outer.end()
        outer.end()
        let frame = try #require(telemetry.takeSpanFrame())
        #expect(telemetry.takeSpanFrame() == nil)
        #expect(frame.starts(with: Array("OTLP".utf8)))
        let document = try JSONValue(parsing: Array(frame.dropFirst(4)))
        let resource = try #require(document["resourceSpans"]?.array?.first)
        #expect(resource["resource"]?["attributes"]?.array?.first?["value"]?["stringValue"] == "shop")
        let spans = try #require(resource["scopeSpans"]?.array?.first?["spans"]?.array)
        #expect(spans.map { $0["name"] } == ["inner", "outer"])
        #expect(spans[0]["parentSpanId"] == spans[1]["spanId"] && spans[1]["parentSpanId"] == "00f067aa0ba902b7")
        #expect(spans[0]["status"]?["code"] == 2 && spans[0]["status"]?["message"] == "broken")
        #expect(spans[1]["kind"] == 2 && spans[1]["traceId"] == "4bf92f3577b34da6a3ce929d0e0e4736")
        #expect(spans[1]["attributes"]?.array?.first?["value"]?["stringValue"] == "/a\"b")
        #expect(spans[1]["links"]?.array?.count == 1 && spans[1]["events"]?.array?.first?["name"] == "retry")
    }

    @Test func whatWaitsIsBoundedInNumberAndBytes() {
        var limits = Telemetry.Limits()
        limits.maximumSpans = 100
        limits.maximumSpanBytes = 20_000
        let telemetry = Telemetry(resource: [], sampler: Sampler(), limits: limits)
        for number in 0..<1_000 {
            let span = telemetry.span("span \(number)")
            span.set("text", .string(String(repeating: "x", count: number % 2_000)))
            span.end()
        }
        let kept = String(decoding: telemetry.takeSpanFrame() ?? [], as: UTF8.self)
        #expect(kept.contains("span 999") && !kept.contains("span 900\""))
        let dropped = telemetry.metrics.snapshot().first { $0.name == "iii.telemetry.dropped.total" }?.points.first?.value
        guard case .integer(let count)? = dropped else { return #expect(Bool(false), "drops are not counted") }
        #expect(count > 900)
    }

    @Test func oneSpanIsBounded() {
        var record = SpanRecord(
            name: "x", kind: .internal, context: SpanContext(traceHigh: 1, traceLow: 1, spanID: 1, isSampled: true), parentID: nil,
            startNanoseconds: 0)
        for number in 0..<1_000 {
            record.set("key \(number)", .string(String(repeating: "ü", count: 10_000)))
            record.addEvent("e", nanoseconds: 0)
            record.addLink(record.context)
        }
        #expect(
            record.attributes.count == 128 && record.droppedAttributes == 872 && record.droppedEvents == 872 && record.droppedLinks == 872)
        guard case .string(let text)? = record.attributes.first?.value else { return #expect(Bool(false)) }
        #expect(text.utf8.count <= 8195 && !text.unicodeScalars.contains("\u{FFFD}"))
    }

    @Test func theTracerOfSwiftDistributedTracingmakesTheSameRecords() throws {
        struct Failure: Error {}
        let telemetry = Telemetry(resource: [], sampler: Sampler())
        let tracer = telemetry.tracer
        #expect(throws: Failure.self) {
            try tracer.withSpan("outer", ofKind: .client) { span in
                span.attributes["n"] = 1
                tracer.withSpan("inner") { _ in }
                throw Failure()
            }
        }
        let text = String(decoding: try #require(telemetry.takeSpanFrame()).dropFirst(4), as: UTF8.self)
        let spans = try #require(try JSONValue(parsing: text)["resourceSpans"]?.array?.first?["scopeSpans"]?.array?.first?["spans"]?.array)
        #expect(spans.map { $0["name"] } == ["inner", "outer"])
        #expect(spans[0]["parentSpanId"] == spans[1]["spanId"] && spans[0]["traceId"] == spans[1]["traceId"])
        #expect(spans[1]["status"]?["code"] == 2 && spans[1]["kind"] == 3)
    }
}
