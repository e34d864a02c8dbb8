import CoreMetrics
import IIIProtocol
import IIISettings
import IIITelemetry
import IIIWorker
import Logging
import NIOCore
import Synchronization

/// The `iii-queue` core worker: named queues, topics with durable subscribers, and the functions around them (docs/reference/queue.md).
///
/// It routes: what comes in becomes messages in the store, what the store gives out is delivered by one `QueueRunner` per queue. Confined to the
/// link's event loop.
public final class Queue: CoreWorker {
    public static var role: String { "queue" }

    /// Where messages may be kept; a program of one's own registers further stores before it runs `Queue`.
    public static let stores = Mutex<AdapterRegistry<any QueueStore>>(QueueStores.builtIn)

    /// Opaque outside: the settings of the entry.
    public struct Configuration: Sendable {
        let values: QueueConfiguration
    }

    var abilities: Set<QueueAbility>? { store?.abilities }
    let context: CoreWorkerContext
    let clock: LoopClock
    private(set) var settings: QueueConfiguration
    private(set) var store: (any QueueStore)?
    private(set) var runners: [QueueKey: QueueRunner] = [:]
    /// What `queue::define` has defined, beside the configuration, which wins.
    var definitions: [String: QueueOptions] = [:]
    var records: [QueueKey: QueueRecord] = [:]
    var subscribers = Subscribers()
    var provider: TriggerProvider<Subscriber?>?
    /// Who hears what becomes of queues.
    var listeners: [Event: TriggerProvider<Listener>] = [:]
    /// Spans of the last attempts of messages that may come again.
    var earlierAttempts: [String: SpanContext] = [:]
    /// Subscriptions of earlier processes, until the trigger type is registered.
    var restored: [StoredBinding] = []
    /// Subscriptions of workers at other instances, by trigger.
    var foreign: [String: StoredBinding] = [:]
    /// When the worker behind each trigger was last known to be there.
    var seen: [String: Int] = [:]
    private let meters = QueueMeters()
    private var timers: [CoreWorkerTimer] = []
    private var stalls = StallDetector()
    private var isEngineThere = false
    private var isClosing = false
    private var generator = SystemRandomNumberGenerator()
    /// Messages that are on their way into each queue's store.
    var entering: [QueueKey: Int] = [:]
    /// Who waits for the outcome of which message.
    var waiters = OutcomeWaiters()
    /// As the store last told.
    private var lastCounts: [QueueKey: QueueCounts] = [:]
    /// Messages that were published where nobody subscribes.
    var unheard = 0

    /// Before the drain's deadline, so that the last outcomes still reach the store.
    private static let drainMargin = TimeAmount.milliseconds(300)
    /// Between two looks at whether subscriptions have outlived their time.
    private static let subscriptionSweep = Duration.seconds(60)

    public static func configuration(from json: JSONValue) throws -> Configuration {
        do throws(InvalidSettings) {
            return Configuration(values: try QueueConfiguration(json, stores: stores.withLock { $0 }))
        } catch { throw ConfigurationError(error.description) }
    }

    public init(configuration: Configuration, context: CoreWorkerContext) throws {
        self.context = context
        settings = configuration.values
        clock = LoopClock(context.eventLoop)
    }

    // MARK: Life

    public func start(on loop: isolated WorkerLoop) async throws {
        let store = try await Self.stores.withLock { $0 }.open(settings.adapter)
        for (name, options) in settings.queues {
            guard let missing = store.abilities.missing(for: options) else { continue }
            throw ConfigurationError("queue_configs.\(name): adapter '\(settings.adapter.name)': \(missing)")
        }
        let state = try await store.start(
            QueueStoreContext(
                eventLoop: context.eventLoop, name: context.name, queues: settings.queues, clock: clock, logger: context.logger,
                changed: { [unowned self] in changedElsewhere($0) }, fed: { [unowned self] in runners[$0]?.fed() }),
            on: loop)
        self.store = store
        take(state.records)
        for name in settings.queues.keys { makeRunner(.named(name)) }
        for name in definitions.keys { makeRunner(.named(name)) }
        restoreSubscriptions(state.bindings)
        for key in store.queues { makeRunner(key) }
    }

    public func registerTriggerTypes(on link: WorkerLink) {
        registerSubscriber(on: link)
        registerEvents(on: link)
    }

    public func registerFunctions(on link: WorkerLink) {
        registerEnqueuing(on: link)
        registerInspection(on: link)
        registerControl(on: link)
        link.registerFunction(watchFunction, description: "Learns which functions appear") { [self] call in
            let input = call.data
            let ids = (input["added"]?.array ?? []) + (input["changed"]?.array ?? [])
            appeared(Set(ids.compactMap(\.string)))
            call.reply([:])
        }
    }

    private var watchFunction: String { "builtin::\(context.name)::functions-changed" }

    public func sessionEstablished(_ session: CoreWorkerSession, on loop: isolated WorkerLoop) async throws {
        _ = try await context.link.ask(
            "core::registry::watch", ["prefixes": [], "function_id": .string(watchFunction)], timeout: .seconds(10))
        isEngineThere = true
        for runner in ordered { runner.engineFound() }
        guard timers.isEmpty else { return }
        timers = [
            context.schedule(every: .seconds(5)) { [unowned self] in look() },
            context.schedule(every: Self.subscriptionSweep) { [unowned self] in endOldSubscriptions() },
        ]
    }

    public func sessionLost() {
        isEngineThere = false
        for runner in ordered { runner.engineLost() }
    }

    private func appeared(_ ids: Set<String>) {
        for runner in runners.values where !runner.machine.missing.isEmpty { runner.appeared(ids) }
    }

    public func reconfigure(_ new: Configuration, on loop: isolated WorkerLoop) async -> Reconfiguration {
        guard new.values.adapter.name == settings.adapter.name, new.values.adapter.config.json == settings.adapter.config.json else {
            return .refused("another store, or other settings of it, need a restart")
        }
        for (name, options) in new.values.queues {
            if let missing = store?.abilities.missing(for: options) { return .refused("queue_configs.\(name): \(missing)") }
        }
        settings = new.values
        for name in settings.queues.keys { makeRunner(.named(name)) }
        for runner in ordered { refresh(runner.key) }
        return .applied
    }

    public func drain(deadline: NIODeadline, on loop: isolated WorkerLoop) async {
        isClosing = true
        timers = []
        for runner in ordered { runner.update { $0.isClosing = true } }
        await withCheckedContinuation { (idle: CheckedContinuation<Void, Never>) in
            var waiting: CheckedContinuation<Void, Never>? = idle
            let finish = {
                waiting?.resume()
                waiting = nil
            }
            let bound = NIOLoopBound(finish, eventLoop: context.eventLoop)
            let timeout = context.eventLoop.scheduleTask(deadline: deadline - Self.drainMargin) { bound.value() }
            whenIdle(ordered[...]) {
                timeout.cancel()
                finish()
            }
        }
        await store?.close(on: loop)
    }

    private func whenIdle(_ rest: ArraySlice<QueueRunner>, _ work: @escaping () -> Void) {
        guard let runner = rest.first else { return work() }
        runner.whenIdle { [self] in whenIdle(rest.dropFirst(), work) }
    }

    public var status: String {
        let numbers = ordered.reduce(into: QueueRunner.Numbers()) { sum, runner in
            sum.completed += runner.numbers.completed
            sum.dead += runner.numbers.dead
        }
        count(store?.queues ?? [])
        let (live, dead) = (lastCounts.values.reduce(0) { $0 + $1.live }, lastCounts.values.reduce(0) { $0 + $1[.dead] })
        let running = ordered.reduce(0) { $0 + $1.machine.running.count }
        var text = "\(live) waiting, \(running) running, \(dead) dead, \(numbers.completed) done since the start"
        if let store, !store.status.isEmpty { text += ", \(store.status)" }
        if let stall = stalls.summary { text += ", \(stall)" }
        return text
    }

    // MARK: Queues

    /// In a fixed order, so that nobody is favoured by chance.
    var ordered: [QueueRunner] { runners.values.sorted { $0.key.description < $1.key.description } }

    /// Whether messages may be put into it.
    func options(ofNamed name: String) -> QueueOptions? { settings.queues[name] ?? definitions[name] }

    func options(_ key: QueueKey) -> QueueOptions {
        switch key {
        case .named(let name): options(ofNamed: name) ?? QueueOptions()
        case .subscription(let subscription): subscribers.newest(subscription)?.options ?? settings.subscriptionDefaults
        }
    }

    /// Nothing is delivered from a queue that is no longer configured, nor for a subscription that has ended; what is in them stays.
    private func hasConsumer(_ key: QueueKey) -> Bool {
        switch key {
        case .named(let name): options(ofNamed: name) != nil
        case .subscription(let subscription): subscribers.newest(subscription) != nil
        }
    }

    @discardableResult
    func makeRunner(_ key: QueueKey) -> QueueRunner? {
        if let runner = runners[key] { return runner }
        guard let store else { return nil }
        let surroundings = QueueRunner.Surroundings(
            store: store, clock: clock, random: { [unowned self] in Double.random(in: 0..<1, using: &generator) },
            deliver: { [unowned self] in deliver($0, $1, $2) }, settled: { [unowned self] in settled($0, $1, $2) })
        let runner = QueueRunner(key, options: options(key), hasConsumer: hasConsumer(key), surroundings: surroundings)
        runners[key] = runner
        runner.update {
            $0.isPaused = records[key]?.isPaused ?? false
            $0.isEngineAway = !isEngineThere
            $0.isClosing = isClosing
        }
        return runner
    }

    /// Settings or consumers of a queue have changed.
    func refresh(_ key: QueueKey) {
        let (options, hasConsumer, isPaused) = (options(key), hasConsumer(key), records[key]?.isPaused ?? false)
        runners[key]?.update {
            $0.change(options)
            $0.hasConsumer = hasConsumer
            $0.isPaused = isPaused
        }
        if !hasConsumer, case .subscription = key { dropIfEmpty(key) }
        // The machine may have been told "nothing more" while it was not asking.
        runners[key]?.fed()
    }

    /// A subscription that has ended and left nothing behind is forgotten.
    private func dropIfEmpty(_ key: QueueKey) {
        guard let runner = runners[key], runner.machine.isIdle, entering[key] == nil else { return }
        store?.counts([key]) { [self] result in
            guard case .success(let all) = result, (all[key] ?? QueueCounts()).states.values.allSatisfy({ $0 == 0 }),
                let runner = runners[key], runner.machine.isIdle, !runner.machine.hasConsumer, entering[key] == nil
            else { return }
            runners[key] = nil
            records[key] = nil
            store?.drop(key)
        }
    }

    // MARK: Deliveries

    private func deliver(_ runner: QueueRunner, _ lease: Lease, _ completion: @escaping (DeliveryOutcome?) -> Void) {
        let message = lease.message.message
        let (target, condition): (TriggerTarget, TriggerCondition?)
        do throws(InvocationError) {
            var metadata = message.metadata
            var asked: TriggerCondition?
            if case .subscription(let subscription) = runner.key, let newest = subscribers.newest(subscription) {
                metadata = metadata ?? newest.metadata
                asked = newest.condition
            }
            target = try TriggerTarget(function: message.target.id, namespace: message.target.namespace, metadata: metadata)
            condition = asked
        } catch {
            return completion(.failed(code: error.code, message: error.message, isFinal: true))
        }
        let timeout = runner.machine.options.timeout
        let limit = timeout > 0 ? TimeAmount.milliseconds(Int64(timeout)) : nil
        let span = deliverySpan(runner.key, lease)
        context.calls.fire(
            target, condition: condition, payload: message.payload, trace: span.context, timeout: limit
        ) { [self] outcome in
            end(span, outcome)
            completion(DeliveryOutcome.of(outcome, function: message.target.id, timeout: timeout))
        }
    }

    private func settled(_ runner: QueueRunner, _ message: StoredMessage, _ settlement: Settlement) {
        meters.settled(runner.key, settlement, waited: clock.now - message.message.createdAt)
        for answer in waiters.take(message.message.id) { answer(settlement) }
        earlierAttempts[message.message.id] = nil
        tellOfEnd(runner.key, message, settlement)
        guard case .dead(let progress) = settlement else { return }
        context.logger.warning(
            .messageDead, "a message is dead",
            metadata: [
                "queue": "\(runner.key)", "message": "\(message.message.id)", "function_id": "\(message.message.target.id)",
                "attempts": "\(progress.attempts)", "error": "\(progress.failures.last?.code ?? "")",
            ])
    }

    /// Stores messages; `completion` gets the receipts once they are stored.
    func accept(_ messages: [NewMessage], completion: @escaping (Result<[EnqueueAnswer], QueueStoreError>) -> Void) {
        guard let store else { return completion(.failure(QueueStoreError("iii-queue is starting", isRetryable: true))) }
        entering(messages)
        store.enqueue(messages) { [self] result in
            entered(messages)
            if case .success = result { accepted(messages) }
            completion(result)
        }
    }

    func entering(_ messages: [NewMessage]) {
        for message in messages {
            makeRunner(message.queue)
            entering[message.queue, default: 0] += 1
        }
    }

    func entered(_ messages: [NewMessage]) {
        for message in messages {
            entering[message.queue, default: 1] -= 1
            if entering[message.queue, default: 0] <= 0 { entering[message.queue] = nil }
        }
    }

    func accepted(_ messages: [NewMessage]) {
        for message in messages {
            runners[message.queue]?.accepted(1)
            meters.enqueued(message.queue)
        }
    }

    func newID() -> String { UUIDBits.ordered(milliseconds: clock.now, using: &generator).text }

    // MARK: Watching

    private func look() {
        store?.counts(ordered.map(\.key)) { [self] result in
            guard case .success(let all) = result else { return }
            lastCounts.merge(all) { $1 }
            for runner in ordered {
                let counts = all[runner.key] ?? QueueCounts()
                meters.gauge(runner.key, counts, running: runner.machine.running.count, now: clock.now)
                guard let line = stalls.look(at: runner, counts, now: clock.now) else { continue }
                context.logger.warning(.queueStalled, "a queue stands still", metadata: ["queue": "\(runner.key)", "cause": "\(line)"])
            }
        }
    }

    /// For lines that cannot wait for an answer.
    private func count(_ queues: [QueueKey]) {
        store?.counts(queues) { [self] result in
            if case .success(let all) = result { lastCounts = all }
        }
    }

    // MARK: Other instances

    /// Another instance has paused, defined or subscribed.
    private func changedElsewhere(_ state: StoredState) {
        let former = Set(records.keys)
        take(state.records)
        for key in former.union(records.keys) {
            if case .named = key { makeRunner(key) }
            refresh(key)
        }
        takeForeign(state.bindings)
    }

    private func take(_ records: [QueueKey: QueueRecord]) {
        self.records = records
        definitions = [:]
        for (key, record) in records {
            guard case .named(let name) = key, let definition = record.definition else { continue }
            definitions[name] = try? QueueOptions(definition: definition, countsRetries: settings.countsRetries)
        }
    }
}
