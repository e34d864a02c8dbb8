import IIIProtocol

/// A binding of a function to a kind of event (docs/reference/worker-protocol.md#triggers). Raw members are JSON text,
/// passed on verbatim.
///
/// A provider may refuse an update and keep what it had. So the record knows which binding the provider has accepted, and which
/// updates wait for its word; what is listed is the newest of them, until the provider refuses it.
package final class TriggerRecord {
    /// Who holds the binding now.
    package enum Holder {
        /// No provider: waits for one.
        case parked
        /// The provider refused it; it is offered again to the next provider.
        case rejected
        /// The engine itself provides the type.
        case engine
        case provider(Worker)
    }

    package let id: String
    package let type: String
    /// The binding in force.
    package fileprivate(set) var request: TriggerRequest
    /// The worker whose end removes the binding; nil for durable ones made by `engine::register_trigger`.
    package fileprivate(set) var owner: Worker?
    /// Who made a durable one, while it is there.
    package fileprivate(set) weak var creator: Worker?
    /// Bytes it is charged with in the ledger.
    fileprivate var charged = 0
    /// Registration order: replays follow it.
    package let sequence: UInt64
    package fileprivate(set) var holder = Holder.parked
    /// What the provider has accepted last; it falls back to this.
    fileprivate var accepted: TriggerRequest?
    /// Sent to the provider and not answered yet, oldest first: answers come in this order.
    fileprivate var offered: [TriggerRequest] = []
    /// Offers older than those, whose answers are still to come and decide nothing any more.
    fileprivate var overdue = 0
    /// Unanswered offers that are remembered. Providers of some SDKs never answer, which counts as acceptance.
    private static let maximumOffers = 16

    fileprivate init(_ request: TriggerRequest, sequence: UInt64) {
        id = request.id
        type = request.type
        self.request = request
        self.sequence = sequence
    }

    package var functionID: FunctionID { request.functionID }
    package var namespace: String { request.namespace }
    package var config: [UInt8] { request.config }
    package var metadata: [UInt8]? { request.metadata }

    /// The binding goes to `provider`, as an update if that holds it already.
    fileprivate func offer(to provider: Worker) {
        if !isHeld(by: provider) { start(with: .provider(provider)) }
        // What is only said again shares its text with what is there.
        if let newest = offered.last ?? accepted, newest.isSame(as: request) { request = newest }
        offered.append(request)
        if offered.count > Self.maximumOffers {
            accepted = offered.removeFirst()
            overdue += 1
        }
    }

    /// Nobody's answers count any more, or another one's from now on.
    fileprivate func start(with holder: Holder) {
        self.holder = holder
        accepted = nil
        offered = []
        overdue = 0
    }

    fileprivate var isSettled: Bool { offered.isEmpty }

    /// Bytes of all bindings it remembers; equal neighbours share theirs.
    fileprivate var occupied: Int {
        guard !offered.isEmpty else { return request.cost }
        var bytes = 0
        var last = accepted
        if let last { bytes += last.cost }
        for binding in offered {
            if last.map({ !$0.isSame(as: binding) }) ?? true { bytes += binding.cost }
            last = binding
        }
        return bytes
    }

    /// The provider has answered the oldest offer.
    fileprivate func answered(isRefusal: Bool) -> TriggerTable.Answer {
        if overdue > 0 {
            overdue -= 1
            return isRefusal ? .superseded(request) : .accepted
        }
        guard !offered.isEmpty else {
            // It gives up what it had taken.
            if isRefusal { start(with: .rejected) }
            return isRefusal ? .refused(request) : .accepted
        }
        let binding = offered.removeFirst()
        guard isRefusal else {
            accepted = binding
            return .accepted
        }
        guard offered.isEmpty else { return .superseded(binding) }
        guard let accepted else {
            start(with: .rejected)
            return .refused(binding)
        }
        request = accepted
        return .keptFormer(binding)
    }

    package var isParked: Bool { if case .parked = holder { true } else { false } }
    package var isRejected: Bool { if case .rejected = holder { true } else { false } }

    package func isHeld(by worker: Worker) -> Bool {
        if case .provider(let provider) = holder { return provider === worker }
        return false
    }
}

/// What a `registertrigger` message asks for.
package struct TriggerRequest {
    package var id: String
    package var type: String
    package var functionID: FunctionID
    package var namespace = FunctionKey.defaultNamespace
    package var config: [UInt8] = Array("null".utf8)
    package var metadata: [UInt8]?
    /// Bytes it occupies in the ledger.
    package var cost: Int

    package init(
        id: String, type: String, functionID: FunctionID, namespace: String = FunctionKey.defaultNamespace,
        config: [UInt8] = Array("null".utf8),
        metadata: [UInt8]? = nil, cost: Int = 0
    ) {
        self.cost = cost
        self.id = id
        self.type = type
        self.functionID = functionID
        self.namespace = namespace
        self.config = config
        self.metadata = metadata
    }

    /// From a registration that has been decided about; throws where its function may not be called on somebody's behalf.
    init(_ trigger: RegistrationHooks.Trigger, cost: Int) throws(InvocationError) {
        self.init(
            id: trigger.id, type: trigger.type, functionID: try FunctionID(trigger.functionID), namespace: trigger.namespace,
            config: trigger.config, metadata: trigger.metadata, cost: cost)
    }

    /// Whether it binds the same; the length of what was sent does not matter.
    func isSame(as other: TriggerRequest) -> Bool {
        functionID == other.functionID && namespace == other.namespace && config == other.config && metadata == other.metadata
    }
}

/// A kind of event and the stack of live workers that offer it, oldest first; the newest provides.
package final class TriggerTypeRecord {
    package struct Provider {
        /// nil: the engine itself.
        package var worker: Worker?
        package var description: String
        package var triggerRequestFormat: [UInt8]?
        package var callRequestFormat: [UInt8]?
        /// Bytes it occupies in the ledger.
        package var cost: Int

        package init(
            worker: Worker?, description: String, triggerRequestFormat: [UInt8]? = nil, callRequestFormat: [UInt8]? = nil, cost: Int = 0
        ) {
            self.cost = cost
            self.worker = worker
            self.description = description
            self.triggerRequestFormat = triggerRequestFormat
            self.callRequestFormat = callRequestFormat
        }
    }

    package let id: String
    package fileprivate(set) var providers: [Provider] = []

    fileprivate init(id: String) { self.id = id }

    package var current: Provider? { providers.last }
}

/// What the engine must send after a change of the trigger tables, in this order.
package enum TriggerEffect {
    case register(TriggerRecord, with: Worker)
    case unregister(TriggerRecord, from: Worker, UnregistrationReason)
}

/// Why a provider loses a trigger: the `reason` of `unregistertrigger` frames, which durable providers act on.
package enum UnregistrationReason: String {
    /// Its registrant took it back, or made it one of another type.
    case unregistered
    /// Its registrant's connection ended, or another provider holds it from now on; the registrant still wants it.
    case disconnected
}

/// Every trigger type and every trigger, parked and replayed by the rules of
/// docs/reference/worker-protocol.md#trigger-types. Pure: no I/O, no clock.
///
/// A trigger never waits for a start order: without a provider it is parked, and each provider that appears is told of every
/// live trigger of its type in the order in which they were registered.
///
/// Two processes of one built-in that run side by side (`Worker.isSibling`) both know every trigger: the older one serves on
/// until the newer one accepts. Only the newer one, the holder, has a say in whether a trigger is good.
package struct TriggerTable {
    package enum Registration: Equatable {
        case accepted
        case refused
        /// The worker has as many as it may.
        case limitReached
        /// There are as many durable triggers as there may be.
        case durableLimitReached
        /// Its registrations, or those of all, occupy as many bytes as they may.
        case noRoom(RegistrationLedger.Limit)
    }

    /// What a provider's answer has decided. Refusals carry the binding that was refused.
    package enum Answer {
        case accepted
        /// There is no binding any more, until another provider comes.
        case refused(TriggerRequest)
        /// An update was refused: the former binding is in force, here and at the provider.
        case keptFormer(TriggerRequest)
        /// A newer update is under way and decides.
        case superseded(TriggerRequest)
    }

    private var types: [String: TriggerTypeRecord] = [:]
    private var triggers: [String: TriggerRecord] = [:]
    private var byType: [String: Set<String>] = [:]
    private var nextSequence: UInt64 = 0
    /// Most triggers, and most trigger types, of one worker. Defaults 10 000 and 1 000.
    package var maximumTriggersPerWorker: Int
    package var maximumTypesPerWorker: Int
    /// Most durable triggers, which outlive their makers. Default 10 000.
    package var maximumDurable = 10_000
    package private(set) var durableCount = 0
    /// Shared with the other tables.
    package let ledger: RegistrationLedger

    package init(
        maximumTriggersPerWorker: Int = 10_000, maximumTypesPerWorker: Int = 1_000, ledger: RegistrationLedger = RegistrationLedger()
    ) {
        self.ledger = ledger
        self.maximumTriggersPerWorker = maximumTriggersPerWorker
        self.maximumTypesPerWorker = maximumTypesPerWorker
    }

    package var allTypes: [TriggerTypeRecord] { types.values.sorted { $0.id < $1.id } }
    package var allTriggers: [TriggerRecord] { triggers.values.sorted { $0.sequence < $1.sequence } }
    package subscript(type id: String) -> TriggerTypeRecord? { types[id] }
    package subscript(trigger id: String) -> TriggerRecord? { triggers[id] }

    /// Live triggers of one type, oldest first.
    package func triggers(ofType type: String) -> [TriggerRecord] {
        (byType[type] ?? []).compactMap { triggers[$0] }.sorted { $0.sequence < $1.sequence }
    }

    // MARK: Types

    /// `provider.worker` becomes the provider of `type`; whoever provided it before is told to let go, and stays below in the stack.
    package mutating func registerType(_ type: String, _ provider: TriggerTypeRecord.Provider) -> (Registration, [TriggerEffect]) {
        let record = types[type] ?? TriggerTypeRecord(id: type)
        let key = FunctionKey(type)
        if let worker = provider.worker {
            if record.providers.contains(where: { $0.worker == nil }) { return (.refused, []) }
            if !worker.isPrivileged, record.providers.contains(where: { $0.worker !== worker && $0.worker?.isPrivileged == true }) {
                return (.refused, [])
            }
            if worker.isRestricted, record.providers.contains(where: { $0.worker?.isRestricted == false }) { return (.refused, []) }
            if !worker.triggerTypeIDs.contains(key) && worker.triggerTypeIDs.count >= maximumTypesPerWorker { return (.limitReached, []) }
            let former = record.providers.first { $0.worker === worker }?.cost ?? 0
            if let limit = ledger.objection(to: worker, replacing: former, with: provider.cost) { return (.noRoom(limit), []) }
            ledger.change(worker, by: provider.cost - former)
            worker.triggerTypeIDs.insert(key)
        }
        types[type] = record
        record.providers.removeAll { $0.worker === provider.worker }
        if provider.worker?.isRestricted != true { removeRestricted(from: record) }
        record.providers.append(provider)
        return (.accepted, rehome(type, tellsHolders: true))
    }

    /// Somebody without access rules provides the type from now on: nobody who has them is to be told of its triggers one day.
    private func removeRestricted(from record: TriggerTypeRecord) {
        for provider in record.providers {
            guard let worker = provider.worker, worker.isRestricted else { continue }
            worker.triggerTypeIDs.remove(FunctionKey(record.id))
            ledger.change(worker, by: -provider.cost)
        }
        record.providers.removeAll { $0.worker?.isRestricted == true }
    }

    /// `worker` stops providing `type`; an older live provider takes over, or the triggers are parked.
    package mutating func unregisterType(_ type: String, from worker: Worker) -> [TriggerEffect] {
        guard worker.triggerTypeIDs.remove(FunctionKey(type)) != nil, let record = types[type] else { return [] }
        for provider in record.providers where provider.worker === worker { ledger.change(worker, by: -provider.cost) }
        record.providers.removeAll { $0.worker === worker }
        if record.providers.isEmpty { types[type] = nil }
        return rehome(type, tellsHolders: false)
    }

    /// Moves every trigger of `type` to its current provider. Who holds one already is told again only if asked to.
    private mutating func rehome(_ type: String, tellsHolders: Bool) -> [TriggerEffect] {
        let provider = types[type]?.current
        var effects: [TriggerEffect] = []
        for trigger in triggers(ofType: type) {
            if case .provider(let former) = trigger.holder {
                if former === provider?.worker {
                    if !tellsHolders { continue }
                } else if former.isConnected, provider?.worker?.isSibling(of: former) != true {
                    effects.append(.unregister(trigger, from: former, .disconnected))
                }
            }
            effects += hand(trigger, to: provider)
        }
        return effects
    }

    private func hand(_ trigger: TriggerRecord, to provider: TriggerTypeRecord.Provider?) -> [TriggerEffect] {
        defer { settle(trigger) }
        guard let provider else {
            trigger.start(with: .parked)
            return []
        }
        guard let worker = provider.worker else {
            trigger.start(with: .engine)
            return []
        }
        trigger.offer(to: worker)
        return [.register(trigger, with: worker)]
    }

    // MARK: Triggers

    /// Adds or, for a known id, replaces a trigger; the sender becomes its owner, which is how a replay after a reconnect
    /// saves it from the old connection's cleanup. Without an owner it is durable, and counts against its `creator` while that is
    /// there, and against all durable ones for ever.
    package mutating func register(_ request: TriggerRequest, owner: Worker?, creator: Worker? = nil) -> (Registration, [TriggerEffect]) {
        let former = triggers[request.id]
        if let payer = owner ?? creator, !payer.triggerIDs.contains(request.id),
            payer.triggerIDs.count + payer.durableTriggers >= maximumTriggersPerWorker
        {
            return (.limitReached, [])
        }
        if owner == nil, former == nil, durableCount >= maximumDurable { return (.durableLimitReached, []) }
        let isSamePayer = former != nil && former?.owner === owner && owner != nil
        let old = isSamePayer ? former?.charged ?? 0 : 0
        let new = former.map { cost(of: request, replacing: $0) } ?? request.cost
        if let limit = ledger.objection(to: owner ?? creator, replacing: old, with: new) { return (.noRoom(limit), []) }
        var effects = former.flatMap { $0.type == request.type ? nil : erase($0, .unregistered) } ?? []
        // A replayed id keeps its place in the order.
        let trigger = triggers[request.id] ?? TriggerRecord(request, sequence: former?.sequence ?? nextSequence)
        if triggers[request.id] != nil { release(trigger) }
        if former == nil { nextSequence += 1 }
        trigger.owner?.triggerIDs.remove(trigger.id)
        trigger.request = request
        trigger.owner = owner
        trigger.creator = creator
        if owner == nil {
            durableCount += 1
            creator?.durableTriggers += 1
        }
        triggers[trigger.id] = trigger
        byType[trigger.type, default: []].insert(trigger.id)
        owner?.triggerIDs.insert(trigger.id)
        effects += hand(trigger, to: types[trigger.type]?.current)
        return (.accepted, effects + siblings(ofHolder: trigger).map { .register(trigger, with: $0) })
    }

    /// The other live processes of the built-in that holds `trigger`.
    private func siblings(ofHolder trigger: TriggerRecord) -> [Worker] {
        guard case .provider(let holder) = trigger.holder else { return [] }
        return (types[trigger.type]?.providers ?? []).compactMap(\.worker).filter { $0.isConnected && $0.isSibling(of: holder) }
    }

    /// Tells everybody who knows `trigger` to let go of it.
    private func withdrawal(of trigger: TriggerRecord, _ reason: UnregistrationReason) -> [TriggerEffect] {
        guard case .provider(let holder) = trigger.holder else { return [] }
        return ((holder.isConnected ? [holder] : []) + siblings(ofHolder: trigger)).map { .unregister(trigger, from: $0, reason) }
    }

    /// Removes a trigger on behalf of its owner. Anyone else's request, or an unknown id, changes nothing.
    package mutating func unregister(_ id: String, from worker: Worker) -> [TriggerEffect] {
        guard let trigger = triggers[id], trigger.owner === worker else { return [] }
        return erase(trigger, .unregistered)
    }

    /// Removes a durable trigger (`engine::unregister_trigger`); nil when there is none with this id.
    package mutating func unregisterDurable(_ id: String) -> [TriggerEffect]? {
        guard let trigger = triggers[id], trigger.owner == nil else { return nil }
        return erase(trigger, .unregistered)
    }

    /// What `request` will occupy in place of `former`: while the provider may still refuse an update, both are kept. The same or
    /// less is taken as it is, once all before it is answered.
    private func cost(of request: TriggerRequest, replacing former: TriggerRecord) -> Int {
        guard former.type == request.type, let provider = types[request.type]?.current?.worker, former.isHeld(by: provider) else {
            return request.cost
        }
        if former.request.isSame(as: request) { return former.charged }
        return former.isSettled && request.cost <= former.request.cost ? request.cost : former.charged + request.cost
    }

    /// Brings the ledger up to date with what `trigger` occupies now.
    private func settle(_ trigger: TriggerRecord) {
        let bytes = trigger.occupied
        ledger.change(trigger.owner ?? trigger.creator, by: bytes - trigger.charged)
        trigger.charged = bytes
    }

    private mutating func release(_ trigger: TriggerRecord) {
        ledger.change(trigger.owner ?? trigger.creator, by: -trigger.charged)
        trigger.charged = 0
        guard trigger.owner == nil else { return }
        durableCount -= 1
        trigger.creator?.durableTriggers -= 1
    }

    private mutating func erase(_ trigger: TriggerRecord, _ reason: UnregistrationReason) -> [TriggerEffect] {
        release(trigger)
        triggers[trigger.id] = nil
        byType[trigger.type]?.remove(trigger.id)
        if byType[trigger.type]?.isEmpty == true { byType[trigger.type] = nil }
        trigger.owner?.triggerIDs.remove(trigger.id)
        return withdrawal(of: trigger, reason)
    }

    /// The provider of `id` has taken or refused what it was sent; nil if `worker` does not hold it, whose word counts for nothing.
    package mutating func answered(_ id: String, by worker: Worker, isRefusal: Bool) -> Answer? {
        guard let trigger = triggers[id], trigger.isHeld(by: worker) else { return nil }
        defer { settle(trigger) }
        return trigger.answered(isRefusal: isRefusal)
    }

    /// `worker` is gone: its triggers go, and the types it provided fall to older providers or are parked.
    package mutating func removeAll(of worker: Worker) -> [TriggerEffect] {
        var effects: [TriggerEffect] = []
        for trigger in worker.triggerIDs.compactMap({ triggers[$0] }).sorted(by: { $0.sequence < $1.sequence })
        where trigger.owner === worker {
            effects += erase(trigger, .disconnected)
        }
        worker.triggerIDs.removeAll()
        for key in worker.triggerTypeIDs { effects += unregisterType(key.id, from: worker) }
        return effects
    }
}
