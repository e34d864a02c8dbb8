import IIIProtocol

/// The HTTP-invoked functions of all workers, and how far each has come with the built-in that executes them
/// (docs/reference/worker-protocol.md#http-functions).
///
/// Terms: the *provider* is the attached connection of an `iii-http-functions` entry. A registration is *offered* to it, and
/// *accepted* or refused; only then is it *listed* in the `FunctionTable`, owned by the worker that registered it. The provider
/// holds one definition per id (*installed*): that of the newest owner whose offer it accepted. One offer per id is under way at
/// a time, for the newest owner; an answer to an older offer is stale and ignored, so `unregisterfunction` always wins.
///
/// A lost provider takes nothing with it: functions stay listed without callee and are offered again to the next one. Pure: no
/// I/O, no clock; what is to be done comes back as effects, to be carried out in order. Entries count against
/// `max_functions_per_worker` of their owner from the moment they are registered.
package struct HTTPFunctionTable {
    /// What the engine has to do.
    package enum Effect {
        /// Send the definition to `provider`; its answer belongs to `ticket`. `isReplay`: it was accepted before.
        case offer(FunctionKey, invocation: JSONValue, ticket: Int, isReplay: Bool, provider: Worker)
        /// Tell `provider` that nobody owns the id any more.
        case withdraw(FunctionKey, provider: Worker)
        /// The function exists from now on, or with new data.
        case list(FunctionKey, FunctionRegistration)
        case unlist(FunctionKey, Worker)
        /// Calls of all HTTP-invoked registrations of this id go to `callee`; nil: to nobody for the moment.
        case assign(FunctionKey, callee: Worker?)
        /// The provider refused it: it does not exist.
        case refused(FunctionKey, Worker, invocation: JSONValue, reason: InvocationError)
        /// No entry of the configuration provides HTTP functions: it does not exist.
        case dropped(FunctionKey, Worker)
    }

    private struct Entry {
        var registration: FunctionRegistration
        let invocation: JSONValue
        var isListed = false
        var worker: Worker { registration.worker }
    }

    private struct Record {
        /// Oldest first; at most one per worker.
        var entries: [Entry] = []
        var offered: (ticket: Int, worker: Worker)?
        /// Whose definition the provider holds.
        var installed: Worker?
        /// Position in the order of registration, for the replay.
        let order: Int

        func index(of worker: Worker) -> Int? { entries.firstIndex { $0.worker === worker } }
        var isListed: Bool { entries.contains(where: \.isListed) }
    }

    /// Whether the configuration has an entry that provides HTTP functions: registrations are parked until it attaches.
    package private(set) var isConfigured = false
    /// Attached connections, newest last; the newest provides.
    private var providers: [Worker] = []
    private var records: [FunctionKey: Record] = [:]
    private var ticket = 0
    private var order = 0

    /// Shared with the other tables. Entries count from the moment they are registered, and not again when they are listed.
    package let ledger: RegistrationLedger

    package init(ledger: RegistrationLedger = RegistrationLedger()) { self.ledger = ledger }

    /// Why there is no room for this registration; nil when there is.
    package func objection(to key: FunctionKey, _ registration: FunctionRegistration) -> RegistrationLedger.Limit? {
        let worker = registration.worker
        let former = records[key]?.entries.first { $0.worker === worker }?.registration.cost ?? 0
        return ledger.objection(to: worker, replacing: former, with: registration.cost)
    }

    package var provider: Worker? { providers.last }
    package var count: Int { records.count }

    /// Whether the id is registered but not listed yet, so that an early call may wait for it.
    package func isAwaited(_ key: FunctionKey) -> Bool { records[key].map { !$0.isListed } ?? false }

    // MARK: Registrations

    /// The caller has made sure that the worker may have this id.
    package mutating func register(_ key: FunctionKey, _ registration: FunctionRegistration, _ invocation: JSONValue) -> [Effect] {
        let worker = registration.worker
        guard isConfigured || provider != nil else { return remove(key, of: worker) + [.dropped(key, worker)] }
        // The same again, as after a reload of the worker's code: only what listings show may have changed.
        if var record = records[key], let last = record.entries.last, last.worker === worker, last.invocation == invocation {
            ledger.change(worker, by: registration.cost - last.registration.cost)
            record.entries[record.entries.count - 1].registration = registration
            records[key] = record
            return last.isListed ? [.list(key, assigned(registration, record))] : []
        }
        var effects = remove(key, of: worker)
        order += 1
        records[key, default: Record(order: order)].entries.append(Entry(registration: registration, invocation: invocation))
        worker.awaitedFunctions.insert(key)
        ledger.change(worker, by: registration.cost)
        effects += offerNewest(key)
        return effects
    }

    /// `worker` takes its registration back, or is served otherwise from now on.
    package mutating func remove(_ key: FunctionKey, of worker: Worker) -> [Effect] {
        guard var record = records[key], let index = record.index(of: worker) else { return [] }
        let entry = record.entries.remove(at: index)
        ledger.change(worker, by: -entry.registration.cost)
        worker.awaitedFunctions.remove(key)
        var effects: [Effect] = entry.isListed ? [.unlist(key, worker)] : []
        let wasOffered = record.offered?.worker === worker
        guard record.installed === worker || wasOffered else {
            records[key] = record.entries.isEmpty ? nil : record
            return effects
        }
        record.offered = nil
        if let installed = record.installed, installed !== worker, let kept = record.index(of: installed) {
            // A newer offer replaces the one under way, and the installed definition serves on meanwhile.
            records[key] = record
            return effects + offer(key, entry: kept)
        }
        record.installed = nil
        if let provider { effects.append(.withdraw(key, provider: provider)) }
        if record.isListed { effects.append(.assign(key, callee: nil)) }
        records[key] = record.entries.isEmpty ? nil : record
        return effects + offerNewest(key)
    }

    package mutating func workerLeft(_ worker: Worker) -> [Effect] {
        guard !records.isEmpty else { return [] }
        return (worker.awaitedFunctions.union(worker.functionIDs)).flatMap { remove($0, of: worker) }
    }

    // MARK: Provider

    package mutating func attached(_ worker: Worker) -> [Effect] {
        providers.removeAll { $0 === worker }
        providers.append(worker)
        return offerEverything()
    }

    /// A connection ended, or its process is about to: its functions are served by the next provider.
    package mutating func detached(_ worker: Worker) -> [Effect] {
        let wasCurrent = provider === worker
        providers.removeAll { $0 === worker }
        guard wasCurrent else { return [] }
        return provider == nil && !isConfigured ? dropEverything() : offerEverything()
    }

    package mutating func configured(_ isConfigured: Bool) -> [Effect] {
        self.isConfigured = isConfigured
        return isConfigured || provider != nil ? [] : dropEverything()
    }

    /// The answer to an offer; `error` is nil when it was accepted.
    package mutating func answered(_ key: FunctionKey, ticket: Int, error: InvocationError?) -> [Effect] {
        guard var record = records[key], let offered = record.offered, offered.ticket == ticket, let provider,
            let index = record.index(of: offered.worker)
        else { return [] }
        record.offered = nil
        guard let error else {
            record.installed = offered.worker
            record.entries[index].isListed = true
            records[key] = record
            return [.list(key, assigned(record.entries[index].registration, record)), .assign(key, callee: provider)]
        }
        let entry = record.entries.remove(at: index)
        ledger.change(entry.worker, by: -entry.registration.cost)
        entry.worker.awaitedFunctions.remove(key)
        var effects: [Effect] = entry.isListed ? [.unlist(key, entry.worker)] : []
        effects.append(.refused(key, entry.worker, invocation: entry.invocation, reason: error))
        if record.installed === entry.worker {
            record.installed = nil
            effects.append(.withdraw(key, provider: provider))
            if record.isListed { effects.append(.assign(key, callee: nil)) }
        }
        records[key] = record.entries.isEmpty ? nil : record
        if record.installed == nil { effects += offerNewest(key) }
        return effects
    }

    // MARK: Pieces

    private func assigned(_ registration: FunctionRegistration, _ record: Record) -> FunctionRegistration {
        var registration = registration
        registration.callee = record.installed == nil ? nil : provider
        registration.cost = 0
        return registration
    }

    private mutating func offerNewest(_ key: FunctionKey) -> [Effect] {
        guard let record = records[key], !record.entries.isEmpty else { return [] }
        return offer(key, entry: record.entries.count - 1)
    }

    private mutating func offer(_ key: FunctionKey, entry index: Int) -> [Effect] {
        guard let provider, let entry = records[key]?.entries[index] else { return [] }
        ticket += 1
        records[key]?.offered = (ticket, entry.worker)
        return [.offer(key, invocation: entry.invocation, ticket: ticket, isReplay: entry.isListed, provider: provider)]
    }

    private mutating func offerEverything() -> [Effect] {
        var effects: [Effect] = []
        for (key, record) in records.sorted(by: { $0.value.order < $1.value.order }) {
            records[key]?.offered = nil
            records[key]?.installed = nil
            if record.isListed { effects.append(.assign(key, callee: nil)) }
            effects += offerNewest(key)
        }
        return effects
    }

    private mutating func dropEverything() -> [Effect] {
        let all = records.sorted { $0.value.order < $1.value.order }
        records = [:]
        var effects: [Effect] = []
        for (key, record) in all {
            for entry in record.entries {
                ledger.change(entry.worker, by: -entry.registration.cost)
                entry.worker.awaitedFunctions.remove(key)
                if entry.isListed { effects.append(.unlist(key, entry.worker)) }
                effects.append(.dropped(key, entry.worker))
            }
        }
        return effects
    }
}
