import IIITelemetry
import Tracing

/// What counting and tracing cost on the path, in one run: nanoseconds per operation, least of nine rounds.
@main
struct TelemetryBench {
    static let rounds = 9
    static let operations = 200_000

    static func main() async throws {
        let parent = TraceContext(traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", baggage: nil)
        let off = Telemetry(resource: [])
        let on = Telemetry(resource: [], sampler: Sampler())
        let counter = on.metrics.counter("bench.calls.total")
        let histogram = on.metrics.histogram("bench.duration")
        let tracer = on.tracer

        report("counter", measure { counter.add() })
        report("histogram", measure { histogram.record(0.003) })
        report("span, tracing off", measure { span(off, parent) })
        report("span, not sampled", measure { span(on, Self.unsampled) })
        let value = measure { span(on, parent) }
        report("span, recorded", value)
        var context = InstrumentationContext.topLevel
        context.traceContext = parent
        let object = measure { Self.object(tracer, context) }
        report("span of swift-distributed-tracing, recorded", object)
        var best = Double.infinity
        for _ in 0..<rounds {
            let start = ContinuousClock.now
            for _ in 0..<operations {
                await InstrumentationContext.$current.withValue(context) {
                    await tracer.withSpan("execute shop::order") { span in
                        span.attributes["faas.invoked_name"] = "shop::order"
                        await nothing()
                    }
                }
            }
            best = min(best, nanoseconds(since: start))
        }
        report("withSpan in a task, recorded", best)
        print("ratio of an object to a value: \(rounded(object / value))")
    }

    private static let unsampled = TraceContext(traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", baggage: nil)

    @inline(never)
    private static func span(_ telemetry: Telemetry, _ parent: TraceContext) {
        let span = telemetry.span("execute shop::order", .server, parent: parent)
        span.set("faas.invoked_name", "shop::order")
        span.end(.ok)
    }

    @inline(never)
    private static func object(_ tracer: TelemetryTracer, _ context: InstrumentationContext) {
        let span = tracer.startSpan("execute shop::order", context: context, ofKind: .server)
        span.attributes["faas.invoked_name"] = "shop::order"
        span.setStatus(SpanStatus(code: .ok))
        span.end()
    }

    private static func nothing() async {}

    private static func measure(_ body: () -> Void) -> Double {
        var best = Double.infinity
        for _ in 0..<rounds {
            let start = ContinuousClock.now
            for _ in 0..<operations { body() }
            best = min(best, nanoseconds(since: start))
        }
        return best
    }

    private static func nanoseconds(since start: ContinuousClock.Instant) -> Double {
        let (seconds, attoseconds) = (ContinuousClock.now - start).components
        return (Double(seconds) * 1e9 + Double(attoseconds) * 1e-9) / Double(operations)
    }

    private static func rounded(_ value: Double) -> Double { (value * 10).rounded() / 10 }
    private static func report(_ name: String, _ nanoseconds: Double) { print("\(rounded(nanoseconds)) ns  \(name)") }
}
