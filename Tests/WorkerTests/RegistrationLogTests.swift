import IIIProtocol
import NIOCore
import Testing

@testable import IIIWorker

@Suite struct RegistrationLogTests {
    @Test func replaysTypesThenFunctionsThenTriggers() throws {
        var log = RegistrationLog()
        _ = log.addTrigger("t1", type: "http", function: "f", config: ["api_path": "/x"], metadata: nil)
        _ = log.addFunction("f", description: "d", requestFormat: nil, responseFormat: nil, metadata: ["a": 1])
        _ = log.addTriggerType(TriggerTypeDeclaration(id: "kind", description: "k"))
        _ = log.addFunction("f", description: "new", requestFormat: nil, responseFormat: nil, metadata: nil)
        let replay = try log.replay.map { try JSONValue(parsing: $0) }
        #expect(replay.map { $0["type"]?.string } == ["registertriggertype", "registerfunction", "registertrigger"])
        #expect(replay[1]["description"] == "new" && replay[1]["metadata"] == nil)
        #expect(replay[2]["config"] == ["api_path": "/x"])
    }

    @Test func whatIsTakenBackIsNotSaidAgain() throws {
        var log = RegistrationLog()
        _ = log.addFunction("f", description: nil, requestFormat: nil, responseFormat: nil, metadata: nil)
        #expect(try log.removeFunction("f").map { try JSONValue(parsing: $0) } == ["type": "unregisterfunction", "id": "f"])
        #expect(log.removeFunction("f") == nil && log.removeTrigger("t") == nil && log.replay.isEmpty)
    }
}

@Suite struct ReconnectBackoffTests {
    @Test func doublesToTheMaximumWithJitter() {
        var backoff = ReconnectBackoff(first: .seconds(1), maximum: .seconds(30))
        var generator = SystemRandomNumberGenerator()
        for expected in [1.0, 2, 4, 8, 16, 30, 30, 30] {
            let delay = Double(backoff.next(using: &generator).nanoseconds) / 1e9
            #expect(delay >= expected * 0.7 - 0.001 && delay <= expected * 1.3 + 0.001)
        }
        for _ in 0..<200 { _ = backoff.next(using: &generator) }
        backoff.reset()
        #expect(backoff.next(using: &generator) <= .milliseconds(1300))
    }
}

@Suite struct WebSocketURLTests {
    @Test(arguments: [
        ("ws://localhost:49134", "localhost", 49134, "/"), ("ws://h", "h", 80, "/"), ("ws://h:1/a?b=c", "h", 1, "/a?b=c"),
        ("ws://h?b", "h", 80, "/?b"),
        ("ws://[::1]:7", "::1", 7, "/"), ("ws://[::1]", "::1", 80, "/"),
    ])
    func reads(_ text: String, _ host: String, _ port: Int, _ target: String) throws {
        #expect(try WebSocketURL(text) == WebSocketURL(host: host, port: port, target: target))
    }

    @Test(arguments: ["", "http://x", "wss://x", "ws://", "ws://:1", "ws://h:0", "ws://h:99999", "ws://h:x"])
    func refuses(_ text: String) {
        #expect(throws: WebSocketURL.Invalid.self) { try WebSocketURL(text) }
    }
}
