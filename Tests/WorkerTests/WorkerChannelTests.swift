import IIIProtocol
import IIITestSupport
import Testing

@testable import IIIWorker

/// Channels through a real engine in this process.
@Suite(.timeLimit(.minutes(5))) struct WorkerChannelTests {
    private func connected(_ engine: InProcessEngine, _ name: String) -> WorkerClient {
        let worker = engine.worker(name)
        worker.connect()
        return worker
    }

    @Test func aFunctionStreamsIntoAChannelItWasGiven() async throws {
        try await InProcessEngine.run { engine in
            let producer = connected(engine, "producer")
            producer.function(
                "channels::count",
                json: { input in
                    guard let ref = input["into"].flatMap(ChannelRef.init(json:)) else {
                        throw InvocationError(.invalidArguments, "into is missing")
                    }
                    let writer = try await producer.openWriter(ref)
                    try await writer.write(.text("begin"))
                    for n in 0..<2_000 { try await writer.write([UInt8](repeating: UInt8(truncatingIfNeeded: n), count: 10_000)) }
                    writer.finish()
                    return ["written": 2_000]
                })
            let consumer = connected(engine, "consumer")
            let (write, read) = try await consumer.createChannel(bufferSize: 8)
            let reader = try await consumer.openReader(read)
            // The producer's registration may still be on its way: its connection is younger than the reader's.
            while try await consumer.call("engine::functions::list", json: ["prefix": "channels::"])?["functions"]?.array?.isEmpty ?? true {
                try await Task.sleep(for: .milliseconds(5))
            }
            async let answer = consumer.call("channels::count", json: ["into": write.json])
            var messages: [ChannelMessage] = []
            for try await message in reader { messages.append(message) }
            #expect(try await answer == ["written": 2_000])
            #expect(messages.first == .text("begin"))
            #expect(messages.count == 2_001)
            #expect(messages.last == .binary([UInt8](repeating: UInt8(truncatingIfNeeded: 1_999), count: 10_000)))
        }
    }

    @Test func aWriterThatGivesUpIsNoEnd() async throws {
        try await InProcessEngine.run { engine in
            let worker = connected(engine, "both")
            let (write, read) = try await worker.createChannel()
            let reader = try await worker.openReader(read)
            let writer = try await worker.openWriter(write)
            try await writer.write([1])
            writer.cancel()
            var seen = 0
            await #expect(throws: ChannelBroken.self) { for try await _ in reader { seen += 1 } }
            #expect(seen == 1)
        }
    }

    @Test func aWriterLearnsThatItsReaderIsGone() async throws {
        try await InProcessEngine.run { engine in
            let worker = connected(engine, "both")
            let (write, read) = try await worker.createChannel()
            let writer = try await worker.openWriter(write)
            try await writer.write([1])
            for try await _ in try await worker.openReader(read) { break }
            await #expect(throws: ChannelBroken.self) { while true { try await writer.write([2]) } }
        }
    }

    @Test func aReferenceThatOpensNothingIsAnError() async throws {
        try await InProcessEngine.run { engine in
            let worker = connected(engine, "one")
            let (write, _) = try await worker.createChannel()
            let forged = ChannelRef(channelID: write.channelID, accessKey: "wrong", direction: .read)
            await #expect(throws: ChannelBroken.self) { _ = try await worker.openReader(forged) }
        }
    }
}
