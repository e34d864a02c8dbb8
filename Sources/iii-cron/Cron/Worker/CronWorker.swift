import IIIProtocol
import IIIStorage
import IIIWorker
import Logging
import NIOCore

/// The `iii-cron` core worker: owns the trigger type `cron` and calls functions when their time has come (docs/reference/cron.md).
///
/// `Scheduler` decides; this shell has the timer, the lock store, the journal and the link, and carries out what follows. Everything
/// happens on the event loop; the lock store and the journal answer from elsewhere. Every tick is claimed before its function is called, so
/// it runs at most once for all instances that share the lock store.
open class CronWorker: CoreWorker {
    public static var role: String { "cron" }

    /// Opaque outside: the settings of the entry.
    public struct Configuration: Sendable {
        let values: CronConfiguration
    }

    let context: CoreWorkerContext
    let metrics: CronMetrics
    private(set) var configuration: CronConfiguration
    var schedules = CronSchedules()
    var scheduler = Scheduler()
    var runs: CronRuns?
    private let timer: any TickTimer
    private var store: Store?
    private var provider: TriggerProvider<CronTrigger>?
    /// Jobs that were paused (true) or resumed (false) by hand, as far as this instance knows.
    var pauses: [String: Bool] = [:]
    private var armed: Int?
    /// Wall clock less monotonic clock, in nanoseconds, when it was last looked at.
    private var clockDifference: Int?
    /// Texts that were warned about, each once.
    private var warned: Set<String> = []

    /// A difference between the clocks that is no drift.
    private static let clockStep = 500_000_000
    /// Before the drain's deadline, so that what has ended is stored.
    private static let drainMargin = TimeAmount.milliseconds(300)

    /// The clock and timer; a subclass has another one for tests.
    open class func makeTimer() -> any TickTimer { SystemTickTimer() }

    public static var settings: SettingGroup { CronConfiguration.settings }

    public static func configuration(from json: JSONValue) throws -> Configuration { Configuration(values: try CronConfiguration(json)) }

    public required init(configuration: Configuration, context: CoreWorkerContext) throws {
        self.context = context
        self.configuration = configuration.values
        metrics = CronMetrics(context.metrics)
        timer = Self.makeTimer()
        for warning in configuration.values.warnings { context.logger.warning(.configurationSuspicious, "\(warning)") }
    }

    /// Nanoseconds since the epoch.
    var now: Int { timer.now }
    var milliseconds: Int { RFC3339.floor(timer.now, 1_000_000) }

    // MARK: Life

    public func start(on loop: isolated WorkerLoop) async throws {
        let opened = try await CronState.open(configuration, name: context.name, eventLoop: context.eventLoop, logger: context.logger)
        let memory = try await opened.journal.load(now: milliseconds)
        let left = try await opened.claims.recover()
        pauses = try await opened.claims.pauses()
        store = opened.store
        scheduler = Scheduler(memories: memory.memories, left: left)
        runs = CronRuns(worker: self, claims: opened.claims, journal: opened.journal, instance: opened.instance)
        if memory.lost > 0 || !left.isEmpty {
            context.logger.warning(
                .cronRunLost, "runs were under way when the process before this one ended; what became of them is not known",
                metadata: ["runs": "\(max(memory.lost, left.count))"])
        }
        clockDifference = timer.now - timer.uptime
        try timer.start(on: context.eventLoop) { [self] clockWasSet in fired(clockWasSet) }
    }

    public func registerTriggerTypes(on link: WorkerLink) {
        provider = TriggerProvider(
            CronTriggerType.declaration, on: link,
            accept: { [self] binding, _ throws(InvocationError) in try bind(binding) },
            release: { [self] binding, _, reason in
                perform(scheduler.unregister(binding.id, isWithdrawn: reason == .unregistered))
                runs?.forget(binding.id)
                metrics.setTriggers(scheduler.count)
            })
    }

    public func registerFunctions(on link: WorkerLink) { CronFunctions(worker: self).register(on: link) }

    public func sessionEstablished(_ session: CoreWorkerSession, on loop: isolated WorkerLoop) async throws {
        perform(scheduler.serve(now: milliseconds))
    }

    /// Nothing can be called: what is due waits, and is late when the engine is back.
    public func sessionLost() {
        scheduler.suspend()
        arm()
    }

    public func reconfigure(_ new: Configuration, on loop: isolated WorkerLoop) async -> Reconfiguration {
        guard new.values.fixed == configuration.fixed else { return .refused("another lock store or place of the store needs a restart") }
        configuration = new.values
        runs?.journal.setLimits(new.values.history)
        return .applied
    }

    /// Takes up no more ticks, waits for the runs under way, and stores how they ended.
    public func drain(deadline: NIODeadline, on loop: isolated WorkerLoop) async {
        scheduler.suspend()
        timer.stop()
        guard let runs else { return }
        await withCheckedContinuation { (idle: CheckedContinuation<Void, Never>) in
            runs.whenIdle(by: deadline - Self.drainMargin) { idle.resume() }
        }
        let end = runs.end()
        await end()
        await CronState.close(store)
    }

    public var status: String {
        let triggers = scheduler.count == 1 ? "1 trigger" : "\(scheduler.count) triggers"
        let running = runs?.running ?? 0
        let next = scheduler.nextWake.map { ", next in \(Self.words(max(0, $0 - milliseconds)))" } ?? ""
        return "\(triggers), \(running) running\(next)"
    }

    private static func words(_ milliseconds: Int) -> String {
        switch milliseconds {
        case ..<1_000: "\(milliseconds) ms"
        case ..<120_000: "\(milliseconds / 1_000) s"
        case ..<7_200_000: "\(milliseconds / 60_000) min"
        default: "\(milliseconds / 3_600_000) h"
        }
    }

    // MARK: Triggers

    private func bind(_ binding: TriggerBinding) throws(InvocationError) -> CronTrigger {
        let trigger = try CronTrigger(binding, schedules: &schedules, now: milliseconds)
        warn(about: trigger, binding.config)
        perform(scheduler.register(trigger, now: milliseconds))
        metrics.setTriggers(scheduler.count)
        return trigger
    }

    private func warn(about trigger: CronTrigger, _ config: JSONValue) {
        for sentence in CronTriggerOptions.unknownKeys(config) where isNew(sentence) {
            context.logger.warning(.configurationSuspicious, "a cron trigger: \(sentence)", metadata: ["trigger_id": "\(trigger.id)"])
        }
        if let sentence = trigger.schedule.expression.weekdayWarning, isNew(sentence) {
            context.logger.warning(
                .cronWeekdayNumeric, "\(sentence)", metadata: ["expression": "\(trigger.schedule.expression.text)"])
        }
    }

    /// Whether this has not been said yet.
    private func isNew(_ warning: String) -> Bool { warned.count < 1_000 && warned.insert(warning).inserted }

    // MARK: Time

    private func fired(_ clockWasSet: Bool) {
        armed = nil
        let difference = timer.now - timer.uptime
        let jumped = clockDifference.map { abs(difference - $0) > Self.clockStep } ?? false
        clockDifference = difference
        if clockWasSet || jumped {
            context.logger.notice("the clock was set; schedules are looked at anew")
            perform(scheduler.clockStepped(now: milliseconds))
        } else {
            perform([])
        }
    }

    /// Carries out what the scheduler has decided, and what has become due meanwhile.
    func perform(_ effects: [CronEffect]) {
        runs?.perform(effects)
        let due = scheduler.advance(now: milliseconds)
        if !due.isEmpty { runs?.perform(due) }
        arm()
    }

    private func arm() {
        let wake = scheduler.nextWake
        // What is later than what it waits for is looked at then.
        if let wake, let armed, wake >= armed, armed > milliseconds { return }
        guard wake != armed else { return }
        armed = wake
        timer.arm(at: wake)
    }
}

extension CronExpression {
    /// The one thing to be said of weekdays that were written as numbers.
    var weekdayWarning: String? {
        guard !numericWeekdays.isEmpty else { return nil }
        let meanings = numericWeekdays.map { "\($0) is \(CronField.weekdays[$0 - 1])" }.joined(separator: ", ")
        return "a weekday is written as a number: here \(meanings); names say it clearly"
    }
}
