import IIIProtocol
import IIITelemetry
import IIIWorker
import Logging
import NIOCore

/// Carries out what `Scheduler` decides: asks the lock store, calls functions, writes the journal, renews leases. Confined to the event loop.
final class CronRuns {
    let journal: any RunJournal
    private let claims: any FireClaim
    private unowned let worker: CronWorker
    private let context: CoreWorkerContext
    /// Leads the owner of every claim of this process.
    private let ownerPrefix: String
    /// Claims of runs under way, by fire.
    private var held: [Int: HeldClaim] = [:]
    /// Calls that have not been answered.
    private(set) var running = 0
    /// Whoever waits for a manual run.
    private var waiters: [Int: (RunStatus, String?) -> Void] = [:]
    /// The last claim of a lane that was given back: the next one asks behind it.
    private var finishing: [LaneKey: Task<Void, Never>] = [:]
    private let unfinished: UnfinishedClaims
    private var renewal: CoreWorkerTimer?
    private var isRenewing = false
    private var onIdle: (() -> Void)?
    /// Triggers whose last run failed: said once, not at every tick.
    private var failing: Set<String> = []
    private var isLockStoreInTrouble = false

    /// How long a claim is tried before `on_lock_error` decides, in milliseconds.
    private static let patience = 5_000
    /// What clocks of instances may differ by, and a claim lives beyond its use.
    private static let clockSkew = 300_000
    private static let shortestClaim = 3_600_000

    init(worker: CronWorker, claims: any FireClaim, journal: any RunJournal, instance: String) {
        self.worker = worker
        context = worker.context
        self.claims = claims
        unfinished = UnfinishedClaims(claims)
        self.journal = journal
        ownerPrefix = "\(instance)/\(UUIDBits.random().text.prefix(8))"
        if let lease = claims.lease {
            renewal = context.schedule(every: .milliseconds(max(lease / 3, 100))) { [self] in renew() }
        }
    }

    // MARK: Effects

    func perform(_ effects: [CronEffect]) {
        for effect in effects {
            switch effect {
            case .claim(let fire): claim(fire)
            case .call(let fire): call(fire)
            case .ended(let fire, let status, let error): ended(fire, status, error)
            case .release(let fire): release(fire)
            case .skipped(let trigger, let kind, let tick, let reason, let count): skipped(trigger, kind, tick, reason, count)
            case .remember(let identity, let memory): journal.remember(identity, memory)
            case .lost(let trigger, let claim, let isRetried): lost(trigger, claim, isRetried: isRetried)
            }
        }
        if worker.scheduler.underWay == 0, let idle = onIdle {
            onIdle = nil
            idle()
        }
    }

    private func owner(of fire: Fire) -> String { "\(ownerPrefix)/\(fire.id)" }

    private func heldClaim(_ fire: Fire) -> HeldClaim {
        HeldClaim(
            identity: fire.lane.identity, ordinal: fire.lane.ordinal, tick: fire.tick, owner: owner(of: fire), lease: fire.lease)
    }

    // MARK: Claims

    private func request(_ fire: Fire) -> ClaimRequest {
        let options = fire.trigger.options
        let window = options.catchUp == .none ? 0 : options.catchUpWindow
        var request = ClaimRequest(
            identity: fire.lane.identity, ordinal: fire.lane.ordinal, tick: fire.tick, owner: owner(of: fire),
            timeToLive: Self.clockSkew + max(Self.shortestClaim, window))
        if case .claiming(let intent) = fire.stage { request.intent = intent }
        request.lease = fire.lease
        request.maximumRuns = options.maximumRuns
        request.isInitiallyPaused = options.isPaused
        request.takesOverLost = fire.takesOverLost
        return request
    }

    private func claim(_ fire: Fire) {
        let request = request(fire)
        let (claims, before, id) = (claims, finishing[fire.lane], fire.id)
        let lateBy = max(0, worker.milliseconds - fire.trigger.due(fire.tick))
        let left = fire.trigger.options.startingDeadline.map { max(0, $0 - lateBy) } ?? .max
        let patience = Duration.milliseconds(min(Self.patience, left))
        context.perform {
            await before?.value
            return try await Self.ask(claims, request, patience: patience)
        } then: { [self] result in
            claimAnswered(id, fire, result)
        }
    }

    /// Asks until there is an answer or patience is at its end: a blink of the lock store costs no tick.
    private static func ask(_ claims: any FireClaim, _ request: ClaimRequest, patience: Duration) async throws -> ClaimOutcome {
        let deadline = ContinuousClock.now + patience
        var pause = Duration.milliseconds(50)
        while true {
            do { return try await claims.claim(request) } catch {
                guard ContinuousClock.now + pause < deadline else { throw error }
                try await Task.sleep(for: pause)
                pause = min(pause * 2, .milliseconds(500))
            }
        }
    }

    private func claimAnswered(_ id: Int, _ fire: Fire, _ result: Result<ClaimOutcome, any Error>) {
        switch result {
        case .success(let outcome):
            isLockStoreInTrouble = false
            if outcome == .paused { worker.pauses[fire.lane.identity] = worker.pauses[fire.lane.identity] ?? true }
            let recheckAfter = (claims.lease ?? 0) + 1_000
            worker.perform(worker.scheduler.claimed(id, outcome, recheckAfter: recheckAfter, now: worker.milliseconds))
        case .failure(let error):
            worker.metrics.claimFailed()
            if !isLockStoreInTrouble {
                context.logger.error(
                    .cronClaimFailed, "the lock store cannot be asked; ticks are handled as their on_lock_error says",
                    metadata: ["trigger_id": "\(fire.trigger.id)", "error": "\(error)"])
            }
            isLockStoreInTrouble = true
            worker.perform(worker.scheduler.claimFailed(id, now: worker.milliseconds))
        }
    }

    private func release(_ fire: Fire) {
        // A run by hand has not asked for a claim. One that has may have it, also where it was not told so.
        guard fire.kind != .manual else { return }
        held[fire.id] = nil
        finish(heldClaim(fire))
    }

    /// Says that a run is over, again and again until it is heard: an open claim counts as lost.
    private func finish(_ claim: HeldClaim) {
        let key = LaneKey(identity: claim.identity, ordinal: claim.ordinal)
        let first = Task { [claims, unfinished] in
            // Done when it was tried once; what failed is tried on behind it.
            do { try await claims.finish(claim) } catch { unfinished.add(claim) }
        }
        finishing[key] = first
        context.perform {
            await first.value
        } then: { [self] _ in
            if finishing[key] == first { finishing[key] = nil }
        }
    }

    private func renew() {
        guard !isRenewing, !held.isEmpty else { return }
        isRenewing = true
        let claims = claims
        let all = Array(held.values)
        context.perform {
            try await claims.renew(all)
        } then: { [self] result in
            isRenewing = false
            // A store that cannot be asked has taken no lease away yet.
            guard case .success(let lost) = result, !lost.isEmpty else { return }
            let owners = Set(lost)
            for (id, claim) in held where owners.contains(claim.owner) {
                held[id] = nil
                worker.perform(worker.scheduler.leaseLost(id, now: worker.milliseconds))
            }
        }
    }

    // MARK: Runs

    private func call(_ fire: Fire) {
        if fire.fence != nil { held[fire.id] = heldClaim(fire) }
        if fire.isQueued {
            // The run before it has given the job's lease back.
            let (claims, request) = (claims, request(fire))
            let before = finishing[fire.lane]
            Task {
                await before?.value
                _ = try? await claims.claim(request)
            }
        }
        journal.began(record(fire, .running))
        let span = span(of: fire)
        running += 1
        let now = worker.now
        if fire.kind != .manual { worker.metrics.began(lateMilliseconds: now / 1_000_000 - fire.trigger.due(fire.tick)) }
        let timeout = fire.trigger.options.timeout ?? worker.configuration.timeout
        let id = fire.id
        context.calls.fire(
            fire.trigger.target, condition: fire.trigger.condition, payload: CronPayload.bytes(fire, now: now),
            trace: span.context, timeout: timeout > 0 ? .milliseconds(Int64(timeout)) : nil
        ) { [self] outcome in
            let (status, error) = Self.status(outcome)
            running -= 1
            if let error { span.fail(error) } else { span.end(.ok) }
            worker.perform(worker.scheduler.ended(id, status, error: error?.code, now: worker.milliseconds))
        }
    }

    /// A root, since nobody has asked for the run.
    private func span(of fire: Fire) -> TraceSpan {
        let function = fire.trigger.target.functionID.text
        let span = context.telemetry.span("call \(function)", .producer)
        span.set("job_id", .string(fire.trigger.id))
        span.set("function_id", .string(function))
        span.set("faas.trigger", "timer")
        return span
    }

    private static func status(_ outcome: OutboundCalls.Outcome) -> (RunStatus, InvocationError?) {
        switch outcome {
        case .completed: (.ok, nil)
        case .skipped: (.conditionFalse, nil)
        case .conditionFailed(let error): (.conditionFailed, error)
        case .failed(let error) where error.code == ErrorCode.timeout.rawValue: (.timedOut, error)
        case .failed(let error): (.error, error)
        }
    }

    private func ended(_ fire: Fire, _ status: RunStatus, _ error: String?) {
        held[fire.id] = nil
        let now = worker.milliseconds
        var run = record(fire, status)
        run.ended = now
        run.error = error
        journal.ended(run)
        worker.metrics.ended(fire.trigger, status, milliseconds: now - fire.started)
        waiters.removeValue(forKey: fire.id)?(status, error)
        tell(fire, status, error)
    }

    private func tell(_ fire: Fire, _ status: RunStatus, _ error: String?) {
        switch status {
        case .ok, .conditionFalse, .replaced, .running, .skipped:
            if failing.remove(fire.trigger.id) != nil {
                context.logger.info(
                    "a cron job runs again",
                    metadata: ["trigger_id": "\(fire.trigger.id)", "function_id": "\(fire.trigger.target.functionID)"])
            }
        case .error, .timedOut, .conditionFailed, .lost:
            guard worker.scheduler.trigger(fire.trigger.id) != nil, failing.insert(fire.trigger.id).inserted else { return }
            context.logger.warning(
                .cronRunFailed, "a cron job failed; its schedule goes on",
                metadata: [
                    "trigger_id": "\(fire.trigger.id)", "function_id": "\(fire.trigger.target.functionID)", "status": "\(status.rawValue)",
                    "error": "\(error ?? "")", "scheduled_time": "\(RFC3339.text(seconds: fire.tick))",
                ])
        }
    }

    /// The trigger is gone: how its last run ended is nobody's concern.
    func forget(_ triggerID: String) { failing.remove(triggerID) }

    private func record(_ fire: Fire, _ status: RunStatus) -> RunRecord {
        RunRecord(
            owner: owner(of: fire), triggerID: fire.trigger.id, identity: fire.lane.identity,
            functionID: fire.trigger.target.functionID.text, kind: fire.kind, tick: fire.tick, attempt: fire.attempt,
            started: fire.started, status: status)
    }

    // MARK: Ticks that were not run

    private func skipped(_ trigger: CronTrigger, _ kind: RunRecord.Kind, _ tick: Int, _ reason: SkipReason, _ count: Int) {
        worker.metrics.skipped(reason, count: count)
        guard reason.isRecorded else { return }
        let now = worker.milliseconds
        journal.ended(
            RunRecord(
                owner: "\(ownerPrefix)/skip/\(UUIDBits.random().text)", triggerID: trigger.id, identity: trigger.identity,
                functionID: trigger.target.functionID.text, kind: kind, tick: tick, attempt: 0, started: now, ended: now, status: .skipped,
                error: reason.rawValue))
        if reason == .missed {
            context.logger.warning(
                .cronTickMissed, "ticks were missed and are not caught up with",
                metadata: [
                    "trigger_id": "\(trigger.id)", "function_id": "\(trigger.target.functionID)", "count": "\(count)",
                    "last": "\(RFC3339.text(seconds: tick))",
                ])
        }
    }

    private func lost(_ trigger: CronTrigger?, _ claim: HeldClaim, isRetried: Bool) {
        if let trigger {
            let now = worker.milliseconds
            journal.lost(
                RunRecord(
                    owner: claim.owner, triggerID: trigger.id, identity: claim.identity, functionID: trigger.target.functionID.text,
                    kind: .tick, tick: claim.tick, attempt: 1, started: claim.tick * 1_000, ended: now, status: .lost))
            worker.metrics.ended(trigger, .lost, milliseconds: nil)
        }
        if !isRetried { finish(claim) }
    }

    // MARK: By hand

    /// Runs a job now. `completion` gets how it ended; nil when its policy does not let it run.
    func runByHand(_ trigger: CronTrigger, completion: @escaping (RunStatus, String?) -> Void) -> Bool {
        guard let (id, effects) = worker.scheduler.runByHand(trigger, now: worker.milliseconds) else { return false }
        waiters[id] = completion
        worker.perform(effects)
        return true
    }

    /// Pauses or resumes a job at every instance; nil: as its trigger says.
    func setPaused(_ identity: String, _ isPaused: Bool?, then: @escaping (Result<Void, any Error>) -> Void) {
        let claims = claims
        context.perform {
            try await claims.setPaused(identity, isPaused)
        } then: { [self] result in
            if case .success = result { worker.pauses[identity] = isPaused }
            then(result)
        }
    }

    // MARK: End

    /// Runs `work` when nothing is under way any more, or when `deadline` is there.
    func whenIdle(by deadline: NIODeadline, _ work: @escaping () -> Void) {
        guard worker.scheduler.underWay > 0 else { return work() }
        var work: (() -> Void)? = work
        let once = {
            work?()
            work = nil
        }
        onIdle = once
        let bound = NIOLoopBound(once, eventLoop: context.eventLoop)
        context.eventLoop.scheduleTask(deadline: deadline) { bound.value() }
    }

    /// What has to happen before the process may end, once nothing is under way. For an async step: nothing of it is confined.
    func end() -> @Sendable () async -> Void {
        renewal?.cancel()
        let (last, journal, claims) = (Array(finishing.values), journal, claims)
        return {
            for task in last { await task.value }
            await journal.flush()
            await claims.close()
        }
    }
}
