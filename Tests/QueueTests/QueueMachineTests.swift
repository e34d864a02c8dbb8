import IIIProtocol
import Testing

@testable import IIIQueue

@Suite struct QueueMachineTests {
    private static func message(_ id: String, function: String = "f", maxAttempts: Int = 3) -> StoredMessage {
        StoredMessage(
            sequence: 1, rank: 1,
            message: QueueMessage(
                id: id, target: TargetFunction(function), payload: Array("1".utf8), createdAt: 0, maxAttempts: maxAttempts,
                backoffMilliseconds: 100))
    }

    /// The lease of the one delivery among `effects`.
    private static func lease(_ effects: [QueueMachine.Effect]) throws -> Lease {
        try #require(effects.lazy.compactMap { if case .deliver(let lease) = $0 { lease } else { nil } }.first)
    }

    private static func settlement(_ effects: [QueueMachine.Effect]) -> Settlement? {
        effects.lazy.compactMap { if case .settle(_, _, let settlement) = $0 { settlement } else { nil } }.first
    }

    @Test func asksForAsManyAsItHasSlots() throws {
        var options = QueueOptions()
        options.concurrency = 2
        var machine = QueueMachine(options: options)
        #expect(machine.fed(now: 0) == [.claim(limit: 2, skipping: [])])
        #expect(machine.fed(now: 0) == [])
        let first = machine.claimed([Self.message("a"), Self.message("b")], limit: 2, now: 0)
        #expect(first.count == 2 && machine.running.count == 2)
        let done = machine.answered(1, .succeeded(result: nil), now: 1, random: 0)
        #expect(Self.settlement(done) == .done(result: nil))
        // The slot is free at once, not only when the outcome is stored.
        #expect(done.last == .claim(limit: 1, skipping: []))
        #expect(machine.claimed([], limit: 1, now: 1) == [])
        #expect(machine.proceed(now: 1) == [])
    }

    @Test func anAnswerToAnOlderDeliveryChangesNothing() throws {
        var machine = QueueMachine(options: QueueOptions())
        _ = machine.fed(now: 0)
        let lease = try Self.lease(machine.claimed([Self.message("a", maxAttempts: 1)], limit: 10, now: 0))
        guard case .dead? = Self.settlement(machine.answered(lease.id, .failed(code: "timeout", message: ""), now: 5, random: 0)) else {
            Issue.record("it is not dead")
            return
        }
        #expect(machine.answered(lease.id, .succeeded(result: nil), now: 6, random: 0) == [])
    }

    @Test func anOutcomeThatTheStoreRefusesIsOfferedAgain() throws {
        var machine = QueueMachine(options: QueueOptions())
        _ = machine.fed(now: 0)
        let message = Self.message("a")
        let lease = try Self.lease(machine.claimed([message], limit: 10, now: 0))
        _ = machine.answered(lease.id, .succeeded(result: nil), now: 1, random: 0)
        #expect(machine.settled(lease.id, message, error: "full", now: 2) == [.settleLater(lease.id, message, .done(result: nil))])
        #expect(machine.obstacle(now: 2) == .storeFails("full") && !machine.isIdle)
        _ = machine.settled(lease.id, message, error: nil, now: 3)
        #expect(machine.isIdle && machine.obstacle(now: 3) == nil)
    }

    @Test func onlyRealAttemptsCount() throws {
        var machine = QueueMachine(options: QueueOptions())
        var message = Self.message("a", maxAttempts: 2)
        let outcomes: [(DeliveryOutcome, Int)] = [
            (.undelivered, 0), (.workerEnded(isClean: true), 0), (.workerEnded(isClean: false), 0), (.failed(code: "x", message: ""), 1),
        ]
        for (outcome, attempts) in outcomes {
            _ = machine.fed(now: 0)
            let lease = try Self.lease(machine.claimed([message], limit: 10, now: 0))
            switch Self.settlement(machine.answered(lease.id, outcome, now: 0, random: 0)) {
            case .retry(_, let progress):
                #expect(progress.attempts == attempts)
                message.progress = progress
            case .release: #expect(attempts == 0)
            case let other: Issue.record("\(outcome) became \(String(describing: other))")
            }
            _ = machine.settled(lease.id, message, error: nil, now: 0)
        }
        #expect(message.progress.crashes == 1)
    }

    @Test func aLostEngineGivesEverythingBackAsItWas() throws {
        var machine = QueueMachine(options: QueueOptions())
        _ = machine.fed(now: 0)
        let lease = try Self.lease(machine.claimed([Self.message("a")], limit: 10, now: 0))
        #expect(Self.settlement(machine.engineLost()) == .release)
        #expect(machine.answered(lease.id, .succeeded(result: nil), now: 1, random: 0) == [])
        #expect(machine.proceed(now: 1) == [] && machine.obstacle(now: 1) == .engineAway)
    }

    @Test func pausesDoubleUpToTheirLimitWithoutOverflow() {
        var options = QueueOptions()
        options.jitter = 0
        #expect((1...4).map { options.pause(after: $0, base: 50, random: 0) } == [50, 100, 200, 400])
        for attempt in [40, 63, 64, 1_000_000, Int.max] {
            #expect(options.pause(after: attempt, base: 1, random: 0) == options.backoffMaximum)
        }
        #expect(options.pause(after: 1, base: .max, random: 0) == options.backoffMaximum)
        #expect(options.pause(after: 90, base: 0, random: 0) == 0)
        options.jitter = 0.5
        #expect(options.pause(after: 1, base: 100, random: 0.999) == 149)
        options.backoff = .fixed
        #expect(options.pause(after: 9, base: 100, random: 0) == 100)
    }

    @Test func noSpanOfTimeSeesMoreStartsThanTheRate() {
        var limit = RateLimit(.init(max: 3, milliseconds: 100))
        var starts: [Int] = []
        var generator = SystemRandomNumberGenerator()
        var now = 0
        while starts.count < 200 {
            for _ in 0..<limit.allowance(now: now, wanted: Int.random(in: 1...5, using: &generator)) {
                limit.started(now: now)
                starts.append(now)
            }
            if let next = limit.nextAllowance(now: now) { #expect(next > now) }
            now += Int.random(in: 1...30, using: &generator)
        }
        for index in 3..<starts.count { #expect(starts[index] - starts[index - 3] >= 100) }
    }

    @Test func sortedKeysStaySorted() {
        var generator = SystemRandomNumberGenerator()
        var keys = SortedKeys()
        var model: Set<SortedKeys.Key> = []
        for _ in 0..<3000 {
            let key = SortedKeys.Key(rank: Int.random(in: 0...50, using: &generator), sequence: Int.random(in: 0...50, using: &generator))
            if Bool.random(using: &generator) {
                keys.insert(key.rank, key.sequence)
                model.insert(key)
            } else {
                keys.remove(key.rank, key.sequence)
                model.remove(key)
            }
            #expect(keys.count == model.count)
        }
        #expect(Array(keys.all) == model.sorted())
    }
}

@Suite struct SubscriberConfigurationTests {
    @Test(arguments: [
        (#"{"topic":"t"}"#, 3, 1000, 10, false),
        (#"{"topic":"t","queue_config":{"maxRetries":5,"type":"standard","concurrency":2,"backoffDelayMs":20}}"#, 6, 20, 2, false),
        (#"{"topic":"t","queue_config":{"max_retries":0,"type":"FIFO"}}"#, 1, 1000, 10, true),
        (#"{"topic":"t","maxRetries":1,"queue_config":{"max_retries":9}}"#, 2, 1000, 10, false),
        (#"{"queue":"t","queue_config":7}"#, 3, 1000, 10, false),
    ])
    func bothSpellingsInBothPlaces(_ text: String, _ attempts: Int, _ backoff: Int, _ concurrency: Int, _ isSerial: Bool) throws {
        let config = try #require(try SubscriberConfiguration(.init(parsing: text), defaults: QueueOptions()))
        #expect(config.topic == "t" && config.options.maxAttempts == attempts && config.options.backoffMilliseconds == backoff)
        #expect(config.options.concurrency == concurrency && config.options.isSerial == isSerial && config.ignored.isEmpty)
    }

    @Test func whatCannotBeUsedIsNamed() throws {
        let text = #"{"topic":"t","queue_config":{"maxRetries":"x","type":1,"delaySeconds":-1}}"#
        let config = try SubscriberConfiguration(.init(parsing: text), defaults: QueueOptions())
        #expect(config?.ignored.sorted() == ["delaySeconds", "maxRetries", "type"])
        let empty = try SubscriberConfiguration(["topic": ""], defaults: QueueOptions())
        #expect(empty == nil)
    }
}
