import IIIWorker

/// The smallest useful worker: one function, reachable over HTTP and from every other worker.
@main
struct HelloWorker {
    static func main() async throws {
        let worker = try Worker(name: "hello-worker")

        worker.function("hello::greet", description: "Greets whoever the query names") { (request: Request) in
            Response(body: ["message": "Hello, \(request.query_params["name"] ?? "world")!"])
        }
        worker.trigger(type: "http", function: "hello::greet", config: ["api_path": "/hello", "http_method": "GET"])

        try await worker.run()
    }

    /// What `iii-http` delivers; unused members may be left out.
    struct Request: Decodable, Sendable {
        var query_params: [String: String]
    }

    /// What `iii-http` understands as an answer; `headers` may be added.
    struct Response: Encodable, Sendable {
        var status_code = 200
        var body: [String: String]
    }
}
