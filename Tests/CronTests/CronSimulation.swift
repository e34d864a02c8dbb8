import IIIProtocol
import IIIWorker

@testable import IIICron

/// A scheduler on a clock that stands still until the test moves it, with functions that take as long as the test says and a lock store
/// that may be shared with other simulations.
struct CronSimulation {
    /// A lock store without I/O: the rules of the embedded one.
    final class Claims {
        var table: [ClaimTable.Key: ClaimTable.Claim] = [:]
        var runs: [String: Int] = [:]
        var pauses: [String: Bool] = [:]
        var fence = 0
        var isAway = false
    }

    struct Call: Equatable {
        let id: String
        let tick: Int
        let at: Int
        let kind: RunRecord.Kind
        let attempt: Int
    }

    struct Skip: Equatable {
        let tick: Int
        let reason: SkipReason
        let count: Int
    }

    let claims: Claims
    var scheduler: Scheduler
    /// Milliseconds since the epoch.
    var now: Int
    /// How long every run takes; nil: for ever.
    var duration: Int? = 0
    var calls: [Call] = []
    var skips: [Skip] = []
    var ended: [(id: String, tick: Int, status: RunStatus)] = []
    var memories: [String: JobMemory] = [:]
    private var ends: [(fire: Int, at: Int)] = []
    private var schedules = CronSchedules(zones: ExpressionTests.zones)

    init(_ start: String, claims: Claims = Claims(), memories: [String: JobMemory] = [:], left: [HeldClaim] = []) {
        self.claims = claims
        now = ExpressionTests.epoch(start) * 1_000
        self.memories = memories
        scheduler = Scheduler(memories: memories, left: left)
    }

    mutating func trigger(_ id: String, _ config: JSONValue, function: String = "jobs::one") throws -> CronTrigger {
        let target = try TriggerTarget(function: function)
        return try CronTrigger(
            TriggerBinding(id: id, triggerType: "cron", target: target, config: config), schedules: &schedules, now: now)
    }

    mutating func register(_ id: String, _ config: JSONValue, function: String = "jobs::one") throws {
        let trigger = try trigger(id, config, function: function)
        perform(scheduler.register(trigger, now: now))
    }

    mutating func serve() { perform(scheduler.serve(now: now)) }
    mutating func unregister(_ id: String, isWithdrawn: Bool) { perform(scheduler.unregister(id, isWithdrawn: isWithdrawn)) }

    /// Lets time pass, and everything happen that is due in it.
    mutating func run(until text: String) { run(untilMilliseconds: ExpressionTests.epoch(text) * 1_000) }

    mutating func run(untilMilliseconds end: Int, wakeLatency: Int = 0) {
        while true {
            let wake = scheduler.nextWake.map { max($0 + wakeLatency, now) } ?? .max
            let next = min(wake, ends.map(\.at).min() ?? .max)
            guard next <= end else { break }
            now = max(now, next)
            for finished in ends.filter({ $0.at <= now }) {
                ends.removeAll { $0.fire == finished.fire }
                perform(scheduler.ended(finished.fire, .ok, now: now))
            }
            perform(scheduler.advance(now: now))
        }
        now = max(now, end)
    }

    /// The clock is set.
    mutating func setClock(_ text: String) {
        let shift = ExpressionTests.epoch(text) * 1_000 - now
        ends = ends.map { ($0.fire, $0.at + shift) }
        now += shift
        perform(scheduler.clockStepped(now: now))
    }

    /// Wakes it as a timer does, whatever is due.
    mutating func wake() { perform(scheduler.advance(now: now)) }

    mutating func end(_ tick: Int, _ status: RunStatus = .ok) {
        guard let fire = scheduler.fires.values.first(where: { $0.tick == tick && $0.stage == .running }) else { return }
        ends.removeAll { $0.fire == fire.id }
        perform(scheduler.ended(fire.id, status, now: now))
    }

    mutating func perform(_ effects: [CronEffect]) {
        var queue = effects
        while !queue.isEmpty {
            switch queue.removeFirst() {
            case .claim(let fire): queue += answer(fire)
            case .call(let fire):
                calls.append(Call(id: fire.trigger.id, tick: fire.tick, at: now, kind: fire.kind, attempt: fire.attempt))
                if let duration { ends.append((fire.id, now + duration)) }
            case .ended(let fire, let status, _):
                ends.removeAll { $0.fire == fire.id }
                ended.append((fire.trigger.id, fire.tick, status))
            case .release(let fire):
                if claims.table[key(fire)]?.owner.hasPrefix("\(fire.id)/\(fire.trigger.id)/") == true {
                    claims.table[key(fire)]?.isOpen = false
                }
            case .skipped(_, _, let tick, let reason, let count): skips.append(Skip(tick: tick, reason: reason, count: count))
            case .remember(let identity, let memory): memories[identity] = memory
            case .lost(_, let claim, let isRetried):
                let key = ClaimTable.Key(identity: claim.identity, ordinal: claim.ordinal, tick: claim.tick)
                if !isRetried { claims.table[key]?.isOpen = false }
                ended.append(("", claim.tick, .lost))
            }
        }
    }

    private func key(_ fire: Fire) -> ClaimTable.Key {
        ClaimTable.Key(identity: fire.lane.identity, ordinal: fire.lane.ordinal, tick: fire.tick)
    }

    private mutating func answer(_ fire: Fire) -> [CronEffect] {
        if claims.isAway { return scheduler.claimFailed(fire.id, now: now) }
        var request = ClaimRequest(
            identity: fire.lane.identity, ordinal: fire.lane.ordinal, tick: fire.tick, owner: "\(fire.id)/\(fire.trigger.id)/\(now)",
            timeToLive: 90_000_000)
        if case .claiming(let intent) = fire.stage { request.intent = intent }
        request.maximumRuns = fire.trigger.options.maximumRuns
        request.isInitiallyPaused = fire.trigger.options.isPaused
        request.takesOverLost = fire.takesOverLost
        let lane = "\(request.identity)#\(request.ordinal)"
        let decision = ClaimTable.decide(
            request, found: claims.table[key(fire)], runs: claims.runs[lane] ?? 0, pause: claims.pauses[request.identity],
            nextFence: claims.fence + 1, now: now)
        switch decision {
        case .answer(let outcome): return scheduler.claimed(fire.id, outcome, now: now)
        case .claim(let claim, let outcome):
            claims.fence += 1
            claims.table[key(fire)] = claim
            if request.maximumRuns != nil, request.intent == .run, claim.attempt == 1 { claims.runs[lane, default: 0] += 1 }
            return scheduler.claimed(fire.id, outcome, now: now)
        }
    }

    /// The ticks that were called, as texts.
    var ticks: [String] { calls.map { ExpressionTests.text($0.tick) } }
    func times(_ day: String, _ times: String...) -> [String] { times.map { "\(day)T\($0)" } }
}
