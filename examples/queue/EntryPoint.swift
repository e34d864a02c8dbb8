import IIIWorker

/// A consumer of both kinds of queues, and a producer: `orders::take` answers at once and leaves the work to a queue; whoever subscribes to
/// `order.taken` hears of it, also if it is away at that moment.
@main
struct QueueExample {
    static func main() async {
        await WorkerClient.main(name: "queue-example") { worker in
            worker.function("orders::take") { (order: Order) async throws -> Receipt in
                let work: JSONValue = ["id": .string(order.id), "amount": JSONValue(order.amount)]
                let receipt = try await worker.enqueue("orders::charge", json: work, queue: "default")
                _ = try await worker.call("iii::durable::publish", json: ["topic": "order.taken", "data": ["id": .string(order.id)]])
                return Receipt(id: receipt)
            }
            worker.function("orders::charge") { (order: Order) async throws -> Receipt in
                // Thrown errors are failed attempts; this one says that trying again is no use.
                guard order.amount > 0 else { throw InvocationError(code: "no_retry", message: "there is nothing to charge") }
                return Receipt(id: order.id)
            }
            worker.function("orders::report") { (note: Note) async throws -> Note in note }
            worker.trigger(type: "durable:subscriber", function: "orders::report", config: ["topic": "order.taken"])
        }
    }
}

struct Order: Codable, Sendable {
    let id: String
    let amount: Int
}

struct Receipt: Codable, Sendable { let id: String }
struct Note: Codable, Sendable { let id: String }
