import IIIProtocol
import Testing

@testable import IIIHTTPGateway

@Suite struct MiddlewareTests {
    private static let proceed = #"{"action":"continue"}"#

    private func order(_ harness: GatewayHarness, answering answers: [String: String] = [:]) -> [String] {
        var names: [String] = []
        while !harness.link.calls.isEmpty {
            let call = harness.link.next()
            names.append(call.function)
            call.answer(answers[call.function] ?? Self.proceed)
        }
        return names
    }

    @Test func orderIsGlobalConditionRouteHandler() throws {
        let harness = GatewayHarness { $0.globalMiddleware = ["g1", "g2"] }
        try harness.route("POST", "/p/:id", to: "handler", condition: "condition", middleware: ["r1", "r2"])
        let client = try harness.connect()
        client.request("POST /p/7?q=1", ["content-type: application/json"], body: "{}")
        #expect(order(harness, answering: ["handler": #"{"status_code":201}"#]) == ["g1", "g2", "condition", "r1", "r2", "handler"])
        #expect(client.response().status == 201)
    }

    @Test func inputHasNoBody() throws {
        let harness = GatewayHarness { $0.globalMiddleware = ["g"] }
        try harness.route("POST", "/p/:id", namespace: "billing")
        let client = try harness.connect()
        client.request("POST /p/7?q=1", ["content-type: application/json", "X-A: b"], body: "{}")
        let call = harness.link.next()
        #expect(call.namespace == "billing")
        #expect(
            call.payload == [
                "phase": "preHandler", "context": [:],
                "request": [
                    "path_params": ["id": "7"], "query_params": ["q": "1"], "method": "POST",
                    "headers": ["host": "test", "content-type": "application/json", "x-a": "b", "content-length": "2"],
                ],
            ])
    }

    @Test(arguments: ["null", #"{"action":"zzz"}"#, "[]", "1", nil]) func unclearAnswersPassUnlessStrict(_ answer: String?) throws {
        for isStrict in [false, true] {
            let harness = GatewayHarness { $0.isMiddlewareStrict = isStrict }
            try harness.route("GET", "/p", middleware: ["m"])
            let client = try harness.connect()
            client.request("GET /p")
            harness.link.next().answer(answer)
            #expect(harness.link.calls.count == (isStrict ? 0 : 1))
            if isStrict { #expect(client.response().status == 500) }
        }
    }

    @Test(
        arguments: [
            (#"{"status_code":403,"body":{"error":"no"}}"#, 403, "application/json", #"{"error":"no"}"#),
            (#"{"body":"hi"}"#, 200, "application/json", #""hi""#),
            (#"{"body":"hi","headers":{"Content-Type":"text/plain"}}"#, 200, "text/plain", #""hi""#),
            (#"{"status_code":401,"headers":{"a":"b","c":1}}"#, 401, "application/json", "null"), (nil, 200, "application/json", "null"),
        ] as [(String?, Int, String, String)])
    func respondEndsTheRequest(_ response: String?, _ status: Int, _ contentType: String, _ body: String) throws {
        let harness = GatewayHarness { $0.globalMiddleware = ["g"] }
        try harness.route("GET", "/p")
        let client = try harness.connect()
        client.request("GET /p")
        harness.link.next().answer(#"{"action":"respond""# + (response.map { #","response":\#($0)"# } ?? "") + "}")
        let answer = client.response()
        #expect(answer.status == status)
        #expect(answer.header("content-type") == contentType)
        #expect(answer.header("a") == nil)
        #expect(answer.body == body)
        #expect(harness.link.calls.isEmpty)
        client.request("GET /p")
        #expect(harness.link.next().function == "g")
    }

    @Test(arguments: ["function_not_found", "boom"]) func errorsFailClosed(_ code: String) throws {
        for isGlobal in [true, false] {
            let harness = GatewayHarness { if isGlobal { $0.globalMiddleware = ["m"] } }
            try harness.route("GET", "/p", middleware: isGlobal ? [] : ["m"])
            let client = try harness.connect()
            client.request("GET /p")
            harness.link.next().fail(code, "no")
            #expect(client.response().status == 500)
            #expect(harness.link.calls.isEmpty)
        }
    }

    @Test func deadlineCoversMiddleware() throws {
        let harness = GatewayHarness {
            $0.globalMiddleware = ["g"]
            $0.requestTimeout = .milliseconds(100)
        }
        try harness.route("GET", "/p")
        let client = try harness.connect()
        client.request("GET /p")
        let call = harness.link.next()
        harness.loop.advanceTime(by: .milliseconds(100))
        #expect(client.response().status == 504)
        call.answer(Self.proceed)
        #expect(harness.link.calls.isEmpty)
    }

    @Test func continueIsSentAfterGlobalMiddleware() throws {
        let harness = GatewayHarness { $0.globalMiddleware = ["g"] }
        try harness.route("POST", "/p")
        let client = try harness.connect()
        let head = ["content-type: application/json", "content-length: 2", "expect: 100-continue"]
        client.request("POST /p", head)
        #expect(client.received().isEmpty)
        harness.link.next().answer(Self.proceed)
        #expect(client.received() == "HTTP/1.1 100 Continue\r\n\r\n")
        client.send("{}")
        #expect(harness.link.next().payload?["body"] == [:])

        let refused = try harness.connect()
        refused.request("POST /p", head)
        harness.link.next().answer(#"{"action":"respond","response":{"status_code":401}}"#)
        let answer = refused.response()
        #expect(answer.status == 401)
        #expect(answer.header("connection") == "close")
    }

    /// Body and pipelined successor wait behind the guard, and are dealt with in order whatever it says.
    @Test(arguments: [true, false]) func partsWaitForTheGuard(_ passes: Bool) throws {
        let harness = GatewayHarness { $0.globalMiddleware = ["g"] }
        try harness.route("POST", "/p", to: "handler")
        let client = try harness.connect()
        let one = "POST /p HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n[]"
        client.send(one + one)
        #expect(harness.link.calls.map(\.function) == ["g"])
        let refusal = #"{"action":"respond","response":{"status_code":403}}"#
        harness.link.next().answer(passes ? Self.proceed : refusal)
        if passes { harness.link.next().answer(#"{"status_code":201}"#) }
        #expect(client.response().status == (passes ? 201 : 403))
        #expect(harness.link.calls.map(\.function) == ["g"])
    }

    @Test(arguments: [true, false]) func brokenBodyBehindAGuardGetsOneAnswer(_ passes: Bool) throws {
        let harness = GatewayHarness { $0.globalMiddleware = ["g"] }
        try harness.route("POST", "/p")
        let client = try harness.connect()
        client.send("POST /p HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
        harness.link.next().answer(passes ? Self.proceed : #"{"action":"respond","response":{"status_code":403}}"#)
        let text = client.received()
        #expect(text.hasPrefix("HTTP/1.1 \(passes ? 400 : 403)"))
        #expect(text.split(separator: "HTTP/1.1 ").count == 1)
        #expect(harness.link.calls.isEmpty)
    }

    @Test func unmatchedRequestsSeeNoMiddleware() throws {
        let harness = GatewayHarness { $0.globalMiddleware = ["g"] }
        try harness.route("GET", "/p")
        let client = try harness.connect()
        for (line, status) in [("GET /x", 404), ("POST /p", 405), ("OPTIONS /p", 200)] {
            client.request(line)
            #expect(client.response().status == status)
        }
        #expect(harness.link.calls.isEmpty)
    }

    @Test func guardsOccupyPlaces() throws {
        let harness = GatewayHarness {
            $0.globalMiddleware = ["g"]
            $0.concurrencyLimit = 1
            $0.concurrencyQueueLimit = 1
        }
        try harness.route("GET", "/p", to: "handler")
        let clients = try (0..<3).map { _ in try harness.connect() }
        for client in clients { client.request("GET /p") }
        #expect(harness.link.calls.count == 1)
        #expect(clients[2].response().status == 503)
        #expect(order(harness, answering: ["handler": "{}"]) == ["g", "handler", "g", "handler"])
        #expect(clients[0].response().status == 200)
        #expect(clients[1].response().status == 200)
    }
}
