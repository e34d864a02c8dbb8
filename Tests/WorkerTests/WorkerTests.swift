import Glibc
import IIIEngine
import IIIProtocol
import Logging
import NIOCore
import NIOPosix
import Testing

@testable import IIIWorker

/// The public worker against a real engine over real sockets, in one process.
@Suite(.serialized, .timeLimit(.minutes(1))) struct WorkerTests {
    struct Sum: Codable, Sendable, Equatable { var a: Int, b: Int }

    @Test func codableCallRoundTrip() async throws {
        try await withEngine { engine in
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
        try await withEngine { engine in
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
        try await withEngine { engine in
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
        try await withEngine { engine in
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
        let worker = testWorker(WebSocketURL(host: "127.0.0.1", port: 1), "lost")
        worker.connect()
        let error = await #expect(throws: InvocationError.self) { try await worker.call("x", timeout: .milliseconds(100)) }
        #expect(error?.code == InvocationError.timeoutCode)
        await worker.shutDown()
    }

    @Test func aProviderSeesTriggersAndMayRefuse() async throws {
        try await withEngine { engine in
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
        try await withEngine { engine in
            let (server, client) = (engine.worker("server"), engine.worker("client"))
            server.function("r::who", json: { _ in "here" })
            server.connect()
            client.connect()
            _ = try await eventually { try await client.call("r::who") }
            // The engine closes every connection with 1012; both come back by themselves.
            engine.engine.eventLoop.execute { engine.engine.restartConnections() }
            let answer = try await eventually(retrying: nil) { try await client.call("r::who", timeout: .seconds(5)) }
            #expect(answer == "here")
            await server.shutDown()
            await client.shutDown()
        }
    }

    // MARK: Scaffolding

    /// Retries while the registration is on its way (or, with nil, whatever fails), up to ten seconds.
    private func eventually<Value>(retrying code: String? = "function_not_found", _ body: () async throws -> Value) async throws -> Value {
        let end = ContinuousClock.now + .seconds(10)
        while true {
            do { return try await body() } catch let error as InvocationError
                where (code == nil || error.code == code) && ContinuousClock.now < end
            {
                try await Task.sleep(for: .milliseconds(5))
            }
        }
    }
}

extension Engine {
    /// What a restart looks like to workers.
    fileprivate func restartConnections() {
        for worker in registry.workers.values { worker.connection?.close(.serviceRestart) }
    }
}
