import IIIWorker
import Metrics
import Tracing

struct Order: Codable, Sendable { var items: Int }

/// A worker whose counters and spans reach the engine: two lines, then the usual APIs.
@main
struct TracedWorker {
    static func main() async {
        await WorkerClient.main(name: "traced-worker") { worker in
            MetricsSystem.bootstrap(worker.telemetry.metricsFactory)
            InstrumentationSystem.bootstrap(worker.telemetry.tracer)

            let orders = Counter(label: "shop.orders")
            worker.function("shop::order") { (order: Order) in
                orders.increment()
                return try await withSpan("charge") { span in
                    span.attributes["shop.items"] = order.items
                    return try await worker.call("shop::charge", order, returning: [String: Bool].self)
                }
            }
            worker.function("shop::charge") { (_: Order) in ["charged": true] }
        }
    }
}
