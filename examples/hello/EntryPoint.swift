import Glibc
import IIIWorker

/// The smallest useful worker: one function, reachable over HTTP and from every other worker, and one that runs on a schedule.
@main
struct HelloWorker {
    static func main() async {
        await WorkerClient.main(name: "hello-worker") { worker in
            // It neither waits nor computes, so it may answer on the spot.
            worker.function("hello::greet", description: "Greets whoever the query names", immediate: greet)
            worker.trigger(type: "http", function: "hello::greet", config: ["api_path": "/hello", "http_method": "GET"])
            worker.function("hello::tick", description: "Says which minute has begun", immediate: tick)
            worker.trigger(type: "cron", function: "hello::tick", config: ["expression": "0 * * * * *"])
        }
    }

    /// What `iii-cron` delivers has `job_id`, `scheduled_time` and `actual_time`.
    @Sendable static func tick(_ fire: JSONValue) -> JSONValue? {
        let line = Array("It is \(fire["scheduled_time"]?.string ?? "late")\n".utf8)
        write(STDOUT_FILENO, line, line.count)
        return nil
    }

    /// What `iii-http` delivers has `query_params`, `path_params`, `headers` and `body`; what it understands as an answer may have
    /// `status_code`, `headers` and `body`.
    @Sendable static func greet(_ request: JSONValue) -> JSONValue? {
        let name = request["query_params"]?["name"]?.string ?? "world"
        return ["status_code": 200, "body": ["message": .string("Hello, \(name)!")]]
    }
}
