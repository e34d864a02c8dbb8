import NIOCore

/// Runs one queue: carries out what its machine decides. Holds no decisions of its own.
///
/// Its owner says how a message is delivered and what time it is, so a test can run it without an engine and without a clock.
final class QueueRunner {
    struct Numbers: Equatable {
        var enqueued = 0
        var completed = 0
        /// Attempts that failed.
        var failed = 0
        var dead = 0
    }

    /// What a runner needs of the world.
    struct Surroundings {
        let store: any QueueStore
        let clock: any QueueClock
        /// From 0 up to 1.
        let random: () -> Double
        /// Has the message delivered; ends with one outcome, or with nil when the engine was lost meanwhile.
        let deliver: (QueueRunner, Lease, @escaping (DeliveryOutcome?) -> Void) -> Void
        /// A message is done or dead, and that is stored.
        let settled: (QueueRunner, StoredMessage, Settlement) -> Void
    }

    let key: QueueKey
    private(set) var machine: QueueMachine
    private(set) var numbers = Numbers()
    /// When something was last done or dead; for the stall detector.
    private(set) var progressedAt: Int
    /// Messages of a group that are in their pause or wait for their function, each with why: they hold back what is behind them.
    private(set) var blocking: [String: String] = [:]
    private let surroundings: Surroundings
    private var due = CircularBuffer<QueueMachine.Effect>()
    private var isPerforming = false
    private var cancelWake: (() -> Void)?
    private var onIdle: [() -> Void] = []
    /// What the store was last told.
    private var told: (options: QueueOptions, isConsuming: Bool)?

    /// Beyond, who blocks is not told.
    private static let maximumBlocking = 1000
    /// Pause before an outcome that the store has refused is offered again, in milliseconds.
    static let settlePause = 500

    init(_ key: QueueKey, options: QueueOptions, hasConsumer: Bool, surroundings: Surroundings) {
        self.key = key
        self.surroundings = surroundings
        var target: TargetFunction?
        if case .subscription(let subscription) = key { target = TargetFunction(subscription.function, namespace: subscription.namespace) }
        machine = QueueMachine(options: options, soleTarget: target, hasConsumer: hasConsumer)
        progressedAt = surroundings.clock.now
        tell()
    }

    private var now: Int { surroundings.clock.now }

    // MARK: Events

    func fed() { perform(machine.fed(now: now)) }

    func accepted(_ count: Int) { numbers.enqueued += count }

    /// Changes the machine, then starts whatever may start.
    func update(_ change: (inout QueueMachine) -> Void) {
        change(&machine)
        if told?.options != machine.options || told?.isConsuming != machine.isConsuming { tell() }
        perform(machine.proceed(now: now))
    }

    func engineLost() { perform(machine.engineLost()) }

    /// The engine is (again) there, and everything may have changed.
    func engineFound() {
        machine.isEngineAway = false
        surroundings.store.wake(key, machine.forgetMissing())
        fed()
    }

    func appeared(_ functions: Set<String>) {
        let found = machine.appeared(functions)
        guard !found.isEmpty else { return }
        surroundings.store.wake(key, found)
        fed()
    }

    /// Runs `work` once nothing is under way (now, if that is so).
    func whenIdle(_ work: @escaping () -> Void) {
        if machine.isIdle { work() } else { onIdle.append(work) }
    }

    private func tell() {
        told = (machine.options, machine.isConsuming)
        surroundings.store.serve(key, machine.options, isConsuming: machine.isConsuming)
    }

    // MARK: Effects

    private func perform(_ effects: [QueueMachine.Effect]) {
        due.append(contentsOf: effects)
        guard !isPerforming else { return }
        isPerforming = true
        while let effect = due.popFirst() { perform(effect) }
        isPerforming = false
        if told?.isConsuming != machine.isConsuming { tell() }
        guard machine.isIdle, !onIdle.isEmpty else { return }
        let waiting = onIdle
        onIdle = []
        for work in waiting { work() }
    }

    private func perform(_ effect: QueueMachine.Effect) {
        switch effect {
        case .claim(let limit, let skipping):
            surroundings.store.claim(key, limit: limit, skipping: skipping) { [self] messages in
                perform(machine.claimed(messages, limit: limit, now: now))
            }
        case .deliver(let lease):
            surroundings.deliver(self, lease) { [self] outcome in
                guard let outcome else { return engineLost() }
                if case .failed = outcome { numbers.failed += 1 }
                perform(machine.answered(lease.id, outcome, now: now, random: surroundings.random()))
            }
        case .settle(let id, let message, let settlement): settle(id, message, settlement)
        case .settleLater(let id, let message, let settlement):
            _ = surroundings.clock.schedule(at: now + Self.settlePause) { [weak self] in self?.settle(id, message, settlement) }
        case .wake(let time):
            cancelWake?()
            cancelWake = surroundings.clock.schedule(at: time) { [weak self] in
                guard let self else { return }
                cancelWake = nil
                perform(machine.proceed(now: now))
            }
        }
    }

    private func note(_ message: StoredMessage, _ settlement: Settlement) {
        let id = message.message.id
        switch settlement {
        case .retry(_, let progress) where message.message.group != nil && blocking.count < Self.maximumBlocking:
            blocking[id] = progress.failures.last?.code ?? "it could not be delivered"
        case .hold where message.message.group != nil && blocking.count < Self.maximumBlocking:
            blocking[id] = "no worker serves \(message.message.target.id)"
        default: if !blocking.isEmpty { blocking[id] = nil }
        }
    }

    private func settle(_ id: Lease.ID, _ message: StoredMessage, _ settlement: Settlement) {
        surroundings.store.settle(key, message, settlement, resultTTL: machine.options.resultTTL) { [self] error in
            if error == nil {
                note(message, settlement)
                switch settlement {
                case .done:
                    numbers.completed += 1
                    progressedAt = now
                    surroundings.settled(self, message, settlement)
                case .dead:
                    numbers.dead += 1
                    progressedAt = now
                    surroundings.settled(self, message, settlement)
                default: break
                }
            }
            perform(machine.settled(id, message, error: error?.message, now: now))
        }
    }
}
