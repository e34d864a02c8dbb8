import Glibc
import IIIProtocol
import IIITestSupport
import IIIWorker
import NIOCore
import Testing

@testable import IIIEngine

/// What the engine holds for those who are not there or do not read, between real workers over real sockets in this process.
@Suite(.timeLimit(.minutes(3))) struct LoadTests {
    private func connected(_ worker: WorkerClient) -> WorkerClient {
        worker.connect()
        return worker
    }

    /// Waits until `condition` holds on the engine's loop; the suite's limit is the deadline.
    private func wait(_ engine: InProcessEngine, _ condition: @escaping @Sendable (Engine) -> Bool) async throws {
        while try await !engine.engine.eventLoop.submit({ condition(engine.engine) }).get() { try await Task.sleep(for: .milliseconds(2)) }
    }

    private func isServed(_ id: String) -> @Sendable (Engine) -> Bool { { $0.registry.functions.lookup(FunctionKey(id)) != nil } }

    private func code(of call: Task<JSONValue?, any Error>) async -> String {
        do { return "\(try await call.value ?? .null)" } catch { return (error as? InvocationError)?.code ?? "\(error)" }
    }

    // MARK: Held calls

    /// An engine whose core worker `own` has served `own::x` and left.
    private func withoutItsWorker(_ options: EngineOptions, _ body: (InProcessEngine, WorkerClient) async throws -> Void) async throws {
        try await InProcessEngine.run(options: options) { engine in
            let client = connected(engine.worker("client"))
            let worker = connected(engine.coreWorker("own"))
            worker.function("own::x", json: { _ in 1 })
            try await wait(engine, isServed("own::x"))
            // One that shuts down takes its functions back: nobody waits for those.
            engine.breakOff("own")
            try await wait(engine) { $0.held.isExpected("own::x") }
            try await body(engine, client)
            await worker.shutDown()
            await client.shutDown()
        }
    }

    @Test func callsOfARestartingCoreWorkerWaitForItInTheirOrder() async throws {
        var options = EngineOptions()
        options.holdTimeout = .minutes(5)
        try await withoutItsWorker(options) { engine, client in
            var calls: [Task<JSONValue?, any Error>] = []
            for number in 1...3 {
                calls.append(Task { try await client.call("own::x", json: ["number": JSONValue(number)]) })
                try await wait(engine) { $0.counters.callsHeld == number }
            }
            let (order, report) = AsyncStream.makeStream(of: JSONValue.self)
            let again = connected(engine.coreWorker("own"))
            again.function(
                "own::x",
                json: { input in
                    report.yield(input["number"] ?? .null)
                    return 2
                })
            for call in calls { #expect(try await call.value == 2) }
            report.finish()
            var seen: [JSONValue] = []
            for await number in order { seen.append(number) }
            #expect(seen == [1, 2, 3])
            try await wait(engine) { $0.held.waitingBytes == 0 && !$0.held.isExpected("own::x") }
            await again.shutDown()
        }
    }

    @Test func noMoreCallsAreHeldThanMayBe() async throws {
        var options = EngineOptions()
        options.maximumHeldCalls = 1
        options.holdTimeout = .seconds(10)
        try await withoutItsWorker(options) { engine, client in
            let first = Task { try await client.call("own::x") }
            try await wait(engine) { $0.counters.callsHeld == 1 }
            #expect(await code(of: Task { try await client.call("own::x") }) == "function_unavailable")
            #expect(await code(of: first) == "function_not_found", "it does not wait for ever")
            try await wait(engine) { $0.held.waitingBytes == 0 && $0.counters.heldCallsRefused == 1 }
        }
    }

    @Test func heldCallsAreBoundedInBytes() async throws {
        var options = EngineOptions()
        options.heldCallsBufferBytes = 10_000
        options.holdTimeout = .minutes(5)
        try await withoutItsWorker(options) { engine, client in
            #expect(
                await code(of: Task { try await client.call("own::x", json: ["a": .string(String(repeating: "a", count: 20_000))]) })
                    == "function_unavailable")
            let waitingBytes = try await engine.engine.eventLoop.submit { engine.engine.held.waitingBytes }.get()
            #expect(waitingBytes == 0)
        }
    }

    // MARK: Back-pressure

    @Test func aWorkerThatDoesNotReadSlowsItsFeederAndNobodyElse() async throws {
        var options = EngineOptions()
        options.outboundHighWater = 65_536
        try await InProcessEngine.run(options: options) { engine in
            let feeder = connected(engine.worker("feeder"))
            let (other, served) = (connected(engine.worker("other")), connected(engine.worker("served")))
            served.function("quick", json: { _ in true })
            try await wait(engine, isServed("quick"))
            let silent = try SilentWorker(port: engine.url.port, function: "silent")
            try await wait(engine, isServed("silent"))
            let payload: JSONValue = ["a": .string(String(repeating: "a", count: 1_000_000))]
            let calls = (0..<40).map { _ in Task { try await feeder.call("silent", json: payload) } }
            try await wait(engine) { $0.counters.peersPaused >= 1 }
            for _ in 0..<20 { #expect(try await other.call("quick") == true) }
            silent.close()
            // What the engine had not read by then finds nobody.
            for call in calls { #expect(["invocation_stopped", "function_not_found"].contains(await code(of: call))) }
            #expect(try await feeder.call("quick") == true, "it is read again")
            for worker in [feeder, other, served] { await worker.shutDown() }
        }
    }

    // MARK: Telemetry

    private static let frame = Array(#"OTLP{"resourceSpans":[]}"#.utf8)

    private func receive(_ count: Int, of frame: [UInt8] = Self.frame, _ engine: InProcessEngine) async throws {
        try await engine.engine.eventLoop.submit {
            guard let sender = engine.engine.registry.workers.values.first(where: { !$0.isPrivileged })?.connection else { return }
            for _ in 0..<count { frame.withUnsafeBytes { engine.engine.telemetry.received($0, from: sender) } }
        }.get()
    }

    /// With a worker that frames may come from.
    private func withSender(_ options: EngineOptions = EngineOptions(), _ body: (InProcessEngine) async throws -> Void) async throws {
        try await InProcessEngine.run(options: options) { engine in
            let sender = connected(engine.worker("sender"))
            try await wait(engine) { $0.registry.workers.values.contains { !$0.isPrivileged } }
            try await body(engine)
            await sender.shutDown()
        }
    }

    @Test func telemetryThatNobodyIsConfiguredToTakeIsDropped() async throws {
        try await withSender { engine in
            try await receive(3, engine)
            // The worker itself sends some, every few seconds.
            try await wait(engine) { $0.counters.telemetryUnwanted >= 3 && $0.counters.telemetryRelayed == 0 }
        }
    }

    @Test func telemetryWaitsForItsConsumerAndTheOldestMakesRoom() async throws {
        // Workers of this library send small frames of their own, so room for four of these and a little more.
        let frame = Array("OTLP{\"resourceSpans\":[],\"a\":\"\(String(repeating: "a", count: 100_000))\"}".utf8)
        var options = EngineOptions()
        options.telemetryBufferBytes = frame.count * 4 + 50_000
        try await withSender(options) { engine in
            try await engine.engine.eventLoop.submit { engine.engine.configurationChanged(TelemetryRelay.consumer, .null) }.get()
            try await receive(10, of: frame, engine)
            try await wait(engine) { $0.counters.telemetryOverflowed >= 6 && $0.telemetry.waitingBytes <= $0.options.telemetryBufferBytes }
            let consumer = connected(engine.coreWorker(TelemetryRelay.consumer))
            _ = try await consumer.call("core::builtin::ready", json: ["name": .string(TelemetryRelay.consumer)])
            try await wait(engine) { $0.counters.telemetryRelayed >= 4 && $0.telemetry.waitingBytes == 0 }
            let relayed = try await engine.engine.eventLoop.submit { engine.engine.counters.telemetryRelayed }.get()
            try await receive(2, of: frame, engine)
            try await wait(engine) { $0.counters.telemetryRelayed >= relayed + 2 && $0.counters.telemetryOutrun == 0 }
            await consumer.shutDown()
        }
    }

    @Test func metricsThatAreNoDocumentAreCountedAndLeftToTheirReceiver() async throws {
        try await withSender { engine in
            try await engine.engine.eventLoop.submit { engine.engine.configurationChanged(TelemetryRelay.consumer, .null) }.get()
            try await receive(1, of: Array("MTRC{".utf8), engine)
            try await wait(engine) { $0.counters.telemetryMalformed == 1 }
        }
    }
}

/// A worker that serves a function and reads nothing after its handshake.
private final class SilentWorker {
    private let descriptor: Int32

    private struct Refused: Error {}

    init(port: Int, function: String) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        let isConnected = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
        let request =
            "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            + "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        let message = Array(#"{"type":"registerfunction","id":"\#(function)"}"#.utf8)
        // One text frame, masked with zeros.
        let frame = [0x81, 0x80 | UInt8(message.count), 0, 0, 0, 0] + message
        guard isConnected, message.count < 126, write(request.utf8.map { $0 }), awaitUpgrade(), write(frame) else { throw Refused() }
    }

    func close() { _ = Glibc.close(descriptor) }

    private func write(_ bytes: [UInt8]) -> Bool { Glibc.write(descriptor, bytes, bytes.count) == bytes.count }

    private func awaitUpgrade() -> Bool {
        var answer: [UInt8] = []
        var byte: UInt8 = 0
        while !answer.suffix(4).elementsEqual([13, 10, 13, 10]) {
            guard read(descriptor, &byte, 1) == 1 else { return false }
            answer.append(byte)
        }
        return answer.starts(with: Array("HTTP/1.1 101".utf8))
    }
}
