import IIIQueue
import IIIWorker
import Logging
import NIOCore
import NIOPosix
import Synchronization

/// What every `PubSubBus` has to do, as cases that a test runs one by one, as those of `QueueStoreContract`.
public enum PubSubBusContract {
    /// Opens the bus under test, each time with the same broker behind it.
    public typealias OpenBus = @Sendable () async throws -> sending any PubSubBus

    public struct Case: Sendable, CustomStringConvertible {
        /// What is promised.
        public let description: String
        let body: @Sendable (OpenBus) async throws -> Void

        /// Throws `QueueStoreContract.Broken` where the bus does otherwise.
        public func run(_ open: @escaping OpenBus) async throws { try await body(open) }
    }

    /// All of them, for the arguments of a test.
    public static let cases: [Case] = [
        Case(description: "messages reach their topic only, in order, with every byte") { open in
            let bus = try await BusUnderTest.start(open)
            try await bus.subscribe("a")
            try await bus.subscribe("b")
            for (topic, payload) in [("a", #"{"n": 1.10, "items": []}"#), ("A", "2"), ("b", "null"), ("a", "3")] {
                try await bus.publish(topic, payload)
            }
            try await bus.hears([("a", #"{"n": 1.10, "items": []}"#), ("b", "null"), ("a", "3")])
            await bus.close()
        },
        Case(description: "what nobody hears is gone, and no error") { open in
            let bus = try await BusUnderTest.start(open)
            try await bus.publish("a", "1")
            try await bus.subscribe("a")
            await bus.unsubscribe("a")
            try await bus.publish("a", "2")
            try await bus.subscribe("a")
            try await bus.publish("a", "3")
            try await bus.hears([("a", "3")])
            await bus.close()
        },
        Case(description: "a thousand messages of one publisher keep their order") { open in
            let bus = try await BusUnderTest.start(open)
            try await bus.subscribe("a")
            await withTaskGroup(of: Void.self) { group in
                group.addTask { for number in 0..<1000 { try? await bus.publish("a", "\(number)") } }
            }
            try await bus.hears((0..<1000).map { ("a", "\($0)") })
            await bus.close()
        },
    ]
}

/// A bus with its event loop, as asynchronous calls.
final class BusUnderTest: @unchecked Sendable {
    private let bus: any PubSubBus
    private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    /// Behind every topic, so that runs do not meet in a shared broker.
    private let mark = "-\(UInt64.random(in: 0...UInt64.max))"
    private let heard = Mutex<[(topic: String, payload: String)]>([])
    /// Payload by which a subscription is recognised as being in force.
    private static let probe = #""is it there?""#

    static func start(_ open: PubSubBusContract.OpenBus) async throws -> BusUnderTest {
        let subject = BusUnderTest(try await open())
        try await subject.start(on: WorkerLoop(subject.group.next()))
        return subject
    }

    private init(_ bus: any PubSubBus) { self.bus = bus }

    private func start(on loop: isolated WorkerLoop) async throws {
        var logger = Logger(label: "contract")
        logger.logLevel = .critical
        let context = PubSubContext(eventLoop: group.next(), name: "contract", logger: logger) { [weak self] topic, payload in
            guard let self, topic.hasSuffix(mark) else { return }
            heard.withLock { $0.append((String(topic.dropLast(mark.count)), String(decoding: payload, as: UTF8.self))) }
        }
        try await bus.start(context, on: loop)
    }

    func close() async {
        await close(on: WorkerLoop(group.next()))
        try? await group.shutdownGracefully()
    }
    private func close(on loop: isolated WorkerLoop) async { await bus.close(on: loop) }

    func publish(_ topic: String, _ payload: String) async throws {
        let error: InvocationError? = await withCheckedContinuation { continuation in
            group.next().execute { [self] in bus.publish(topic + mark, Array(payload.utf8)) { continuation.resume(returning: $0) } }
        }
        if let error { throw error }
    }

    /// Returns once the subscription is in force.
    func subscribe(_ topic: String) async throws {
        group.next().execute { [self] in bus.subscribe(topic + mark) }
        for _ in 0..<1000 {
            try await publish(topic, Self.probe)
            for _ in 0..<5 {
                if heard.withLock({ $0.contains { $0.topic == topic && $0.payload == Self.probe } }) { return }
                try await Task.sleep(for: .milliseconds(4))
            }
        }
        throw QueueStoreContract.Broken(description: "a subscription does not come into force")
    }

    func unsubscribe(_ topic: String) async {
        await withCheckedContinuation { (done: CheckedContinuation<Void, Never>) in
            group.next().execute { [self] in
                bus.unsubscribe(topic + mark)
                done.resume()
            }
        }
        heard.withLock { $0.removeAll { $0.topic == topic && $0.payload == Self.probe } }
    }

    /// Exactly these messages, in this order, have come, or come within 20 s.
    func hears(_ wanted: [(String, String)]) async throws {
        var found: [(topic: String, payload: String)] = []
        for _ in 0..<2000 {
            found = heard.withLock { $0 }.filter { $0.payload != Self.probe }
            if found.count >= wanted.count { break }
            try await Task.sleep(for: .milliseconds(10))
        }
        try QueueStoreContract.equal(found.map { "\($0.topic) \($0.payload)" }, wanted.map { "\($0.0) \($0.1)" }, "what was heard")
    }
}
