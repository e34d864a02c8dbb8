import IIIProtocol

/// A binding of a function to a kind of event (protocol.md §3.4). Raw members are JSON text, passed on verbatim.
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
    package let functionID: FunctionID
    package let namespace: String
    package let config: [UInt8]
    package let metadata: [UInt8]?
    /// The worker whose end removes the binding; nil for durable ones made by `engine::register_trigger`.
    package let owner: Worker?
    /// Who made a durable one, while it is there.
    package fileprivate(set) weak var creator: Worker?
    /// Bytes it occupies in the ledger.
    package let cost: Int
    /// Registration order: replays follow it.
    package let sequence: UInt64
    package fileprivate(set) var holder = Holder.parked

    fileprivate init(_ request: TriggerRequest, owner: Worker?, creator: Worker?, sequence: UInt64) {
        self.creator = creator
        cost = request.cost
        id = request.id
        type = request.type
        functionID = request.functionID
        namespace = request.namespace
        config = request.config
        metadata = request.metadata
        self.owner = owner
        self.sequence = sequence
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
    case unregister(TriggerRecord, from: Worker)
}

/// Every trigger type and every trigger, with the parking and replay rules of protocol.md §3.3–§3.5. Pure: no I/O, no clock.
///
/// A trigger never waits for a start order: without a provider it is parked, and each provider that appears is told of every
/// live trigger of its type in the order in which they were registered.
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
            if !worker.triggerTypeIDs.contains(key) && worker.triggerTypeIDs.count >= maximumTypesPerWorker { return (.limitReached, []) }
            let former = record.providers.first { $0.worker === worker }?.cost ?? 0
            if let limit = ledger.objection(to: worker, replacing: former, with: provider.cost) { return (.noRoom(limit), []) }
            ledger.change(worker, by: provider.cost - former)
            worker.triggerTypeIDs.insert(key)
        }
        types[type] = record
        record.providers.removeAll { $0.worker === provider.worker }
        record.providers.append(provider)
        return (.accepted, rehome(type))
    }

    /// `worker` stops providing `type`; an older live provider takes over, or the triggers are parked.
    package mutating func unregisterType(_ type: String, from worker: Worker) -> [TriggerEffect] {
        guard worker.triggerTypeIDs.remove(FunctionKey(type)) != nil, let record = types[type] else { return [] }
        for provider in record.providers where provider.worker === worker { ledger.change(worker, by: -provider.cost) }
        record.providers.removeAll { $0.worker === worker }
        if record.providers.isEmpty { types[type] = nil }
        return rehome(type)
    }

    /// Moves every trigger of `type` to its current provider.
    private mutating func rehome(_ type: String) -> [TriggerEffect] {
        let provider = types[type]?.current
        var effects: [TriggerEffect] = []
        for trigger in triggers(ofType: type) {
            if case .provider(let former) = trigger.holder, former !== provider?.worker, former.isConnected {
                effects.append(.unregister(trigger, from: former))
            }
            effects += hand(trigger, to: provider)
        }
        return effects
    }

    private func hand(_ trigger: TriggerRecord, to provider: TriggerTypeRecord.Provider?) -> [TriggerEffect] {
        guard let provider else {
            trigger.holder = .parked
            return []
        }
        guard let worker = provider.worker else {
            trigger.holder = .engine
            return []
        }
        trigger.holder = .provider(worker)
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
        let limit = ledger.objection(to: owner ?? creator, replacing: isSamePayer ? former?.cost ?? 0 : 0, with: request.cost)
        if let limit { return (.noRoom(limit), []) }
        var effects: [TriggerEffect] = []
        if let former {
            release(former)
            former.owner?.triggerIDs.remove(former.id)
            if former.type != request.type {
                byType[former.type]?.remove(former.id)
                if case .provider(let provider) = former.holder { effects.append(.unregister(former, from: provider)) }
            }
        }
        // A replayed id keeps its place in the order.
        let trigger = TriggerRecord(request, owner: owner, creator: creator, sequence: former?.sequence ?? nextSequence)
        ledger.change(owner ?? creator, by: trigger.cost)
        if owner == nil {
            durableCount += 1
            creator?.durableTriggers += 1
        }
        if former == nil { nextSequence += 1 }
        triggers[trigger.id] = trigger
        byType[trigger.type, default: []].insert(trigger.id)
        owner?.triggerIDs.insert(trigger.id)
        return (.accepted, effects + hand(trigger, to: types[trigger.type]?.current))
    }

    /// Removes a trigger on behalf of its owner. Anyone else's request, or an unknown id, changes nothing.
    package mutating func unregister(_ id: String, from worker: Worker) -> [TriggerEffect] {
        guard let trigger = triggers[id], trigger.owner === worker else { return [] }
        return erase(trigger)
    }

    /// Removes a durable trigger (`engine::unregister_trigger`); nil when there is none with this id.
    package mutating func unregisterDurable(_ id: String) -> [TriggerEffect]? {
        guard let trigger = triggers[id], trigger.owner == nil else { return nil }
        return erase(trigger)
    }

    private mutating func release(_ trigger: TriggerRecord) {
        ledger.change(trigger.owner ?? trigger.creator, by: -trigger.cost)
        guard trigger.owner == nil else { return }
        durableCount -= 1
        trigger.creator?.durableTriggers -= 1
    }

    private mutating func erase(_ trigger: TriggerRecord) -> [TriggerEffect] {
        release(trigger)
        triggers[trigger.id] = nil
        byType[trigger.type]?.remove(trigger.id)
        if byType[trigger.type]?.isEmpty == true { byType[trigger.type] = nil }
        trigger.owner?.triggerIDs.remove(trigger.id)
        if case .provider(let provider) = trigger.holder, provider.isConnected { return [.unregister(trigger, from: provider)] }
        return []
    }

    /// The provider that holds `id` refused it: it is parked until another one comes. Returns it, or nil if `worker` does not hold it.
    package mutating func rejected(_ id: String, by worker: Worker) -> TriggerRecord? {
        guard let trigger = triggers[id], trigger.isHeld(by: worker) else { return nil }
        trigger.holder = .rejected
        return trigger
    }

    /// `worker` is gone: its triggers go, and the types it provided fall to older providers or are parked.
    package mutating func removeAll(of worker: Worker) -> [TriggerEffect] {
        var effects: [TriggerEffect] = []
        for trigger in worker.triggerIDs.compactMap({ triggers[$0] }).sorted(by: { $0.sequence < $1.sequence })
        where trigger.owner === worker {
            effects += erase(trigger)
        }
        worker.triggerIDs.removeAll()
        for key in worker.triggerTypeIDs { effects += unregisterType(key.id, from: worker) }
        return effects
    }
}
