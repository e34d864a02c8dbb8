import Glibc
import IIIWorker

/// A board of notes that every open tab sees live. The page is plain HTML with the browser's own WebSocket; the notes are items of the stream
/// `board`, so whoever changes one, by HTTP or with `stream::set`, changes it on every screen.
@main
struct BoardWorker {
    private static let group: [String: JSONValue] = ["stream_name": "board", "group_id": "notes"]

    static func main() async {
        let token = environment("III_BOARD_TOKEN") ?? String(UInt64.random(in: 0 ... .max), radix: 36)
        let port = environment("III_STREAM_PORT") ?? "3112"
        await WorkerClient.main(name: "board-worker") { worker in
            worker.function("board::page", description: "The page") { _ in
                [
                    "status_code": 200, "headers": ["content-type": "text/html; charset=utf-8"],
                    "body": .string(Page.html(streamPort: port, token: token)),
                ]
            }
            worker.trigger(type: "http", function: "board::page", config: ["api_path": "/board", "http_method": "GET"])

            worker.function("board::add", description: "Pins a note") { [unowned worker] request in
                let text = request["body"]?["text"]?.string ?? ""
                guard !text.isEmpty else { return ["status_code": 400, "body": ["error": "text is missing"]] }
                let id = "note-\(String(UInt64.random(in: 0 ... .max), radix: 36))"
                try await set(id, to: ["id": .string(id), "text": .string(text)], worker)
                return ["status_code": 201, "body": ["id": .string(id)]]
            }
            worker.trigger(type: "http", function: "board::add", config: ["api_path": "/board/notes", "http_method": "POST"])

            worker.function("board::remove", description: "Takes a note off") { [unowned worker] request in
                let id = request["path_params"]?["id"] ?? .null
                _ = try await worker.call("stream::delete", json: .object(group.merging(["item_id": id]) { $1 }))
                return ["status_code": 204]
            }
            worker.trigger(type: "http", function: "board::remove", config: ["api_path": "/board/notes/:id", "http_method": "DELETE"])

            worker.function("board::tick", description: "Shows that the board is alive") { [unowned worker] fire in
                try await set("clock", to: ["id": "clock", "text": .string("It is \(fire["scheduled_time"]?.string ?? "late")")], worker)
                return nil
            }
            worker.trigger(type: "cron", function: "board::tick", config: ["expression": "*/5 * * * * *"])

            // For `auth_function: board::admit` of iii-stream: only the page's own token gets in.
            worker.function("board::admit", description: "Lets in whoever has the page's token") { request in
                let offered = request["headers"]?["sec-websocket-protocol"]?.string ?? ""
                let isKnown = offered.split(separator: ",").contains { $0.drop { $0 == " " } == token[...] }
                return isKnown ? ["context": ["userId": "page"]] : ["unauthorized": true]
            }
        }
    }

    private static func set(_ id: String, to data: JSONValue, _ worker: WorkerClient) async throws {
        _ = try await worker.call("stream::set", json: .object(group.merging(["item_id": .string(id), "data": data]) { $1 }))
    }

    private static func environment(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
}
