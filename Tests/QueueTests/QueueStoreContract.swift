import Glibc
import IIIProtocol
import IIITestSupport
import IIIWorker
import Logging
import NIOCore
import NIOPosix
import Testing

@testable import IIIQueue

/// What holds for every queue store, whatever it is written to; `AdapterContract` fails for one that is registered and not tried.
@Suite(.serialized) struct QueueStoreContract {
    static let contract = AdapterContract(
        Queue.stores.withLock { $0 },
        configs: ["builtin": { ["store_method": "file_based", "file_path": .string(try temporaryDirectory()), "durability": "normal"] }])

    static func temporaryDirectory() throws -> String {
        var template = Array("/tmp/iii-queue-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw CancellationError() }
        return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// A store with its event loop, as asynchronous calls.
    final class Subject: @unchecked Sendable {
        let store: any QueueStore
        let eventLoop: any EventLoop
        let clock: LoopClock

        init(_ store: any QueueStore) {
            self.store = store
            eventLoop = MultiThreadedEventLoopGroup.singleton.next()
            clock = LoopClock(eventLoop)
        }

        func start() async throws -> StoredState {
            try await start(on: WorkerLoop(eventLoop))
        }

        private func start(on loop: isolated WorkerLoop) async throws -> StoredState {
            var logger = Logger(label: "contract")
            logger.logLevel = .critical
            return try await store.start(
                QueueStoreContext(eventLoop: eventLoop, name: "contract", clock: clock, logger: logger) { _ in }, on: loop)
        }

        func close() async { await close(on: WorkerLoop(eventLoop)) }
        private func close(on loop: isolated WorkerLoop) async { await store.close(on: loop) }

        /// One call of the store, on its loop.
        func ask<Value: Sendable>(_ body: @escaping @Sendable (any QueueStore, @escaping @Sendable (Value) -> Void) -> Void) async -> Value
        {
            await withCheckedContinuation { continuation in
                eventLoop.execute { [self] in body(store) { continuation.resume(returning: $0) } }
            }
        }

        func enqueue(_ queue: QueueKey, _ messages: QueueMessage..., due: Int? = nil, window: Int = 0) async throws -> [EnqueueAnswer] {
            let new = messages.map { NewMessage(queue, $0, due: due, deduplicationWindow: window) }
            let result: Result<[EnqueueAnswer], QueueStoreError> = await ask { store, done in store.enqueue(new) { done($0) } }
            return try result.get()
        }

        /// Claims until `count` messages have come.
        func claim(_ queue: QueueKey, _ count: Int, skipping: Set<TargetFunction> = []) async throws -> [StoredMessage] {
            var claimed: [StoredMessage] = []
            for _ in 0..<500 where claimed.count < count {
                let limit = count - claimed.count
                claimed += await ask { store, done in store.claim(queue, limit: limit, skipping: skipping) { done($0) } }
                if claimed.count < count { try await Task.sleep(for: .milliseconds(5)) }
            }
            return claimed
        }

        /// Nothing can be claimed, also not after a moment.
        func claimsNothing(_ queue: QueueKey) async throws -> Bool {
            for _ in 0..<5 {
                let found: [StoredMessage] = await ask { store, done in store.claim(queue, limit: 1, skipping: []) { done($0) } }
                if !found.isEmpty { return false }
                try await Task.sleep(for: .milliseconds(5))
            }
            return true
        }

        func settle(_ queue: QueueKey, _ message: StoredMessage, _ settlement: Settlement, resultTTL: Int = 0) async -> QueueStoreError? {
            await ask { store, done in store.settle(queue, message, settlement, resultTTL: resultTTL) { done($0) } }
        }

        func counts(_ queue: QueueKey) async -> QueueCounts { await ask { store, done in store.counts(queue) { done($0) } } }

        func dead(_ queue: QueueKey) async throws -> [DeadLetter] {
            let result: Result<[DeadLetter], QueueStoreError> = await ask { store, done in
                store.deadLetters([queue], offset: 0, limit: 100) { done($0) }
            }
            return try result.get()
        }

        func redrive(_ queue: QueueKey, _ selection: DeadLetterSelection = DeadLetterSelection()) async throws -> Int {
            let result: Result<Int, QueueStoreError> = await ask { store, done in store.redrive(queue, selection) { done($0) } }
            return try result.get()
        }

        func find(_ id: String) async throws -> FoundMessage? {
            let result: Result<FoundMessage?, QueueStoreError> = await ask { store, done in store.find(id) { done($0) } }
            return try result.get()
        }

        func cancel(_ id: String) async throws -> Bool {
            let result: Result<Bool, QueueStoreError> = await ask { store, done in store.cancel(id) { done($0) } }
            return try result.get()
        }
    }

    private static func run(_ name: String, _ body: (Subject) async throws -> Void) async throws {
        try await contract.run(name) { store in
            let subject = Subject(store)
            _ = try await subject.start()
            do { try await body(subject) } catch {
                await subject.close()
                throw error
            }
            await subject.close()
        }
    }

    private static let queue = QueueKey.named("q")

    private static func message(_ id: String, group: String? = nil, priority: Int = 0, function: String = "f") -> QueueMessage {
        QueueMessage(
            id: id, target: TargetFunction(function), payload: Array(#"{"id":"\#(id)"}"#.utf8), group: group, priority: priority,
            createdAt: 1)
    }

    private static func failure(_ text: String, attempts: Int = 1) -> MessageProgress {
        var progress = MessageProgress()
        progress.attempts = attempts
        progress.add(DeliveryFailure(at: 5, code: "boom", message: text, stacktrace: "here"))
        return progress
    }

    @Test(arguments: contract.names) func messagesComeInOrderAsTheyWereAndOnce(_ name: String) async throws {
        try await Self.run(name) { store in
            var first = Self.message("m1")
            first.metadata = Array("{}".utf8)
            first.traceparent = "trace"
            first.baggage = "k=v"
            first.expiresAt = 99
            for message in [first, Self.message("m2"), Self.message("m3", priority: 5)] { _ = try await store.enqueue(Self.queue, message) }
            let claimed = try await store.claim(Self.queue, 3)
            #expect(claimed.map(\.message.id) == ["m3", "m1", "m2"])
            #expect(claimed[1].message == first)
            #expect(try await store.claimsNothing(Self.queue))
            for message in claimed { #expect(await store.settle(Self.queue, message, .done(result: nil)) == nil) }
            #expect(await store.counts(Self.queue).live == 0)
        }
    }

    @Test(arguments: contract.names) func ofAGroupOneMessageIsOutAtATime(_ name: String) async throws {
        try await Self.run(name) { store in
            for (id, group) in [("g1", "g"), ("g2", "g"), ("h1", "h"), ("g3", "g")] {
                _ = try await store.enqueue(Self.queue, Self.message(id, group: group))
            }
            let heads = try await store.claim(Self.queue, 2)
            #expect(heads.map(\.message.id) == ["g1", "h1"])
            #expect(try await store.claimsNothing(Self.queue))
            // In a pause, and dead: the first blocks until it is gone.
            #expect(await store.settle(Self.queue, heads[0], .retry(due: store.clock.now + 30, Self.failure("x"))) == nil)
            let again = try await store.claim(Self.queue, 1)
            #expect(again.map(\.message.id) == ["g1"] && again[0].progress.attempts == 1)
            #expect(await store.settle(Self.queue, again[0], .dead(Self.failure("y", attempts: 2))) == nil)
            let next = try await store.claim(Self.queue, 1)
            #expect(next.map(\.message.id) == ["g2"])
            // Redriven behind what waits, in its own group.
            #expect(try await store.redrive(Self.queue) == 1)
            #expect(await store.settle(Self.queue, next[0], .done(result: nil)) == nil)
            let third = try await store.claim(Self.queue, 1)
            #expect(third.map(\.message.id) == ["g3"])
            #expect(await store.settle(Self.queue, third[0], .done(result: nil)) == nil)
            let last = try await store.claim(Self.queue, 1)
            #expect(last.map(\.message.id) == ["g1"] && last[0].progress == MessageProgress())
        }
    }

    @Test(arguments: contract.names) func deadMessagesKeepAllOfThemselves(_ name: String) async throws {
        try await Self.run(name) { store in
            for id in ["a", "b", "c"] { _ = try await store.enqueue(Self.queue, Self.message(id)) }
            for message in try await store.claim(Self.queue, 3) {
                #expect(await store.settle(Self.queue, message, .dead(Self.failure(message.message.id))) == nil)
                try await Task.sleep(for: .milliseconds(3))
            }
            let dead = try await store.dead(Self.queue)
            #expect(dead.map(\.stored.message.id) == ["c", "b", "a"])
            #expect(dead[0].stored.progress.failures == Self.failure("c").failures)
            #expect(dead[0].stored.message.payload == Array(#"{"id":"c"}"#.utf8))
            var one = DeadLetterSelection()
            one.id = "b"
            #expect(try await store.redrive(Self.queue, one) == 1)
            #expect(try await store.redrive(Self.queue, one) == 0)
            var matching = DeadLetterSelection()
            matching.errorContains = "boom: a"
            #expect(try await store.redrive(Self.queue, matching) == 1)
            #expect(try await store.claim(Self.queue, 2).map(\.message.id) == ["b", "a"])
            #expect(await store.counts(Self.queue)[.dead] == 1)
        }
    }

    @Test(arguments: contract.names) func aKeyStandsForItsMessageUntilItsWindowEndsOrItIsTakenOut(_ name: String) async throws {
        try await Self.run(name) { store in
            func keyed(_ id: String) -> QueueMessage {
                var message = Self.message(id)
                message.deduplicationKey = "k"
                return message
            }
            let first = try await store.enqueue(Self.queue, keyed("m1"), window: 60_000)
            let second = try await store.enqueue(Self.queue, keyed("m2"), window: 60_000)
            #expect(first == [EnqueueAnswer(id: "m1", isDuplicate: false)] && second == [EnqueueAnswer(id: "m1", isDuplicate: true)])
            #expect(try await store.enqueue(.named("other"), keyed("m3"), window: 60_000).first?.isDuplicate == false)
            #expect(try await store.cancel("m1"))
            #expect(try await !store.cancel("m1"))
            #expect(try await store.enqueue(Self.queue, keyed("m4"), window: 1).first?.isDuplicate == false)
            try await Task.sleep(for: .milliseconds(5))
            #expect(try await store.enqueue(Self.queue, keyed("m5"), window: 1).first?.isDuplicate == false)
            #expect(try await store.claim(Self.queue, 2).map(\.message.id) == ["m4", "m5"])
        }
    }

    @Test(arguments: contract.names) func whatIsHeldComesWithItsFunctionAndHoldsUpNobody(_ name: String) async throws {
        try await Self.run(name) { store in
            for number in 0..<5 { _ = try await store.enqueue(Self.queue, Self.message("m\(number)", function: "missing")) }
            _ = try await store.enqueue(Self.queue, Self.message("here"))
            let missing: Set<TargetFunction> = [TargetFunction("missing")]
            #expect(try await store.claim(Self.queue, 1, skipping: missing).map(\.message.id) == ["here"])
            for _ in 0..<500 where await store.counts(Self.queue)[.held] < 5 { try await Task.sleep(for: .milliseconds(5)) }
            store.eventLoop.execute { store.store.wake(Self.queue, missing) }
            #expect(try await store.claim(Self.queue, 5).map(\.message.id) == ["m0", "m1", "m2", "m3", "m4"])
        }
    }

    @Test(arguments: contract.names) func aMessageIsFoundByItsReceipt(_ name: String) async throws {
        try await Self.run(name) { store in
            _ = try await store.enqueue(Self.queue, Self.message("late"), due: store.clock.now + 60_000)
            _ = try await store.enqueue(Self.queue, Self.message("done"))
            let claimed = try await store.claim(Self.queue, 1)
            #expect(await store.settle(Self.queue, claimed[0], .done(result: Array("7".utf8)), resultTTL: 60_000) == nil)
            #expect(try await store.find("done")?.state == .done(result: Array("7".utf8)))
            guard case .live(.delayed, let due)? = try await store.find("late")?.state else {
                Issue.record("a delayed message is not found")
                return
            }
            #expect(due > store.clock.now + 30_000)
            #expect(try await store.find("never") == nil)
        }
    }

    @Test func aStoreOnDiskFindsEverythingAgain() async throws {
        let directory = try Self.temporaryDirectory()
        let topic = QueueKey.subscription(.init(topic: "t", function: "f", namespace: "n"))
        let before = Subject(BuiltinQueueStore(.file(directory: directory, .normal, quota: nil)))
        _ = try await before.start()
        for id in ["m1", "m2", "m3"] { _ = try await before.enqueue(topic, Self.message(id, group: "*")) }
        let head = try await before.claim(topic, 1)
        #expect(head.map(\.message.id) == ["m1"])
        let binding = StoredBinding(
            id: "s", subscription: .init(topic: "t", function: "f", namespace: "n"), config: Array("{}".utf8), metadata: nil, seenAt: 3)
        let kept: QueueStoreError? = await before.ask { store, done in store.keep(binding) { done($0) } }
        #expect(kept == nil)
        var record = QueueRecord()
        record.isPaused = true
        record.definition = Array(#"{"concurrency":2}"#.utf8)
        let stored: QueueStoreError? = await before.ask { [record] store, done in store.configure(.named("defined"), record) { done($0) } }
        #expect(stored == nil)
        await before.close()
        let after = Subject(BuiltinQueueStore(.file(directory: directory, .normal, quota: nil)))
        let state = try await after.start()
        #expect(state.bindings == [binding] && state.records == [.named("defined"): record])
        // What was being delivered is first again, and nothing of its group comes before it.
        #expect(try await after.claim(topic, 1).map(\.message.id) == ["m1"])
        #expect(try await after.claimsNothing(topic))
        #expect(await after.counts(topic)[.behind] == 2)
        await after.close()
    }
}
