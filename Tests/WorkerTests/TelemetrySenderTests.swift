import IIITestSupport
import IIITransport
import NIOCore
import Testing

@testable import IIIEngine
@testable import IIIWorker

/// What a worker records on its way to a real engine.
@Suite(.serialized, .timeLimit(.minutes(3))) struct TelemetrySenderTests {
    /// Polls until `condition` holds.
    private static func wait(_ what: String, until condition: () async throws -> Bool) async throws {
        for _ in 0..<1_500 {
            if try await condition() { return }
            try await Task.sleep(for: .milliseconds(20))
        }
        Issue.record("not in time: \(what)")
    }

    private static func dropped(_ client: WorkerClient) -> Int64 {
        let points = client.telemetry.metrics.snapshot().first { $0.name == "iii.telemetry.dropped.total" }?.points
        guard case .integer(let count)? = points?.first?.value else { return 0 }
        return count
    }

    private static func queuedBytes(_ client: WorkerClient) async throws -> Int {
        try await client.onLink { link, promise in promise.succeed(link.queuedBytes) }
    }

    /// Frames that the engine has taken from its workers; nobody is configured to have them.
    private static func received(_ engine: InProcessEngine) async throws -> Int {
        let engine = engine.engine
        return try await engine.eventLoop.submit { engine.counters.telemetryDropped }.get()
    }

    private static func setReading(_ engine: InProcessEngine, _ reads: Bool) async throws {
        let engine = engine.engine
        try await engine.eventLoop.submit {
            for worker in engine.registry.workers.values { worker.connection?.readsAutomatically = reads }
        }.get()
    }

    private static func record(_ client: WorkerClient, _ count: Int, bytes: Int = 0) {
        let text = String(repeating: "x", count: bytes)
        for _ in 0..<count {
            let span = client.telemetry.span("work")
            span.set("text", .string(text))
            span.end()
        }
    }

    @Test func anEngineThatTakesNothingCostsAWorkerABoundedAmount() async throws {
        try await InProcessEngine.run { engine in
            let client = engine.worker("busy")
            client.telemetry.setSampler(Sampler())
            client.connect()
            _ = try await client.call("engine::workers::list")
            try await Self.setReading(engine, false)
            // Many times what sockets, link and buffer hold.
            try await Self.wait("spans to be dropped") {
                Self.record(client, 1_000, bytes: 4_000)
                return Self.dropped(client) > 10_000
            }
            #expect(try await Self.queuedBytes(client) < 8 << 20)
            try await Self.setReading(engine, true)
            // It catches up, and what it says about itself arrives.
            let before = try await Self.received(engine)
            try await Self.wait("frames to arrive again") { try await Self.received(engine) > before }
            try await Self.wait("the link to be free") { try await Self.queuedBytes(client) == 0 }
            await client.shutDown()
        }
    }

    @Test func whatWaitsWhileTheEngineIsAwayIsBoundedAndArrivesLater() async throws {
        try await InProcessEngine.run { engine in
            let client = engine.worker("early")
            client.telemetry.setSampler(Sampler())
            Self.record(client, 10_000)
            #expect(Self.dropped(client) == 10_000 - 8_192)
            client.connect()
            // 16 full batches, and the metrics.
            try await Self.wait("what was kept to arrive") { try await Self.received(engine) >= 17 }
            #expect(Self.dropped(client) == 10_000 - 8_192)
            await client.shutDown()
        }
    }

    @Test func theLastSpansAreSentBeforeTheEnd() async throws {
        try await InProcessEngine.run { engine in
            let client = engine.worker("brief")
            client.telemetry.setSampler(Sampler())
            client.connect()
            _ = try await client.call("engine::workers::list")
            try await Self.wait("its first metrics") { try await Self.received(engine) >= 1 }
            let before = try await Self.received(engine)
            Self.record(client, 1)
            await client.shutDown()
            try await Self.wait("spans and metrics to arrive") { try await Self.received(engine) >= before + 2 }
        }
    }
}
