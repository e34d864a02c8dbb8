/// Decides what fires when: jobs, their next ticks, policies, catch-up. Pure: time is an argument (milliseconds since the epoch), and what
/// follows comes back as effects for the shell.
///
/// Each trigger has one entry in the heap. A tick goes through `advance`, its claim (`claimed`), its run (`ended`); what is
/// known of a tick's fate is written in `docs/guarantees.md`. Between `suspend` and `serve` nothing new is started.
struct Scheduler {
    struct Limits: Sendable {
        /// How late a tick may be found by a running process and still run, where the trigger says nothing.
        var lateGrace = 120_000
        /// Late ticks of one job that run; older ones count as missed.
        var lateTicks = 120
        /// Fires under way; beyond, what is due waits. As many as the link holds calls for.
        var fires = 16_000
        /// Missed ticks of one job that are counted, one by one: thousands of jobs look back at the same moment, and nothing fires meanwhile.
        var counted = 1_000
        /// Jobs whose ticks are remembered, those that nobody has registered any more included; of these the ones that ticked last stay.
        var memories = 200_000
        /// Claims that an earlier process left and nobody asked for are closed after this time.
        var leftClaims = 3_600_000
    }

    struct Job {
        let trigger: CronTrigger
        let stamp: Int
        /// Epoch seconds; nil when nothing comes any more.
        var next: Int?
        /// Of the tick before `next` that was taken up.
        var previous: Int?
        /// Ticks that were missed before this registration are still to be looked for.
        var owesCatchUp = false
    }

    struct Lane {
        var recent = RecentTicks()
        /// Ids of fires, in the order in which they began.
        var fires: [Int] = []
        /// Ticks to catch up with, ascending.
        var catchUp: [Int] = []
        /// The fire that waits for the end of another (`queue_one`).
        var queued: Int?
    }

    enum Peers {
        case one(Int)
        /// Slots, by trigger id.
        case many([Int])
    }

    let limits: Limits
    var slots: [Job?] = []
    var freeSlots: [Int] = []
    var index: [String: Int] = [:]
    var peers: [String: Peers] = [:]
    var lanes: [LaneKey: Lane] = [:]
    var fires: [Int: Fire] = [:]
    var heap = DueHeap()
    /// Claims to be asked for again, by fire: their owners may be gone by then.
    var rechecks = DueHeap()
    var recheckFires: [Int: Fire] = [:]
    /// Lanes whose catching up waits for room among the fires.
    var stalled: [(key: LaneKey, trigger: CronTrigger)] = []
    var memories: [String: JobMemory]
    /// Claims that an earlier process has left and whose triggers are not back, by job.
    var left: [String: [HeldClaim]]
    /// The tick of the oldest of them.
    var oldestLeft: Int?
    private(set) var isServing = false
    private var nextStamp = 1
    private var nextFire = 1

    /// - `memories`, `left`: what the store has of the processes before.
    init(limits: Limits = Limits(), memories: [String: JobMemory] = [:], left: [HeldClaim] = []) {
        self.limits = limits
        self.memories = memories
        self.left = Dictionary(grouping: left, by: \.identity)
        oldestLeft = left.map(\.tick).min()
    }

    // MARK: Looking

    var count: Int { index.count }
    /// Runs, and ticks on their way to become one.
    var underWay: Int { fires.count }
    /// When `advance` has something to do; nil when nothing is due ever.
    var nextWake: Int? {
        guard isServing, fires.count < limits.fires else { return nil }
        return [heap.first?.at, rechecks.first?.at].compactMap { $0 }.min()
    }
    func job(_ id: String) -> Job? { index[id].flatMap { slots[$0] } }
    func trigger(_ id: String) -> CronTrigger? { job(id)?.trigger }
    /// The trigger with this key; the first by id if there are several.
    func trigger(key: String) -> CronTrigger? {
        slots.lazy.compactMap { $0?.trigger }.filter { $0.options.key == key }.min { $0.id < $1.id }
    }
    /// Runs under way, by the id of their trigger.
    var running: [String: Int] {
        fires.values.reduce(into: [:]) { if $1.stage == .running { $0[$1.trigger.id, default: 0] += 1 } }
    }
    /// The first `limit` triggers behind `after`, by id, and how many there are in all and behind them. Never sorts more than a page.
    func page(after: String?, limit: Int, function: String?) -> (triggers: [CronTrigger], total: Int, isLast: Bool) {
        var page: [CronTrigger] = []
        var (total, behind) = (0, 0)
        for job in slots {
            guard let trigger = job?.trigger, function == nil || trigger.target.functionID.text == function else { continue }
            total += 1
            if let after, trigger.id <= after { continue }
            behind += 1
            if page.count == limit, let last = page.last {
                guard trigger.id < last.id else { continue }
                page.removeLast()
            }
            page.insert(trigger, at: page.firstIndex { $0.id > trigger.id } ?? page.count)
        }
        return (page, total, behind == page.count)
    }

    /// The rank of a trigger among its equals: decides who has which claim.
    func lane(of trigger: CronTrigger) -> LaneKey {
        guard !trigger.options.isSingleton, case .many(let equals) = peers[trigger.identity] else {
            return LaneKey(identity: trigger.identity, ordinal: 0)
        }
        return LaneKey(identity: trigger.identity, ordinal: rank(of: trigger.id, among: equals))
    }

    /// How many of `equals`, which are in the order of their ids, come before `id`.
    private func rank(of id: String, among equals: [Int]) -> Int {
        var low = 0
        var high = equals.count
        while low < high {
            let middle = (low + high) / 2
            if slots[equals[middle]]?.trigger.id ?? "" < id { low = middle + 1 } else { high = middle }
        }
        return low
    }

    // MARK: Registrations

    /// Puts a trigger in force, in the place of one with its id.
    mutating func register(_ trigger: CronTrigger, now: Int) -> [CronEffect] {
        var effects: [CronEffect] = []
        if index[trigger.id] != nil { remove(trigger.id) }
        let slot = freeSlots.popLast() ?? slots.count
        if slot == slots.count { slots.append(nil) }
        index[trigger.id] = slot
        var job = Job(trigger: trigger, stamp: takeStamp())
        job.next = trigger.next(after: RFC3339.floor(now, 1_000))
        job.owesCatchUp = trigger.options.catchUp != .none
        slots[slot] = job
        addPeer(trigger, slot)
        schedule(slot)
        if isServing {
            lookBack(slot, now: now, &effects)
            settleLeftClaims(of: trigger.identity, now: now, &effects)
        }
        return effects
    }

    /// Takes a trigger out of force; its runs go on to their end. `isWithdrawn`: its owner took it back, so nothing is owed for the time
    /// until it is registered again.
    mutating func unregister(_ id: String, isWithdrawn: Bool) -> [CronEffect] {
        guard let trigger = trigger(id) else { return [] }
        remove(id)
        guard isWithdrawn, peers[trigger.identity] == nil, memories.removeValue(forKey: trigger.identity) != nil else { return [] }
        return [.remember(trigger.identity, nil)]
    }

    private mutating func remove(_ id: String) {
        guard let slot = index.removeValue(forKey: id), let trigger = slots[slot]?.trigger else { return }
        switch peers.removeValue(forKey: trigger.identity) {
        case .many(var equals):
            equals.remove(at: rank(of: id, among: equals))
            peers[trigger.identity] = equals.count == 1 ? .one(equals[0]) : .many(equals)
        case .one, nil: break
        }
        slots[slot] = nil
        freeSlots.append(slot)
        // Ranks are counted through, so it is the last lane that nobody has any more.
        forgetIfNobodys(LaneKey(identity: trigger.identity, ordinal: countOfPeers(trigger.identity)))
        compactIfWorthIt()
    }

    private func countOfPeers(_ identity: String) -> Int {
        switch peers[identity] {
        case nil: 0
        case .one: 1
        case .many(let equals): equals.count
        }
    }

    /// Forgets a lane whose rank no trigger has, unless something of it is under way.
    mutating func forgetIfNobodys(_ key: LaneKey) {
        guard key.ordinal >= countOfPeers(key.identity), lanes[key]?.fires.isEmpty == true else { return }
        lanes[key] = nil
    }

    private mutating func addPeer(_ trigger: CronTrigger, _ slot: Int) {
        switch peers[trigger.identity] {
        case nil: peers[trigger.identity] = .one(slot)
        case .one(let other): insert(slot, trigger, into: [other])
        case .many(let others): insert(slot, trigger, into: others)
        }
    }

    private mutating func insert(_ slot: Int, _ trigger: CronTrigger, into equals: [Int]) {
        // Let go of first, so that the array is not copied.
        peers[trigger.identity] = nil
        var equals = equals
        equals.insert(slot, at: rank(of: trigger.id, among: equals))
        peers[trigger.identity] = .many(equals)
    }

    // MARK: Serving

    /// The engine is there and has named its triggers: ticks may fire from now on.
    mutating func serve(now: Int) -> [CronEffect] {
        guard !isServing else { return [] }
        isServing = true
        var effects: [CronEffect] = []
        for slot in slots.indices where slots[slot]?.owesCatchUp == true { lookBack(slot, now: now, &effects) }
        for identity in left.keys.sorted() { settleLeftClaims(of: identity, now: now, &effects) }
        return effects + advance(now: now)
    }

    /// The engine is gone, or this process is to end: nothing new is started.
    mutating func suspend() { isServing = false }

    /// The clock was set: ticks that come before what was waited for are not passed over.
    mutating func clockStepped(now: Int) -> [CronEffect] {
        let second = RFC3339.floor(now, 1_000)
        for slot in slots.indices {
            guard let job = slots[slot], let tick = job.trigger.next(after: second), tick < job.next ?? .max else { continue }
            slots[slot]?.next = tick
            reschedule(slot)
        }
        compactIfWorthIt()
        return advance(now: now)
    }

    // MARK: The heap

    mutating func schedule(_ slot: Int) {
        guard let job = slots[slot], let next = job.next else { return }
        heap.add(at: job.trigger.due(next), slot: slot, stamp: job.stamp)
    }

    private mutating func reschedule(_ slot: Int) {
        guard let job = slots[slot] else { return }
        slots[slot] = Job(
            trigger: job.trigger, stamp: takeStamp(), next: job.next, previous: job.previous, owesCatchUp: job.owesCatchUp)
        schedule(slot)
    }

    private mutating func compactIfWorthIt() {
        guard heap.count > 64, heap.count > 2 * index.count else { return }
        let slots = slots
        heap.compact { slots[$0.slot]?.stamp == $0.stamp }
    }

    private mutating func takeStamp() -> Int {
        nextStamp += 1
        return nextStamp - 1
    }

    mutating func takeFireID() -> Int {
        nextFire += 1
        return nextFire - 1
    }
}
