import IIIProtocol
import IIIWorker
import Logging
import NIOEmbedded

@testable import IIIQueue

/// A whole queue process in a world that the seed makes: the real runner, machine, window and store rules, over a disk that can be cut off
/// at every step, on a clock that only the simulation moves. The same seed does the same.
final class QueueSimulation {
    /// Time, and what is due in it.
    final class SimulatedClock: QueueClock {
        private(set) var now = 1_700_000_000_000
        var wallNow: Int { now }
        private var timers: [(at: Int, number: Int, work: () -> Void)] = []
        private var next = 0

        func schedule(at time: Int, _ work: @escaping () -> Void) -> () -> Void {
            next += 1
            let number = next
            timers.append((max(time, now), number, work))
            return { [weak self] in self?.timers.removeAll { $0.number == number } }
        }

        var nextDue: Int? { timers.map(\.at).min() }

        /// Moves on to `time`, doing what is due on the way.
        func advance(to time: Int) {
            while let index = timers.indices.filter({ timers[$0].at <= time }).min(by: {
                (timers[$0].at, timers[$0].number) < (timers[$1].at, timers[$1].number)
            }) {
                let timer = timers.remove(at: index)
                now = max(now, timer.at)
                timer.work()
            }
            now = max(now, time)
        }

        func forgetTimers() { timers = [] }
    }

    /// A disk: steps wait until they are committed, in order. What is not committed when the process dies has not happened.
    final class SimulatedDisk: StoreBackend {
        var table: MessageTable
        private(set) var waiting: [(operation: StoreOperation, completion: (Result<StoreOutcome, QueueStoreError>) -> Void)] = []
        var isFull = false

        init(_ table: MessageTable) { self.table = table }

        func submit(_ operation: StoreOperation, completion: @escaping (Result<StoreOutcome, QueueStoreError>) -> Void) {
            waiting.append((operation, completion))
        }

        /// Commits up to `count` steps. With `isLost` the process dies after that, before anybody is told.
        func commit(_ count: Int, isLost: Bool = false) {
            let batch = Array(waiting.prefix(count))
            waiting.removeFirst(batch.count)
            var results: [Result<StoreOutcome, QueueStoreError>] = []
            for step in batch {
                if isFull, case .insert = step.operation {
                    results.append(.failure(QueueStoreError("full", isRetryable: true)))
                } else if isFull, step.operation.isWrite {
                    results.append(.failure(QueueStoreError("full", isRetryable: true)))
                } else {
                    results.append(.success(table.apply(step.operation)))
                }
            }
            guard !isLost else { return }
            for (step, result) in zip(batch, results) { step.completion(result) }
        }

        var status: String { "" }
        func close(on loop: isolated WorkerLoop) async {}
    }

    struct Violation: Error, CustomStringConvertible {
        let description: String
    }

    /// A message that was accepted, as its producer sees it.
    private struct Accepted {
        let number: Int
        let group: String?
        let deduplication: String?
        let due: Int
        let target: TargetFunction
    }

    private struct Delivery {
        let lease: Lease
        let id: String
        let answer: (DeliveryOutcome?) -> Void
        /// Processes count from 1; answers for an earlier one go nowhere.
        let process: Int
    }

    private var generator: SeededGenerator
    let clock = SimulatedClock()
    private let key = QueueKey.named("q")
    private var options = QueueOptions()
    private var disk = SimulatedDisk(MessageTable())
    private var store: BuiltinQueueStore
    private var runner: QueueRunner?
    private var process = 0
    private let windowCapacity: Int

    private var sent = 0
    private var accepted: [String: Accepted] = [:]
    private var finished: Set<String> = []
    private var dead: Set<String> = []
    /// Taken out on purpose.
    private var removed: Set<String> = []
    private var deliveries: [Delivery] = []
    private var attempts: [String: Int] = [:]
    private var present: Set<String> = ["a", "b", "c"]
    private var wantsPause = false
    private(set) var log: [String] = []

    init(seed: UInt64) {
        generator = SeededGenerator(seed: seed)
        windowCapacity = Int.random(in: 1...4, using: &generator)
        store = BuiltinQueueStore(.memory(maximumBytes: .max), windowCapacity: windowCapacity)
        options.concurrency = Int.random(in: 1...4, using: &generator)
        options.backoffMilliseconds = 50
        options.jitter = 0.5
        options.maxAttempts = Int.random(in: 1...3, using: &generator)
        options.maxCrashes = 3
        if chance(2) { options.groupField = "g" }
        if chance(4) { options.rate = .init(max: 2, milliseconds: 100) }
        startProcess()
    }

    private func chance(_ oneIn: Int) -> Bool { Int.random(in: 0..<oneIn, using: &generator) == 0 }

    // MARK: Processes

    private func startProcess() {
        process += 1
        disk = SimulatedDisk(disk.table)
        let store = BuiltinQueueStore(.memory(maximumBytes: .max), windowCapacity: windowCapacity)
        self.store = store
        var logger = Logger(label: "simulation")
        logger.logLevel = .critical
        let context = QueueStoreContext(eventLoop: EmbeddedEventLoop(), name: "sim", clock: clock, logger: logger) { [weak self] _ in
            self?.runner?.fed()
        }
        let state = store.begin(context, disk, disk.table.contents)
        let number = process
        let surroundings = QueueRunner.Surroundings(
            store: store, clock: clock, random: { [unowned self] in Double.random(in: 0..<1, using: &generator) },
            deliver: { [unowned self] _, lease, answer in delivered(lease, answer, number) },
            settled: { [unowned self] _, message, settlement in settled(message.message.id, settlement) })
        let runner = QueueRunner(key, options: options, hasConsumer: true, surroundings: surroundings)
        runner.update { $0.isPaused = state.records[key]?.isPaused ?? false }
        self.runner = runner
        runner.fed()
    }

    private func crash() {
        // What is under way on the disk is committed up to some point, and nobody learns of it.
        let count = Int.random(in: 0...disk.waiting.count, using: &generator)
        log.append("crash with \(count) of \(disk.waiting.count) on the disk")
        disk.commit(count, isLost: true)
        clock.forgetTimers()
        runner = nil
        // What became of those whose outcome nobody was told stands on the disk.
        let stored = disk.table.rows.values
        dead = Set(stored.filter { $0.state == .dead }.map(\.stored.message.id))
        if isRedriving { redriven.formUnion(accepted.keys) }
        isRedriving = false
        startProcess()
    }

    // MARK: What is watched

    private var violation: String?
    private func fail(_ text: String) { violation = violation ?? text }

    private func delivered(_ lease: Lease, _ answer: @escaping (DeliveryOutcome?) -> Void, _ number: Int) {
        let message = lease.message.message
        let id = message.id
        log.append("deliver \(id)")
        let live = deliveries.filter { $0.process == process }
        if live.count >= options.concurrency { fail("more than \(options.concurrency) at a time") }
        if live.contains(where: { $0.id == id }) { fail("\(id) is delivered twice at a time") }
        if let group = message.group, live.contains(where: { accepted[$0.id]?.group == group }) { fail("two of group \(group) at a time") }
        if runner?.machine.isPaused == true { fail("\(id) is delivered during a pause") }
        if message.payload != Array("\(id)".utf8) { fail("the payload of \(id) is not what was sent") }
        if dead.contains(id) { fail("\(id) is delivered although it is dead") }
        if let known = accepted[id] {
            if known.due > clock.now { fail("\(id) comes \(known.due - clock.now) ms early") }
            // Everything accepted before it in its group is gone.
            if let group = known.group {
                let earlier = accepted.first {
                    $0.value.group == group && $0.value.number < known.number && !finished.contains($0.key) && !dead.contains($0.key)
                        && !removed.contains($0.key)
                }
                if let earlier, !redriven.contains(id), !redriven.contains(earlier.key) {
                    fail("\(id) overtakes \(earlier.key) of its group")
                }
            }
        }
        if finishedDurably.contains(id) { fail("\(id) is delivered again after its outcome was stored") }
        deliveries.append(Delivery(lease: lease, id: id, answer: answer, process: number))
    }

    private var redriven: Set<String> = []
    /// Whose outcome the store has confirmed.
    private var finishedDurably: Set<String> = []

    private func settled(_ id: String, _ settlement: Settlement) {
        switch settlement {
        case .done:
            finished.insert(id)
            finishedDurably.insert(id)
        case .dead(let progress):
            if progress.attempts > options.maxAttempts { fail("\(id) had \(progress.attempts) attempts") }
            if progress.failures.last?.code != "final", progress.attempts < options.maxAttempts, progress.crashes < options.maxCrashes {
                fail("\(id) died early: \(progress.attempts) attempts, \(progress.crashes) crashes")
            }
            dead.insert(id)
        default: break
        }
    }

    // MARK: Steps

    private func enqueue() {
        sent += 1
        let number = sent
        let id = "m\(number)"
        let function = ["a", "b", "c"].randomElement(using: &generator) ?? "a"
        var message = QueueMessage(
            id: id, target: TargetFunction(function), payload: Array(id.utf8), createdAt: clock.now, maxAttempts: options.maxAttempts,
            backoffMilliseconds: options.backoffMilliseconds)
        if options.groupField != nil { message.group = ["x", "y"].randomElement(using: &generator) }
        if chance(4) { message.priority = Int.random(in: 0...3, using: &generator) }
        if chance(5) { message.deduplicationKey = "k\(Int.random(in: 0...2, using: &generator))" }
        let due = chance(4) ? clock.now + Int.random(in: 1...300, using: &generator) : nil
        let known = Accepted(
            number: number, group: message.group, deduplication: message.deduplicationKey, due: due ?? 0, target: message.target)
        let current = process
        store.enqueue([NewMessage(key, message, due: due, deduplicationWindow: 200)]) { [unowned self] result in
            guard current == process, case .success(let answers) = result, let answer = answers.first else { return }
            if answer.isDuplicate {
                if accepted[answer.id] == nil, !sentIDs.contains(answer.id) {
                    fail("a duplicate got the receipt \(answer.id), which nobody has")
                }
            } else {
                accepted[id] = known
            }
        }
        sentIDs.insert(id)
        log.append("enqueue \(id)")
    }

    private var sentIDs: Set<String> = []

    private func answerOne(_ outcome: DeliveryOutcome? = nil) {
        guard let index = deliveries.indices.randomElement(using: &generator) else { return }
        let delivery = deliveries.remove(at: index)
        // Answers of an earlier process reach nobody.
        guard delivery.process == process else { return }
        let chosen: DeliveryOutcome =
            outcome
            ?? {
                switch Int.random(in: 0..<12, using: &generator) {
                case 0...4: .succeeded(result: nil)
                case 5: .skipped
                case 6, 7: .failed(code: "boom", message: "x")
                case 8: .failed(code: "final", message: "x", isFinal: true)
                case 9: .workerEnded(isClean: false)
                case 10: .workerEnded(isClean: true)
                default: .undelivered
                }
            }()
        let isMissing = !present.contains(delivery.lease.message.message.target.id)
        let final: DeliveryOutcome = isMissing ? .functionMissing : chosen
        log.append("answer \(delivery.id) \(final)")
        switch final {
        case .succeeded, .skipped:
            finished.insert(delivery.id)
        default: break
        }
        if chance(6) { late.append(delivery) }
        delivery.answer(final)
    }

    private var late: [Delivery] = []
    private var isRedriving = false

    func step() {
        switch Int.random(in: 0..<24, using: &generator) {
        case 0...4: enqueue()
        case 5...10: disk.commit(Int.random(in: 1...4, using: &generator))
        case 11...15: answerOne()
        case 16, 17: clock.advance(to: clock.now + Int.random(in: 1...150, using: &generator))
        case 18:
            // A second answer to a delivery that is over.
            if let again = late.popLast(), again.process == process { again.answer(.failed(code: "late", message: "")) }
        case 19: if chance(2) { crash() }
        case 20:
            let function = ["a", "b", "c"].randomElement(using: &generator) ?? "a"
            if present.remove(function) == nil {
                present.insert(function)
                runner?.appeared([function])
            }
            log.append("functions \(present.sorted())")
        case 21:
            wantsPause.toggle()
            pause(wantsPause)
        case 22:
            if chance(2) { redrive() } else { loseEngine() }
        default: if chance(3) { disk.isFull.toggle() } else if chance(3) { cancelOne() }
        }
    }

    private func pause(_ isPaused: Bool) {
        var record = QueueRecord()
        record.isPaused = isPaused
        runner?.update { $0.isPaused = isPaused }
        store.configure(key, record) { _ in }
        log.append("pause \(isPaused)")
    }

    private func redrive() {
        let current = process
        log.append("redrive")
        isRedriving = true
        store.redrive(key, DeadLetterSelection(), perSecond: nil) { [unowned self] result in
            guard current == process else { return }
            isRedriving = false
            guard case .success = result else { return }
            redriven.formUnion(dead)
            dead = []
        }
    }

    private func loseEngine() {
        log.append("engine lost")
        deliveries.removeAll { $0.process == process }
        runner?.engineLost()
        runner?.engineFound()
    }

    private func cancelOne() {
        guard let id = accepted.keys.sorted().randomElement(using: &generator) else { return }
        log.append("cancel \(id)")
        // From here on either is right.
        removed.insert(id)
        store.cancel(id) { _ in }
    }

    /// Runs, then lets everything come to its end, and looks whether anything was lost or stands still.
    func run(steps: Int) throws {
        for _ in 0..<steps {
            step()
            if let violation { throw Violation(description: violation + "\n" + log.suffix(60).joined(separator: "\n")) }
        }
        disk.isFull = false
        present = ["a", "b", "c"]
        pause(false)
        runner?.appeared(present)
        for round in 0..<2_000 {
            disk.commit(.max)
            while !deliveries.isEmpty { answerOne(.succeeded(result: nil)) }
            disk.commit(.max)
            if let violation { throw Violation(description: violation + "\n" + log.suffix(60).joined(separator: "\n")) }
            let isEmpty = disk.table.rows.values.allSatisfy { $0.state == .dead } && disk.waiting.isEmpty && deliveries.isEmpty
            if isEmpty, runner?.machine.isIdle == true { break }
            clock.advance(to: max(clock.now + 1, clock.nextDue ?? clock.now + 50))
            if round == 1_999 {
                let left = disk.table.rows.values.filter { $0.state != .dead }.map { "\($0.stored.message.id) \($0.state)" }.sorted()
                throw Violation(
                    description: "it stands still with \(left), obstacle \(String(describing: runner?.machine.obstacle(now: clock.now)))\n"
                        + log.suffix(60).joined(separator: "\n"))
            }
        }
        let stored = Set(disk.table.rows.values.map(\.stored.message.id))
        for id in accepted.keys.sorted() where !finished.contains(id) && !stored.contains(id) && !removed.contains(id) {
            throw Violation(description: "\(id) was accepted and is lost\n" + log.suffix(80).joined(separator: "\n"))
        }
        var counts = QueueCounts()
        store.counts([key]) { [key] result in
            if case .success(let all) = result { counts = all[key] ?? QueueCounts() }
        }
        for state in MessageState.allCases {
            let real = disk.table.rows.values.filter { $0.state == state }.count
            guard counts[state] == real else {
                throw Violation(
                    description: "\(counts[state]) messages are counted as \(state), there are \(real)\n"
                        + log.suffix(60).joined(separator: "\n"))
            }
        }
    }
}

extension StoreOperation {
    /// Whether a full disk refuses it.
    var isWrite: Bool {
        switch self {
        case .load, .deadLetters, .find: false
        default: true
        }
    }
}
