import IIIProtocol
import NIOCore
import Testing

@testable import IIIHTTPGateway

/// Health, access log, limits of a connection, and the change of a configuration under load.
@Suite struct OperationTests {
    @Test(arguments: ["", "/internal"]) func healthEndpoints(_ prefix: String) throws {
        let harness = GatewayHarness { $0.healthPathPrefix = prefix }
        try harness.route("GET", "\(prefix)/healthz")
        harness.core.areRoutesComplete = true
        let client = try harness.connect()
        client.request("GET \(prefix)/healthz?x=1")
        #expect(client.response().body == #"{"status":"ok"}"#)
        client.request("HEAD \(prefix)/readyz")
        let head = client.response()
        #expect(head.status == 200 && head.body.isEmpty)
        client.request("POST \(prefix)/readyz")
        let refused = client.response()
        #expect(refused.status == 405)
        #expect(refused.header("allow") == "GET,HEAD")
        #expect(harness.link.calls.isEmpty)
    }

    @Test func readinessSaysWhyNot() throws {
        let harness = GatewayHarness { $0.healthPathPrefix = "" }
        let client = try harness.connect()
        func reason() -> (Int, String) {
            client.request("GET /readyz")
            let answer = client.response()
            return (answer.status, answer.body)
        }
        #expect(reason() == (503, #"{"reason":"routes are being replayed","status":"unavailable"}"#))
        harness.link.isConnected = false
        #expect(reason() == (503, #"{"reason":"no connection to the engine","status":"unavailable"}"#))
        harness.link.isConnected = true
        harness.core.areRoutesComplete = true
        #expect(reason() == (200, #"{"status":"ready"}"#))
        client.send("GET /readyz HTTP/1.1\r\n")
        harness.core.drain(deadline: harness.loop.now + .seconds(10)) {}
        #expect(harness.core.unreadiness == "draining")
    }

    @Test func healthIsOffByDefault() throws {
        let client = try GatewayHarness().connect()
        client.request("GET /healthz")
        #expect(client.response().status == 404)
    }

    // MARK: Access log

    @Test func accessLogHasOneLinePerRequestWithoutSecrets() throws {
        let harness = GatewayHarness { $0.accessLog = .json }
        try harness.route("GET", "/p/:id", to: "fn")
        let client = try harness.connect()
        client.request("GET /p/1?token=secret&b", ["authorization: secret", "x-request-id: r1"])
        harness.loop.advanceTime(by: .milliseconds(3))
        harness.link.next().answer(#"{"status_code":201}"#)
        client.request("GET /none")
        let text = client.received()
        #expect(harness.lines.values.count == 2)
        let line = try unwrap(harness.lines.values.first)
        #expect(line["method"] == "GET" && line["path"] == "/p/1" && line["route"] == "GET /p/:id" && line["function_id"] == "fn")
        #expect(line["status"] == 201 && line["query_keys"] == ["token", "b"] && line["request_id"] == "r1")
        #expect(line["duration_ms"]?.number == 3)
        #expect(!line.text.contains("secret"))
        #expect(harness.lines.values[1]["route"] == .null)
        let total = (line["bytes"]?.integer ?? 0) + (harness.lines.values[1]["bytes"]?.integer ?? 0)
        #expect(total == Int64(text.utf8.count))
    }

    @Test func clientThatLeavesIsLoggedAs499() throws {
        let harness = GatewayHarness { $0.accessLog = .json }
        try harness.route("GET", "/p")
        let client = try harness.connect()
        client.request("GET /p")
        try client.channel.close().wait()
        #expect(harness.lines.values.map { $0["status"] } == [499])
    }

    @Test func guardedBodyThatNeverComesIs408() throws {
        let harness = GatewayHarness {
            $0.bodyTimeout = .milliseconds(100)
            $0.globalMiddleware = ["g"]
        }
        try harness.route("POST", "/p")
        let client = try harness.connect()
        client.request("POST /p", ["content-type: application/json", "content-length: 5"])
        harness.loop.advanceTime(by: .milliseconds(200))
        #expect(client.received().isEmpty)
        harness.link.next().answer(#"{"action":"continue"}"#)
        harness.loop.advanceTime(by: .milliseconds(100))
        #expect(client.response().status == 408)
    }

    @Test func accessLogSamples() throws {
        for (sample, range) in [(0.0, 0...0), (0.5, 50...150), (1.0, 200...200)] {
            let harness = GatewayHarness {
                $0.accessLog = .json
                $0.accessLogSample = sample
            }
            let client = try harness.connect()
            for _ in 0..<200 { client.request("GET /none") }
            #expect(range.contains(harness.lines.values.count))
        }
    }

    // MARK: Limits of a connection

    @Test func connectionEndsAfterItsLastRequest() throws {
        let harness = GatewayHarness { $0.maximumRequestsPerConnection = 2 }
        let client = try harness.connect()
        client.request("GET /a")
        #expect(client.response().header("connection") == nil)
        client.request("GET /a")
        #expect(client.response().header("connection") == "close")
        #expect(!client.isOpen)
    }

    @Test func stalledBodyIs408AndProgressIsNot() throws {
        let harness = GatewayHarness { $0.bodyTimeout = .milliseconds(100) }
        try harness.route("POST", "/p")
        let client = try harness.connect()
        client.request("POST /p", ["content-type: application/json", "content-length: 5"])
        for _ in 0..<4 {
            client.send("1")
            harness.loop.advanceTime(by: .milliseconds(99))
        }
        #expect(client.received().isEmpty)
        harness.loop.advanceTime(by: .milliseconds(1))
        let answer = client.response()
        #expect(answer.status == 408)
        #expect(answer.header("connection") == "close")
    }

    @Test(arguments: [true, false]) func uploadsBeyondTheStreamLimitAre413(_ announcesLength: Bool) throws {
        let harness = GatewayHarness { $0.streamBodyLimit = 4 }
        try harness.route("POST", "/p")
        let client = try harness.connect()
        let framing = announcesLength ? "content-length: 5" : "transfer-encoding: chunked"
        client.request("POST /p", ["content-type: text/plain", framing])
        if !announcesLength { client.send("5\r\n12345\r\n") }
        #expect(client.response().status == 413)
    }

    // MARK: Live configuration

    @Test func requestKeepsTheSettingsItBeganWith() throws {
        let harness = GatewayHarness { $0.globalMiddleware = ["old"] }
        try harness.route("GET", "/p")
        let client = try harness.connect()
        client.request("GET /p")
        var changed = HTTPConfiguration()
        changed.requestIDHeader = "x-new"
        changed.requestTimeout = .milliseconds(100)
        harness.core.apply(changed)
        harness.loop.advanceTime(by: .milliseconds(200))
        harness.link.next().answer(#"{"action":"continue"}"#)
        harness.link.next().answer("{}")
        let first = client.response()
        #expect(first.status == 200 && first.header("x-request-id") != nil && first.header("x-new") == nil)
        client.request("GET /p")
        #expect(harness.link.calls.map(\.function) == ["f"])
        harness.loop.advanceTime(by: .milliseconds(100))
        let second = client.response()
        #expect(second.status == 504 && second.header("x-new") != nil)
        #expect(client.isOpen)
    }

    @Test func higherLimitLetsWaitersInAndALowerOneHoldsLater() throws {
        let harness = GatewayHarness {
            $0.concurrencyLimit = 1
            $0.concurrencyQueueLimit = 10
        }
        try harness.route("GET", "/p")
        let clients = try (0..<6).map { _ in try harness.connect() }
        for client in clients { client.request("GET /p") }
        #expect(harness.link.calls.count == 1)
        var changed = HTTPConfiguration()
        changed.concurrencyLimit = 3
        changed.concurrencyQueueLimit = 10
        harness.core.apply(changed)
        #expect(harness.link.calls.count == 3)
        changed.concurrencyLimit = 2
        harness.core.apply(changed)
        harness.link.next().answer("{}")
        #expect(harness.link.calls.count == 2)
        harness.link.next().answer("{}")
        #expect(harness.link.calls.count == 2)
    }
}
