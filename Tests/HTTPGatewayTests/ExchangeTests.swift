import NIOCore
import Testing

@testable import IIIHTTPGateway

@Suite struct ExchangeTests {
    @Test func handlerErrorIs500WithErrorID() throws {
        let harness = GatewayHarness()
        try harness.route("GET", "/p")
        let client = try harness.connect()
        client.request("GET /p")
        harness.link.next().fail("invocation_failed", "boom")
        let response = client.response()
        #expect(response.status == 500)
        let match = try unwrap(response.body.wholeMatch(of: /{"error":"boom","error_id":"([0-9a-f]{1,12})"}/))
        #expect(!match.1.isEmpty)
    }

    @Test(arguments: [("DISCONNECTED", 503), ("TIMEOUT", 504), ("function_not_found", 500)])
    func failureCodes(_ code: String, _ status: Int) throws {
        let harness = GatewayHarness()
        try harness.route("GET", "/p")
        let client = try harness.connect()
        client.request("GET /p")
        harness.link.next().fail(code, "m")
        let response = client.response()
        #expect(response.status == status)
        #expect(response.header("retry-after") == (status == 503 ? "1" : nil))
    }

    @Test func linkDownIs503() throws {
        let harness = GatewayHarness()
        try harness.route("GET", "/p")
        harness.link.isConnected = false
        let client = try harness.connect()
        client.request("GET /p")
        let response = client.response()
        #expect(response.status == 503)
        #expect(response.header("retry-after") == "1")
        #expect(response.header("content-type") == "application/json")
        #expect(harness.link.calls.isEmpty)
    }

    @Test(arguments: [("false", 422), ("true", 200), ("null", 200), ("0", 200), (#""false""#, 200), (nil, 200)] as [(String?, Int)])
    func conditions(_ result: String?, _ status: Int) throws {
        let harness = GatewayHarness()
        try harness.route("GET", "/p", condition: "guard")
        let client = try harness.connect()
        client.request("GET /p")
        harness.link.next().answer(result)
        if status == 200 { harness.link.next().answer("{}") }
        let response = client.response()
        #expect(response.status == status)
        if status == 422 { #expect(response.body == #"{"error":"Request condition not met","skipped":true}"#) }
    }

    @Test func failingConditionKeepsTheHandlerAway() throws {
        let harness = GatewayHarness()
        try harness.route("GET", "/p", condition: "guard")
        let client = try harness.connect()
        client.request("GET /p")
        harness.link.next().fail("function_not_found", "Function guard not found")
        #expect(client.response().status == 500)
        #expect(harness.link.calls.isEmpty)
    }

    @Test func deadlineIsEmpty504AndLateResultIsHarmless() throws {
        let harness = GatewayHarness { $0.requestTimeout = .milliseconds(100) }
        try harness.route("GET", "/p")
        let client = try harness.connect()
        client.request("GET /p")
        harness.loop.advanceTime(by: .milliseconds(99))
        #expect(client.received().isEmpty)
        harness.loop.advanceTime(by: .milliseconds(1))
        let response = client.response()
        #expect(response.status == 504)
        #expect(response.body.isEmpty)
        let late = harness.link.next()
        client.request("GET /p")
        late.answer(#"{"body":"late"}"#)
        #expect(client.received().isEmpty)
        harness.link.next().answer(#"{"body":"fresh"}"#)
        #expect(client.response().body == #""fresh""#)
    }

    @Test(arguments: [nil, "null"] as [String?]) func nullResultBecomes204AfterTheGrace(_ result: String?) throws {
        let harness = GatewayHarness { $0.nullResultGrace = .milliseconds(50) }
        try harness.route("GET", "/p")
        let client = try harness.connect()
        client.request("GET /p")
        harness.link.next().answer(result)
        #expect(client.received().isEmpty)
        harness.loop.advanceTime(by: .milliseconds(50))
        let response = client.response()
        #expect(response.status == 204)
        #expect(response.header("content-length") == nil)
    }

    @Test func slowBodyRunsIntoTheDeadlineAndCloses() throws {
        let harness = GatewayHarness { $0.requestTimeout = .milliseconds(100) }
        try harness.route("POST", "/p")
        let client = try harness.connect()
        client.request("POST /p", ["content-type: application/json", "content-length: 5"])
        client.send("{")
        harness.loop.advanceTime(by: .milliseconds(100))
        let response = client.response()
        #expect(response.status == 504)
        #expect(response.header("connection") == "close")
    }

    // MARK: Admission

    @Test func limitHoldsAndQueueIsFair() throws {
        let harness = GatewayHarness {
            $0.concurrencyLimit = 2
            $0.concurrencyQueueLimit = 3
        }
        try harness.route("GET", "/p")
        let clients = try (0..<6).map { _ in try harness.connect() }
        for client in clients { client.request("GET /p") }
        #expect(harness.link.calls.count == 2)
        let refused = clients[5].response()
        #expect(refused.status == 503)
        #expect(refused.header("retry-after") == "1")
        for index in 0..<5 {
            #expect(harness.link.calls.count <= 2)
            harness.link.next().answer("{\"body\":\(index)}")
            #expect(clients[index].response().body == "\(index)")
        }
        #expect(harness.link.calls.isEmpty)
    }

    @Test func waitersThatLeaveGiveUpTheirPlace() throws {
        let harness = GatewayHarness {
            $0.concurrencyLimit = 1
            $0.concurrencyQueueLimit = 2
            $0.requestTimeout = .milliseconds(100)
        }
        try harness.route("GET", "/p")
        let clients = try (0..<3).map { _ in try harness.connect() }
        for client in clients { client.request("GET /p") }
        try clients[1].channel.close().wait()
        harness.link.next().answer("{}")
        #expect(clients[2].received().isEmpty)
        #expect(harness.link.calls.count == 1)
        harness.loop.advanceTime(by: .milliseconds(100))
        #expect(clients[2].response().status == 504)
        clients[0].request("GET /p")
        #expect(harness.link.calls.count == 2)
    }

    @Test func clientThatLeavesDuringTheCallFreesItsPlace() throws {
        let harness = GatewayHarness {
            $0.concurrencyLimit = 1
            $0.concurrencyQueueLimit = 0
        }
        try harness.route("GET", "/p")
        let first = try harness.connect()
        first.request("GET /p")
        try first.channel.close().wait()
        let second = try harness.connect()
        second.request("GET /p")
        #expect(harness.link.calls.count == 2)
        harness.link.next().answer("{}")
        harness.link.next().answer("{}")
        #expect(second.response().status == 200)
        #expect(harness.core.connectionCount == 1)
    }

    @Test func thousandsOfWaitersEndWithoutRecursion() throws {
        let harness = GatewayHarness {
            $0.concurrencyLimit = 1
            $0.concurrencyQueueLimit = 5000
        }
        try harness.route("GET", "/p")
        let clients = try (0..<3000).map { _ in try harness.connect() }
        for client in clients { client.request("GET /p") }
        let first = harness.link.next()
        harness.link.automaticAnswer = { $0.fail("DISCONNECTED", "link down") }
        first.fail("DISCONNECTED", "link down")
        #expect(clients.allSatisfy { $0.response().status == 503 })
    }

    // MARK: Connection life

    @Test func idleAndHeaderTimeouts() throws {
        let harness = GatewayHarness()
        let silent = try harness.connect()
        let partial = try harness.connect()
        partial.send("GET / HT")
        let idle = try harness.connect()
        idle.request("GET /missing")
        harness.loop.advanceTime(by: .seconds(10))
        #expect(!silent.isOpen)
        #expect(partial.response().status == 408)
        #expect(idle.isOpen)
        harness.loop.advanceTime(by: .seconds(65))
        #expect(!idle.isOpen)
    }

    @Test func trickledSecondHeadHasTheHeaderTimeOnly() throws {
        let client = try GatewayHarness().connect()
        client.request("GET /missing")
        _ = client.received()
        client.send("GET /")
        client.loop.advanceTime(by: .seconds(6))
        client.send("x")
        client.loop.advanceTime(by: .seconds(4))
        #expect(client.response().status == 408)
    }

    @Test func connectionsAreLimited() throws {
        let harness = GatewayHarness { $0.maximumConnections = 1 }
        let first = try harness.connect()
        let second = try harness.connect()
        #expect(second.response().status == 503)
        #expect(first.isOpen)
        #expect(harness.core.connectionCount == 1)
    }

    @Test func drainFinishesWhatIsInFlight() throws {
        let harness = GatewayHarness()
        try harness.route("GET", "/p")
        let idle = try harness.connect()
        let busy = try harness.connect()
        busy.request("GET /p")
        var isDrained = false
        harness.core.drain(deadline: harness.loop.now + .seconds(10)) { isDrained = true }
        harness.loop.run()
        #expect(!idle.isOpen)
        #expect(!isDrained)
        harness.link.next().answer("{}")
        let response = busy.response()
        #expect(response.status == 200)
        #expect(response.header("connection") == "close")
        #expect(isDrained)
    }

    @Test func drainGivesUpAtItsDeadline() throws {
        let harness = GatewayHarness()
        try harness.route("GET", "/p")
        let busy = try harness.connect()
        busy.request("GET /p")
        var isDrained = false
        harness.core.drain(deadline: harness.loop.now + .seconds(10)) { isDrained = true }
        harness.loop.advanceTime(by: .seconds(10))
        #expect(isDrained)
        #expect(!busy.isOpen)
    }

    @Test func removedRouteServesWhatIsInFlightThen404() throws {
        let harness = GatewayHarness()
        try harness.route("GET", "/p", trigger: "t")
        let client = try harness.connect()
        client.request("GET /p")
        harness.core.routes.remove(triggerID: "t")
        harness.link.next().answer("{}")
        #expect(client.response().status == 200)
        client.request("GET /p")
        #expect(client.response().status == 404)
    }
}
