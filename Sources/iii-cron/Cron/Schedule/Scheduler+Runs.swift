extension Scheduler {
    /// The lock store has answered. `recheckAfter`: in how many milliseconds the lease of somebody who is gone has ended.
    mutating func claimed(_ id: Int, _ outcome: ClaimOutcome, recheckAfter: Int = 30_000, now: Int) -> [CronEffect] {
        guard let fire = fires[id], case .claiming(let intent) = fire.stage else { return [] }
        var effects: [CronEffect] = []
        switch outcome {
        case .granted(let fence, let attempt):
            if intent == .skip {
                skip(fire, .overlap, &effects)
            } else if index[fire.trigger.id] == nil {
                effects.append(.release(fire))
                skip(fire, .unregistered, &effects)
            } else {
                fires[id]?.fence = fence
                fires[id]?.attempt = attempt
                run(id, now: now, &effects)
            }
        case .taken(let isOpen):
            if isOpen, fire.trigger.options.onLostClaim == .retry { recheck(fire, at: now + recheckAfter) }
            skip(fire, .claimed, &effects)
        case .overlaps: skip(fire, .overlap, &effects)
        case .paused: skip(fire, .paused, &effects)
        case .exhausted:
            if let slot = index[fire.trigger.id], slots[slot]?.trigger === fire.trigger { slots[slot]?.next = nil }
            skip(fire, .exhausted, &effects)
        }
        if fires[id] == nil { goOn(fire, now: now, &effects) }
        return effects
    }

    /// The lock store could not be asked, for as long as that was tried.
    mutating func claimFailed(_ id: Int, now: Int) -> [CronEffect] {
        guard let fire = fires[id], case .claiming(let intent) = fire.stage else { return [] }
        var effects: [CronEffect] = []
        if intent == .run, fire.trigger.options.onLockError == .run, index[fire.trigger.id] != nil {
            run(id, now: now, &effects)
            return effects
        }
        // It may have been granted although nobody heard of it.
        effects.append(.release(fire))
        skip(fire, .lockError, &effects)
        goOn(fire, now: now, &effects)
        return effects
    }

    /// The call has ended.
    mutating func ended(_ id: Int, _ status: RunStatus, error: String? = nil, now: Int) -> [CronEffect] {
        guard let fire = fires[id], fire.stage == .running else { return [] }
        var effects: [CronEffect] = [.ended(fire, status, error: error)]
        // A lost run may be retried by somebody else, if its claim stays open.
        if status != .lost || fire.trigger.options.onLostClaim == .skip { effects.append(.release(fire)) }
        drop(fire)
        goOn(fire, now: now, &effects)
        return effects
    }

    /// Another instance has the lease of this run, or nobody: what becomes of the call does not count any more.
    mutating func leaseLost(_ id: Int, now: Int) -> [CronEffect] { ended(id, .lost, error: "lease_lost", now: now) }

    /// A run because somebody asked for it; nil when the job's policy does not let it run now.
    mutating func runByHand(_ trigger: CronTrigger, now: Int) -> (id: Int, effects: [CronEffect])? {
        let key = lane(of: trigger)
        let isBusy = lanes[key]?.fires.isEmpty == false
        guard fires.count < limits.fires, !isBusy || [.allow, .replace].contains(trigger.options.concurrency) else { return nil }
        var effects: [CronEffect] = []
        let id = takeFireID()
        fires[id] = Fire(
            id: id, trigger: trigger, lane: key, kind: .manual, tick: RFC3339.floor(now, 1_000), stage: .claiming(.run))
        lanes[key, default: Lane()].fires.append(id)
        run(id, now: now, &effects)
        return (id, effects)
    }

    // MARK: Steps

    private mutating func run(_ id: Int, now: Int, _ effects: inout [CronEffect]) {
        guard let fire = fires[id], let lane = lanes[fire.lane] else { return }
        let others = lane.fires.filter { $0 != id }
        switch fire.trigger.options.concurrency {
        case .replace:
            for other in others {
                guard let old = fires[other], old.stage == .running else { continue }
                effects.append(.ended(old, .replaced, error: nil))
                effects.append(.release(old))
                drop(old)
            }
        case .queueOne where fire.kind == .tick && others.contains { fires[$0]?.stage == .running }:
            fires[id]?.stage = .waiting
            lanes[fire.lane]?.queued = id
            return
        default: break
        }
        if lanes[fire.lane]?.queued == id { lanes[fire.lane]?.queued = nil }
        fires[id]?.stage = .running
        fires[id]?.started = now
        if let running = fires[id] { effects.append(.call(running)) }
    }

    /// After something of a lane has ended: what waited for it.
    private mutating func goOn(_ fire: Fire, now: Int, _ effects: inout [CronEffect]) {
        if let id = lanes[fire.lane]?.queued, let queued = fires[id], queued.stage == .waiting,
            lanes[fire.lane]?.fires.contains(where: { fires[$0]?.stage == .running }) == false
        {
            if let deadline = queued.trigger.options.startingDeadline, now - queued.trigger.due(queued.tick) > deadline {
                effects.append(.release(queued))
                skip(queued, .missed, &effects)
            } else {
                run(id, now: now, &effects)
            }
        }
        if index[fire.trigger.id] != nil { catchUp(fire.lane, fire.trigger, now: now, &effects) }
        forgetIfNobodys(fire.lane)
    }

    private mutating func skip(_ fire: Fire, _ reason: SkipReason, _ effects: inout [CronEffect]) {
        effects.append(.skipped(fire.trigger, kind: fire.kind, tick: fire.tick, reason, count: 1))
        drop(fire)
    }

    private mutating func drop(_ fire: Fire) {
        fires[fire.id] = nil
        lanes[fire.lane]?.fires.removeAll { $0 == fire.id }
        if lanes[fire.lane]?.queued == fire.id { lanes[fire.lane]?.queued = nil }
    }

    private mutating func recheck(_ fire: Fire, at time: Int) {
        guard recheckFires.count < limits.fires else { return }
        recheckFires[fire.id] = fire
        rechecks.add(at: time, slot: fire.id, stamp: 0)
    }
}
