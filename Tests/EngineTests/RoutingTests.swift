import IIIEngine
import IIIProtocol
import IIITestSupport
import IIIWorker
import Testing

/// The router itself, between real workers over real sockets in this process.
@Suite(.timeLimit(.minutes(3))) struct RoutingTests {
    private func connected(_ engine: InProcessEngine, _ name: String) -> WorkerClient {
        let worker = engine.worker(name)
        worker.connect()
        return worker
    }

    /// Waits until `count` calls of `function` in a row go through.
    private func settle(_ client: WorkerClient, _ function: String) async throws {
        let end = ContinuousClock.now + .seconds(60)
        while true {
            do {
                _ = try await client.call(function)
                return
            } catch let error as InvocationError where error.code == "function_not_found" && ContinuousClock.now < end {
                try await Task.sleep(for: .milliseconds(5))
            }
        }
    }

    @Test func theNewestOwnerServesAndTheOneBelowTakesOver() async throws {
        try await InProcessEngine.run { engine in
            let (old, client) = (connected(engine, "old"), connected(engine, "client"))
            old.function("who", json: { _ in "old" })
            try await settle(client, "who")
            let new = connected(engine, "new")
            new.function("who", json: { _ in "new" })
            new.function("new::here", json: { _ in true })
            try await settle(client, "new::here")
            #expect(try await client.call("who") == "new")
            await new.shutDown()
            #expect(try await client.call("who") == "old")
            await old.shutDown()
            await client.shutDown()
        }
    }

    @Test func roundRobinSharesTheLoad() async throws {
        try await InProcessEngine.run { engine in
            let client = connected(engine, "client")
            let workers = (0..<3).map { connected(engine, "w\($0)") }
            for (number, worker) in workers.enumerated() {
                worker.function("share", metadata: ["invocation_policy": "round_robin"], json: { _ in JSONValue(number) })
                worker.function("here::\(number)", json: { _ in true })
                try await settle(client, "here::\(number)")
            }
            var answers: [JSONValue: Int] = [:]
            for _ in 0..<30 { answers[try await client.call("share") ?? .null, default: 0] += 1 }
            #expect(answers == [0: 10, 1: 10, 2: 10])
            for worker in workers { await worker.shutDown() }
            await client.shutDown()
        }
    }

    @Test func whoeverWaitsForACalleeThatDiesIsToldAtOnce() async throws {
        try await InProcessEngine.run { engine in
            let (callee, client) = (connected(engine, "callee"), connected(engine, "client"))
            let (started, report) = AsyncStream.makeStream(of: Void.self)
            callee.function(
                "waits",
                json: { input in
                    guard input["long"] == true else { return nil }
                    report.yield()
                    try await Task.sleep(for: .seconds(3600))
                    return nil
                })
            try await settle(client, "waits")
            let answer = Task { try await client.call("waits", json: ["long": true], timeout: .seconds(60)) }
            for await _ in started { break }
            await callee.shutDown(deadline: .milliseconds(1))
            let error = await #expect(throws: InvocationError.self) { try await answer.value }
            #expect(error?.code == "invocation_stopped")
            await client.shutDown()
        }
    }

    @Test func aCallerHasNoMoreInFlightThanItMay() async throws {
        var options = EngineOptions()
        options.maximumInFlight = 4
        try await InProcessEngine.run(options: options) { engine in
            let (callee, client) = (connected(engine, "callee"), connected(engine, "client"))
            let (gate, open) = AsyncStream.makeStream(of: Void.self)
            let released = Task { for await _ in gate { break } }
            callee.function(
                "holds",
                json: { input in
                    if input["hold"] == true { await released.value }
                    return true
                })
            try await settle(client, "holds")
            let outcomes = await withTaskGroup(of: String.self) { group in
                for _ in 0..<12 {
                    group.addTask {
                        do { return "\(try await client.call("holds", json: ["hold": true]) ?? .null)" } catch let error as InvocationError
                        {
                            if error.code == "too_many_in_flight" { open.yield() }
                            return error.code
                        } catch { return "\(error)" }
                    }
                }
                return await group.reduce(into: [String: Int]()) { $0[$1, default: 0] += 1 }
            }
            #expect(outcomes["too_many_in_flight", default: 0] > 0 && outcomes.values.reduce(0, +) == 12)
            #expect(outcomes.count == 2, "\(outcomes)")
            open.finish()
            await callee.shutDown()
            await client.shutDown()
        }
    }
}
