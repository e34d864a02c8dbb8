import IIIWorker

/// Counts visits in the state, and says when a page has had ten of them.
@main
struct VisitsWorker {
    static func main() async {
        await WorkerClient.main(name: "visits-worker") { worker in
            worker.function("visits::count", description: "Counts a visit of a page") { [unowned worker] request in
                let page = request["path_params"]?["page"]?.string ?? "home"
                // One step: however many visits come at once, none is lost.
                let answer = try await worker.call(
                    "state::update",
                    json: ["scope": "visits", "key": .string(page), "ops": [["type": "increment", "path": "count", "by": 1]]])
                return ["status_code": 200, "body": answer?["new_value"] ?? .null]
            }
            worker.trigger(type: "http", function: "visits::count", config: ["api_path": "/visits/:page", "http_method": "GET"])

            worker.function("visits::changed", description: "Hears of every count") { event in
                if event["new_value"]?["count"] == 10 { print("\(event["key"]?.string ?? "") has been seen ten times") }
                return nil
            }
            worker.trigger(type: "state", function: "visits::changed", config: ["scope": "visits"])
        }
    }
}
