import Glibc
import IIIProtocol
import IIITestSupport
import Logging
import NIOCore
import NIOPosix
import ServiceLifecycle
import Testing

@testable import IIIWorker

/// The public worker against a real engine over real sockets, in one process.
@Suite(.serialized, .timeLimit(.minutes(3))) struct WorkerTests {
    struct Sum: Codable, Sendable, Equatable { var a: Int, b: Int }

    @Test func codableCallRoundTrip() async throws {
        try await InProcessEngine.run { engine in
            let (server, client) = (engine.worker("server"), engine.worker("client"))
            server.function("math::add") { (input: Sum) in ["sum": input.a + input.b] }
            server.connect()
            client.connect()
            let result: [String: Int] = try await eventually { try await client.call("math::add", Sum(a: 2, b: 3)) }
            #expect(result == ["sum": 5])
            await server.shutDown()
            await client.shutDown()
        }
    }

    @Test func immediateFunctionsAnswerAndFailLikeOthers() async throws {
        try await InProcessEngine.run { engine in
            let (server, client) = (engine.worker("server"), engine.worker("client"))
            server.function("now::echo", immediate: { $0["x"] })
            server.function("now::own", immediate: { _ in throw InvocationError(code: "teapot", message: "short") })
            server.function("now::any", immediate: { _ in throw CancellationError() })
            server.connect()
            client.connect()
            let echoed: JSONValue? = try await eventually { try await client.call("now::echo", json: ["x": 7]) }
            #expect(echoed == 7)
            #expect(try await client.call("now::echo", json: [:]) == nil)
            for (function, code) in [("now::own", "teapot"), ("now::any", "invocation_failed")] {
                let error = await #expect(throws: InvocationError.self) { try await client.call(function) }
                #expect(error?.code == code)
            }
            await server.shutDown()
            await client.shutDown()
        }
    }

    @Test func errorsKeepTheirCode() async throws {
        try await InProcessEngine.run { engine in
            let (server, client) = (engine.worker("server"), engine.worker("client"))
            server.function("fails::own", json: { _ in throw InvocationError(code: "teapot", message: "short") })
            server.function("fails::any", json: { _ in throw CancellationError() })
            server.function("fails::input") { (input: Sum) in input }
            server.function("ok::nothing", json: { _ in nil })
            server.connect()
            client.connect()
            _ = try await eventually { try await client.call("ok::nothing") }
            #expect(try await client.call("ok::nothing") == nil)
            for (function, code) in [
                ("fails::own", "teapot"), ("fails::any", "invocation_failed"), ("fails::input", "INVALID_ARGUMENTS"),
                ("no::such", "function_not_found"),
            ] {
                let error = await #expect(throws: InvocationError.self) { try await client.call(function, json: ["x": 1]) }
                #expect(error?.code == code)
            }
            let error = await #expect(throws: InvocationError.self) { try await client.enqueue("ok::nothing", queue: "q") }
            #expect(error?.code == "enqueue_error")
            await server.shutDown()
            await client.shutDown()
        }
    }

    @Test func timesOut() async throws {
        try await InProcessEngine.run { engine in
            let worker = engine.worker("slow")
            worker.function(
                "slow::never",
                json: { _ in
                    try await Task.sleep(for: .seconds(3600))
                    return nil
                })
            worker.connect()
            let error = await #expect(throws: InvocationError.self) {
                try await eventually(retrying: "function_not_found") { try await worker.call("slow::never", timeout: .milliseconds(200)) }
            }
            #expect(error?.code == InvocationError.timeoutCode)
            await worker.shutDown(deadline: .milliseconds(10))
        }
    }

    @Test func anUnreachableEngineFailsCallsInTime() async throws {
        let worker = WorkerClient(options: WorkerOptions(url: WebSocketURL(host: "127.0.0.1", port: 1), name: "lost"), logger: silent)
        worker.connect()
        let error = await #expect(throws: InvocationError.self) { try await worker.call("x", timeout: .milliseconds(100)) }
        #expect(error?.code == InvocationError.timeoutCode)
        await worker.shutDown()
    }

    @Test func aProviderSeesTriggersAndMayRefuse() async throws {
        try await InProcessEngine.run { engine in
            let (provider, user) = (engine.worker("provider"), engine.worker("user"))
            let (bindings, continuation) = AsyncStream.makeStream(of: String.self)
            provider.triggerType(
                TriggerTypeDeclaration(id: "kind", description: "k"),
                accept: { binding, _ in
                    if binding.config["bad"] == true { throw InvocationError(.triggerRegistrationFailed, "bad config") }
                    continuation.yield("+\(binding.target.functionID)")
                    return binding.id
                },
                release: { _, id, reason in
                    continuation.yield("-\(id) \(reason)")
                    return true
                })
            provider.connect()
            let id = user.trigger(type: "kind", function: "f", config: [:])
            user.trigger(type: "kind", function: "g", config: ["bad": true])
            user.connect()
            var iterator = bindings.makeAsyncIterator()
            #expect(await iterator.next() == "+f")
            user.unregisterTrigger(id)
            #expect(await iterator.next() == "-\(id) unregistered")
            await provider.shutDown()
            await user.shutDown()
        }
    }

    @Test func registrationsAndTraceSurviveAReconnect() async throws {
        try await InProcessEngine.run { engine in
            let (server, client) = (engine.worker("server"), engine.worker("client"))
            server.function("r::who", json: { _ in "here" })
            server.connect()
            client.connect()
            _ = try await eventually { try await client.call("r::who") }
            // The engine closes every connection with 1012; both come back by themselves.
            engine.restartConnections()
            let answer = try await eventually(retrying: nil) { try await client.call("r::who", timeout: .seconds(5)) }
            #expect(answer == "here")
            await server.shutDown()
            await client.shutDown()
        }
    }

    @Test func inputThatDoesNotFitNamesTheMember() async throws {
        struct Order: Decodable, Sendable {
            struct Item: Decodable, Sendable { var count: Int }
            var customer: String
            var items: [Item]
        }
        try await InProcessEngine.run { engine in
            let (server, client) = (engine.worker("server"), engine.worker("client"))
            server.function("orders::take") { (_: Order) in ["taken": true] }
            server.connect()
            client.connect()
            let good: JSONValue = ["customer": "c", "items": [["count": 1]]]
            _ = try await eventually { try await client.call("orders::take", json: good) }
            for (input, text) in [
                ([:], "'customer' is missing"), (["customer": 7, "items": []], "'customer' must be a string"),
                (["customer": "c", "items": [["count": 1], ["count": "x"]]], "'items[1].count' must be an integer"),
                (["customer": nil, "items": []], "'customer' is null; a string is expected"), ([], "'input' must be an object"),
            ] as [(JSONValue, String)] {
                let error = await #expect(throws: InvocationError.self) { try await client.call("orders::take", json: input) }
                #expect(error?.code == "INVALID_ARGUMENTS" && error?.message == "invalid input for orders::take: \(text)")
            }
            await server.shutDown()
            await client.shutDown()
        }
    }

    /// Provider and engine agree on what holds, whatever is refused, updated or left meanwhile.
    @Test func aRefusedUpdateLeavesTheOldBindingOnBothSides() async throws {
        try await InProcessEngine.run { engine in
            let (provider, user) = (engine.worker("provider"), engine.worker("user"))
            let (events, report) = AsyncStream.makeStream(of: String.self)
            provider.triggerType(
                TriggerTypeDeclaration(id: "kind", description: "k"),
                accept: { binding, current in
                    let version = Int(binding.config["v"]?.integer ?? 0)
                    guard version < 10 else { throw InvocationError(.triggerRegistrationFailed, "too new") }
                    report.yield("accept \(version) over \(current ?? 0)")
                    return version
                },
                release: { _, version, reason in
                    report.yield("release \(version) \(reason)")
                    return true
                })
            provider.connect()
            user.connect()
            let id = UUIDBits.random().text
            var iterator = events.makeAsyncIterator()
            user.onLoop { $0.registerTrigger(type: "kind", function: "f", config: ["v": 1], id: id) }
            #expect(await iterator.next() == "accept 1 over 0")
            user.onLoop { $0.registerTrigger(type: "kind", function: "f", config: ["v": 10], id: id) }
            // What the engine lists is in force again once the refusal has arrived.
            let listed: JSONValue? = try await eventually(retrying: "again") {
                let rows = try await user.call("engine::triggers::list")?["triggers"]?.array ?? []
                guard let row = rows.first(where: { $0["id"]?.string == id }), row["config"] == ["v": 1] else {
                    throw InvocationError(code: "again", message: "")
                }
                return row["config"]
            }
            #expect(listed == ["v": 1])
            await user.shutDown()
            #expect(await iterator.next() == "release 1 disconnected")
            await provider.shutDown()
        }
    }

    @Test func runEndsWithItsServiceGroup() async throws {
        try await InProcessEngine.run { engine in
            let worker = engine.worker("service")
            worker.function("service::here", json: { _ in true })
            let group = ServiceGroup(configuration: .init(services: [worker], logger: silent))
            let client = engine.worker("client")
            client.connect()
            async let running: Void = group.run()
            _ = try await eventually { try await client.call("service::here") }
            await group.triggerGracefulShutdown()
            try await running
            let error = await #expect(throws: InvocationError.self) { try await client.call("service::here") }
            #expect(error?.code == "function_not_found")
            await client.shutDown()
        }
    }

    @Test func cancellationEndsRunToo() async throws {
        try await InProcessEngine.run { engine in
            let worker = engine.worker("cancelled")
            let task = Task { try await worker.run() }
            task.cancel()
            try await task.value
        }
    }

    // MARK: Scaffolding

    /// Retries while the registration is on its way (or, with nil, whatever fails), up to a minute.
    private func eventually<Value>(retrying code: String? = "function_not_found", _ body: () async throws -> Value) async throws -> Value {
        let end = ContinuousClock.now + .seconds(60)
        while true {
            do { return try await body() } catch let error as InvocationError
                where (code == nil || error.code == code) && ContinuousClock.now < end
            {
                try await Task.sleep(for: .milliseconds(5))
            }
        }
    }
}

private let silent = {
    var logger = Logger(label: "silent")
    logger.logLevel = .critical
    return logger
}()
