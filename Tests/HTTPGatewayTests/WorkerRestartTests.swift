import IIIWorker
import NIOCore
import Testing

@testable import IIIHTTPGateway

/// Routes whose only worker has disconnected: requests wait, then 503, then 404.
@Suite struct WorkerRestartTests {
    private let harness = GatewayHarness()

    private func newRoute(_ trigger: String, _ path: String = "/p", function: String = "f") throws -> Route {
        Route(triggerID: trigger, method: .get, pattern: try RoutePattern(path), functionID: FunctionID(own: function))
    }

    @Test func aRequestWaitsForTheWorkerAndReachesItsNewRoute() throws {
        try harness.route("GET", "/p", trigger: "old")
        _ = try unwrap(harness.core.depart(triggerID: "old"))
        let client = try harness.connect()
        client.request("GET /p")
        #expect(client.received() == "" && harness.link.calls.isEmpty)
        try harness.core.add(newRoute("new", function: "g"))
        let call = harness.link.next()
        #expect(call.function == "g")
        call.answer("{}")
        #expect(client.response().status == 200)
        #expect(harness.core.heldCount == 0 && harness.core.routes.count == 1)
    }

    @Test func itIsTold503WhenTheWorkerIsNotBackInTimeAnd404OnceItIsGivenUp() throws {
        try harness.route("GET", "/p", trigger: "old")
        _ = harness.core.depart(triggerID: "old")
        let client = try harness.connect()
        client.request("GET /p")
        harness.loop.advanceTime(by: .seconds(3))
        let answer = client.response()
        #expect(answer.status == 503 && answer.header("retry-after") == "1" && client.isOpen)
        client.request("GET /p")
        harness.loop.advanceTime(by: .seconds(8))
        #expect(client.response().status == 503)
        client.request("GET /p")
        #expect(client.response().status == 404)
        #expect(harness.core.routes.count == 0 && harness.core.heldCount == 0)
    }

    @Test func whoStillWaitsWhenTheWorkerIsGivenUpGets404() throws {
        try harness.route("GET", "/p", trigger: "old")
        _ = harness.core.depart(triggerID: "old")
        harness.loop.advanceTime(by: .seconds(9))
        let client = try harness.connect()
        client.request("GET /p")
        harness.loop.advanceTime(by: .seconds(1))
        #expect(client.response().status == 404)
    }

    @Test func onlySoManyWait() throws {
        let harness = GatewayHarness { $0.workerRestartHoldLimit = 1 }
        try harness.route("GET", "/p", trigger: "old")
        _ = harness.core.depart(triggerID: "old")
        let clients = try (0..<2).map { _ in try harness.connect() }
        for client in clients { client.request("GET /p") }
        #expect(clients[0].received() == "")
        #expect(clients[1].response().status == 503)
        try clients[0].channel.close().wait()
        #expect(harness.core.heldCount == 0, "whoever leaves waits no more")
    }

    @Test func aRouteThatAnotherWorkerServesWaitsForNobody() throws {
        try harness.route("GET", "/p", to: "a", trigger: "a")
        try harness.route("GET", "/p", to: "b", trigger: "b")
        _ = harness.core.depart(triggerID: "b")
        let client = try harness.connect()
        client.request("GET /p")
        #expect(harness.link.next().function == "a")
    }

    @Test func withoutGraceRoutesGoWithTheirWorker() throws {
        let harness = GatewayHarness { $0.workerRestartGrace = .zero }
        try harness.route("GET", "/p", trigger: "old")
        _ = harness.core.depart(triggerID: "old")
        let client = try harness.connect()
        client.request("GET /p")
        #expect(client.response().status == 404)
    }

    @Test func aRememberedRouteStandsInNobodysWay() throws {
        try harness.route("GET", "/u/:id", trigger: "old")
        _ = harness.core.depart(triggerID: "old")
        try harness.core.add(newRoute("new", "/u/:name"))
        #expect(harness.core.routes.count == 1 && harness.core.routes.departedCount == 0)
    }

    /// The rules for a function that does not exist: 503 while its worker is away or coming back, 404 where the route is kept only
    /// because an update of it was refused, else the baseline's 500.
    @Test(arguments: [("departed", 503), ("returned", 503), ("refused", 404), ("removed", 404), ("plain", 500)])
    func aMissingFunctionIsJudgedByItsRoute(_ story: String, _ status: Int) throws {
        try harness.route("GET", "/p", trigger: "t")
        if story == "returned" {
            _ = harness.core.depart(triggerID: "t")
            try harness.core.add(newRoute("t2"))
        }
        let client = try harness.connect()
        client.request("GET /p")
        switch story {
        case "departed": _ = harness.core.depart(triggerID: "t")
        case "refused": harness.core.routes.noteRefusal(triggerID: "t")
        case "removed": harness.core.routes.remove(triggerID: "t")
        default: break
        }
        harness.link.next().fail("function_not_found", "Function f not found")
        #expect(client.response().status == status)
    }

    @Test func theRouteOfARefusedUpdateGoesWithItsOwner() throws {
        try harness.route("GET", "/p", trigger: "t")
        harness.core.routes.noteRefusal(triggerID: "t")
        _ = harness.core.depart(triggerID: "t")
        let client = try harness.connect()
        client.request("GET /p")
        #expect(client.response().status == 404)
    }
}
