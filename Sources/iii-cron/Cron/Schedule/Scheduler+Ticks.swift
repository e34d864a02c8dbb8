extension Scheduler {
    /// Takes up what is due.
    mutating func advance(now: Int) -> [CronEffect] {
        guard isServing else { return [] }
        var effects: [CronEffect] = []
        while fires.count < limits.fires, let lane = stalled.popLast() { catchUp(lane.key, lane.trigger, now: now, &effects) }
        while fires.count < limits.fires, let entry = heap.first, entry.at <= now {
            _ = heap.popFirst()
            guard slots[entry.slot]?.stamp == entry.stamp else { continue }
            takeUp(entry.slot, now: now, &effects)
            schedule(entry.slot)
        }
        while let entry = rechecks.first, entry.at <= now {
            _ = rechecks.popFirst()
            guard let fire = recheckFires.removeValue(forKey: entry.slot) else { continue }
            ask(again: fire, now: now, &effects)
        }
        if let oldestLeft, now - oldestLeft * 1_000 > limits.leftClaims { closeOldLeftClaims(now: now, &effects) }
        return effects
    }

    /// All ticks of a job that are due, in their order; `next` is the first one that is not.
    private mutating func takeUp(_ slot: Int, now: Int, _ effects: inout [CronEffect]) {
        guard let job = slots[slot], let first = job.next else { return }
        let trigger = job.trigger
        let key = lane(of: trigger)
        let owedBefore = lanes[key]?.catchUp.count ?? 0
        var (ticks, next) = due(trigger, from: first, now: now)
        slots[slot]?.next = next
        if first < ticks.first ?? next ?? .max {
            let end = (ticks.first ?? next).map { $0 - 1 } ?? RFC3339.floor(now, 1_000)
            miss(trigger, after: first - 1, through: end, now: now, &effects)
        }
        let owed = (lanes[key]?.catchUp.count ?? 0) - owedBefore
        if owed > 0, let last = ticks.last {
            switch trigger.options.catchUp {
            case .none: break
            // The newest of them is the one that is only late.
            case .last: lanes[key]?.catchUp.removeLast(owed)
            // What is owed comes first, in one order with what is only late.
            case .all:
                lanes[key]?.catchUp += ticks
                ticks = []
            }
            decided(trigger, through: last, &effects)
        }
        for tick in ticks { begin(trigger, key, tick: tick, now: now, &effects) }
        if let last = ticks.last {
            slots[slot]?.previous = last
            decided(trigger, through: last, &effects)
        }
        catchUp(key, trigger, now: now, &effects)
    }

    /// The ticks from `first` on that are due and not too late, at most `lateTicks`, and the first one after them.
    private func due(_ trigger: CronTrigger, from first: Int, now: Int) -> (ticks: [Int], next: Int?) {
        let options = trigger.options
        let latest = options.startingDeadline ?? limits.lateGrace
        // Ticks up to here are too late, whatever their jitter.
        let tooLate = RFC3339.floor(now - latest - options.jitter + 999, 1_000) - 1
        let end = min(RFC3339.floor(now, 1_000), options.endAt.map { RFC3339.floor($0, 1_000) } ?? .max)
        var ticks = trigger.schedule.newest(limits.lateTicks, atOrBefore: end, after: max(first - 1, tooLate))
        guard options.jitter > 0 else { return (ticks, trigger.next(after: end)) }
        var next: Int?
        // Only of the last one can the time be still to come.
        if let last = ticks.last, trigger.due(last) > now {
            next = last
            ticks.removeLast()
        }
        ticks.removeAll { now - trigger.due($0) > latest }
        return (ticks, next ?? trigger.next(after: end))
    }

    /// One ordinary tick whose time has come.
    private mutating func begin(_ trigger: CronTrigger, _ key: LaneKey, tick: Int, now: Int, _ effects: inout [CronEffect]) {
        guard lanes[key, default: Lane()].recent.insert(tick) else {
            return effects.append(.skipped(trigger, kind: .tick, tick: tick, .claimed, count: 1))
        }
        let lane = lanes[key, default: Lane()]
        let isBusy = !lane.fires.isEmpty || !lane.catchUp.isEmpty
        var intent = ClaimRequest.Intent.run
        switch trigger.options.concurrency {
        case .forbid: if isBusy { intent = .skip }
        case .queueOne: if isBusy, lane.queued != nil { intent = .skip }
        case .allow, .replace: break
        }
        let isQueued = trigger.options.concurrency == .queueOne && isBusy && intent == .run
        let id = start(trigger, key, kind: .tick, tick: tick, intent: intent, isQueued: isQueued, &effects)
        if isQueued { lanes[key]?.queued = id }
    }

    /// Adds a fire and asks for its claim.
    @discardableResult
    mutating func start(
        _ trigger: CronTrigger, _ key: LaneKey, kind: RunRecord.Kind, tick: Int, intent: ClaimRequest.Intent, takesOverLost: Bool = false,
        isQueued: Bool = false, _ effects: inout [CronEffect]
    ) -> Int {
        let id = takeFireID()
        var fire = Fire(id: id, trigger: trigger, lane: key, kind: kind, tick: tick, stage: .claiming(intent))
        fire.takesOverLost = takesOverLost
        fire.isQueued = isQueued
        fires[id] = fire
        // What is skipped keeps nothing away from running.
        if intent == .run { lanes[key, default: Lane()].fires.append(id) }
        effects.append(.claim(fire))
        return id
    }

    // MARK: Missed ticks

    /// The ticks in (`earliest`, `through`] were not fired and are too late: what is owed for them is put aside, the rest is counted.
    private mutating func miss(
        _ trigger: CronTrigger, after earliest: Int, through: Int, now: Int, _ effects: inout [CronEffect]
    ) {
        let owed = owed(trigger, after: earliest, through: through, now: now)
        let missed = trigger.schedule.count(after: earliest, through: through, limit: limits.counted)
        lanes[lane(of: trigger), default: Lane()].catchUp += owed
        if missed > owed.count, let last = trigger.schedule.newest(1, atOrBefore: through, after: earliest).last {
            effects.append(.skipped(trigger, kind: .tick, tick: last, .missed, count: missed - owed.count))
        }
        decided(trigger, through: through, &effects)
    }

    /// Which of the missed ticks in (`earliest`, `through`] are run after all. `starting_deadline_ms` is applied first.
    private func owed(_ trigger: CronTrigger, after earliest: Int, through: Int, now: Int) -> [Int] {
        let options = trigger.options
        guard options.catchUp != .none else { return [] }
        let reach = min(options.catchUpWindow, options.startingDeadline ?? .max)
        let from = max(earliest, RFC3339.floor(now - reach + 999, 1_000) - 1, (options.startAt ?? 0) / 1_000 - 1)
        let to = options.endAt.map { min(through, RFC3339.floor($0, 1_000)) } ?? through
        guard from < to else { return [] }
        return trigger.schedule.newest(options.catchUp == .last ? 1 : options.catchUpLimit, atOrBefore: to, after: from)
    }

    /// At the registration of a job that catches up: what was missed since it was last decided about.
    mutating func lookBack(_ slot: Int, now: Int, _ effects: inout [CronEffect]) {
        guard let job = slots[slot], job.owesCatchUp else { return }
        slots[slot]?.owesCatchUp = false
        let trigger = job.trigger
        let second = RFC3339.floor(now, 1_000)
        guard let memory = memories[trigger.identity], memory.signature == trigger.schedule.signature else {
            // A new job, or an edited schedule, which owes nothing from before.
            let memory = JobMemory(signature: trigger.schedule.signature, since: now, through: second)
            if memories.count >= limits.memories { forgetStrangers(&effects) }
            memories[trigger.identity] = memory
            return effects.append(.remember(trigger.identity, memory))
        }
        guard memory.through < second else { return }
        let key = lane(of: trigger)
        // Equal registrations look back at the same time, each for its own claims.
        let owed = owed(trigger, after: memory.through, through: second, now: now)
        let missed = trigger.schedule.count(after: memory.through, through: second, limit: limits.counted)
        if missed > owed.count, let last = trigger.schedule.newest(1, atOrBefore: second, after: memory.through).last {
            effects.append(.skipped(trigger, kind: .tick, tick: last, .missed, count: missed - owed.count))
        }
        lanes[key, default: Lane()].catchUp += owed
        if owed.isEmpty { decided(trigger, through: second, &effects) }
        catchUp(key, trigger, now: now, &effects)
    }

    /// Forgets half of the jobs that nobody has registered now, those first whose ticks are furthest back.
    private mutating func forgetStrangers(_ effects: inout [CronEffect]) {
        let strangers = memories.filter { peers[$0.key] == nil }.sorted { $0.value.through < $1.value.through }
        for (identity, _) in strangers.prefix((strangers.count + 1) / 2) {
            memories[identity] = nil
            effects.append(.remember(identity, nil))
        }
    }

    /// Remembers, for jobs that catch up, how far their ticks have been decided about.
    private mutating func decided(_ trigger: CronTrigger, through tick: Int?, _ effects: inout [CronEffect]) {
        guard trigger.options.catchUp != .none, let tick else { return }
        let memory = memories[trigger.identity]
        guard tick > memory?.through ?? .min else { return }
        let new = JobMemory(signature: trigger.schedule.signature, since: memory?.since ?? tick * 1_000, through: tick)
        memories[trigger.identity] = new
        effects.append(.remember(trigger.identity, new))
    }

    /// Starts the next of the ticks to catch up with, if none of them is under way.
    mutating func catchUp(_ key: LaneKey, _ trigger: CronTrigger, now: Int, _ effects: inout [CronEffect]) {
        guard isServing else { return }
        while let lane = lanes[key], let tick = lane.catchUp.first,
            !lane.fires.contains(where: { fires[$0]?.kind == .catchUp })
        {
            guard fires.count < limits.fires else { return stalled.append((key, trigger)) }
            guard lanes[key]?.recent.insert(tick) == true else {
                lanes[key]?.catchUp.removeFirst()
                continue
            }
            start(trigger, key, kind: .catchUp, tick: tick, intent: .run, &effects)
            // It is in `fires` from here on, which keeps ordinary ticks away as well.
            lanes[key]?.catchUp.removeFirst()
        }
        if let last = lanes[key]?.fires.last, let fire = fires[last], fire.kind == .catchUp {
            decided(trigger, through: fire.tick, &effects)
        }
    }

    // MARK: Claims that an earlier process has left

    mutating func settleLeftClaims(of identity: String, now: Int, _ effects: inout [CronEffect]) {
        guard let claims = left.removeValue(forKey: identity) else { return }
        var remaining: [HeldClaim] = []
        for claim in claims {
            guard let trigger = owner(of: claim) else {
                remaining.append(claim)
                continue
            }
            let age = now - trigger.due(claim.tick)
            let key = LaneKey(identity: claim.identity, ordinal: claim.ordinal)
            let isRetried = trigger.options.onLostClaim == .retry && age <= trigger.options.startingDeadline ?? limits.lateGrace
            effects.append(.lost(trigger, claim, isRetried: isRetried))
            guard isRetried else { continue }
            _ = lanes[key, default: Lane()].recent.insert(claim.tick)
            start(trigger, key, kind: .tick, tick: claim.tick, intent: .run, takesOverLost: true, &effects)
        }
        if !remaining.isEmpty { left[identity] = remaining }
    }

    private mutating func closeOldLeftClaims(now: Int, _ effects: inout [CronEffect]) {
        oldestLeft = nil
        let oldest = now - limits.leftClaims
        for (identity, claims) in left {
            for claim in claims where claim.tick * 1_000 < oldest { effects.append(.lost(nil, claim, isRetried: false)) }
            let rest = claims.filter { $0.tick * 1_000 >= oldest }
            left[identity] = rest.isEmpty ? nil : rest
            oldestLeft = (rest.map(\.tick) + [oldestLeft].compactMap { $0 }).min()
        }
    }

    private func owner(of claim: HeldClaim) -> CronTrigger? {
        let key = LaneKey(identity: claim.identity, ordinal: claim.ordinal)
        switch peers[claim.identity] {
        case nil: return nil
        case .one(let slot): return slots[slot].flatMap { lane(of: $0.trigger) == key ? $0.trigger : nil }
        case .many(let equals): return equals.lazy.compactMap { slots[$0]?.trigger }.first { lane(of: $0) == key }
        }
    }

    /// The claim of somebody else's run that may have been lost meanwhile.
    private mutating func ask(again fire: Fire, now: Int, _ effects: inout [CronEffect]) {
        guard index[fire.trigger.id] != nil, now - fire.trigger.due(fire.tick) <= fire.trigger.options.startingDeadline ?? limits.lateGrace
        else { return }
        start(fire.trigger, fire.lane, kind: fire.kind, tick: fire.tick, intent: .run, takesOverLost: true, &effects)
    }
}
