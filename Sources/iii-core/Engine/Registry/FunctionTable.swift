import IIIProtocol
import IIISettings

/// What one worker said when it registered a function. Raw members are JSON text, kept and listed verbatim.
package struct FunctionRegistration {
    /// Whose registration it is: listings show it, and it ends with this worker.
    package var worker: Worker
    /// Who executes its calls: `worker` itself, or for an HTTP-invoked function the built-in that has accepted it; nil while
    /// that one is away (`HTTPFunctionTable`).
    package internal(set) var callee: Worker?
    package let isHTTPInvoked: Bool
    package var description: String?
    package var requestFormat: [UInt8]?
    package var responseFormat: [UInt8]?
    package var metadata: [UInt8]?
    package var policy: InvocationPolicy?
    /// Bytes it occupies in the ledger of the table it stands in.
    package internal(set) var cost: Int

    package init(
        worker: Worker, description: String? = nil, requestFormat: [UInt8]? = nil, responseFormat: [UInt8]? = nil, metadata: [UInt8]? = nil,
        policy: InvocationPolicy? = nil, isHTTPInvoked: Bool = false, cost: Int = 0
    ) {
        self.cost = cost
        self.worker = worker
        callee = isHTTPInvoked ? nil : worker
        self.isHTTPInvoked = isHTTPInvoked
        self.description = description
        self.requestFormat = requestFormat
        self.responseFormat = responseFormat
        self.metadata = metadata
        self.policy = policy
    }

    /// The same with what a hook has put in place of two members.
    func replacing(description: String?, metadata: [UInt8]?) -> FunctionRegistration {
        var copy = self
        copy.description = description
        guard metadata != self.metadata else { return copy }
        copy.metadata = metadata
        copy.policy = Self.policy(in: metadata.flatMap { try? JSONValue(parsing: $0) })
        return copy
    }

    /// What a function's metadata say of who gets its calls.
    static func policy(in metadata: JSONValue?) -> InvocationPolicy? {
        metadata?["invocation_policy"]?.string.flatMap(InvocationPolicy.init)
    }
}

/// A function id and the stack of live workers that serve it, oldest first.
package final class FunctionRecord {
    package let key: FunctionKey
    /// The id as a JSON string literal, ready to be copied into messages.
    package let literal: [UInt8]
    package fileprivate(set) var owners: [FunctionRegistration] = []
    /// Set for functions the core itself answers; such an id is never registered by a worker.
    package let builtin: BuiltinFunction?
    /// Neither listed for nor callable by workers without a built-in's secret: the private contract's functions, on both sides.
    package let isPrivilegedOnly: Bool
    /// Served by a built-in for the core alone: drains and reconfigurations are nobody else's business, not even another built-in's.
    private let isForCoreOnly: Bool
    private var turn = 0
    /// What has become of its calls; nil until the first has ended.
    var statistics: FunctionStatistics?

    fileprivate init(key: FunctionKey, builtin: BuiltinFunction? = nil) {
        self.key = key
        self.builtin = builtin
        isForCoreOnly = builtin == nil && FunctionID.isPrivate(key.id)
        isPrivilegedOnly = builtin?.isPrivilegedOnly ?? isForCoreOnly
        literal = JSONText.string(key.id)
    }

    /// Whether a connected worker's call may reach it.
    package func isCallable(by caller: Worker) -> Bool {
        !isPrivilegedOnly || (caller.isPrivileged && !isForCoreOnly)
    }

    /// The registration that listings show and that `latest` calls: the newest.
    package var current: FunctionRegistration? { owners.last }

    /// Chooses the worker for one call; nil when the one it belongs to is away.
    package func selectCallee(default policy: InvocationPolicy) -> Worker? {
        let count = owners.count
        guard count > 1 else { return count == 1 ? owners[0].callee : nil }
        switch owners[count &- 1].policy ?? policy {
        case .latest:
            return owners[count &- 1].callee
        case .roundRobin:
            turn = (turn &+ 1) % count
            return (0..<count).lazy.compactMap { [self] in owners[(turn &+ $0) % count].callee }.first
        case .leastPending:
            turn = (turn &+ 1) % count
            var best: Worker?
            for offset in 0..<count {
                guard let candidate = owners[(turn &+ offset) % count].callee else { continue }
                if best.map({ candidate.invocations.count < $0.invocations.count }) ?? true { best = candidate }
            }
            return best
        }
    }
}

/// Every function id in every namespace with the stack of its owners (docs/reference/worker-protocol.md#functions). Pure:
/// no I/O, no clock.
package struct FunctionTable {
    package enum Registration: Equatable {
        /// The id is new.
        case added
        /// The same worker said it again; its data was replaced.
        case replaced
        /// Another live worker served it and still stands below in the stack.
        case tookOver
        /// The core or a live built-in owns the id and the sender may not.
        case refused
        /// The worker has as many functions as it may.
        case limitReached
        /// Its registrations, or those of all, occupy as many bytes as they may.
        case noRoom(RegistrationLedger.Limit)
    }

    private var namespaces: [String: ByteKeyedTable<FunctionRecord>] = [:]
    private var defaults = ByteKeyedTable<FunctionRecord>()
    /// Changes with everything that a listing of the table would show.
    package private(set) var generation = 0
    /// Most functions one worker may register. Default 10 000.
    package var maximumPerWorker: Int
    /// Shared with the other tables.
    package let ledger: RegistrationLedger

    package init(maximumPerWorker: Int = 10_000, ledger: RegistrationLedger = RegistrationLedger()) {
        self.maximumPerWorker = maximumPerWorker
        self.ledger = ledger
    }

    // MARK: Lookup

    /// The record of `id` (raw UTF-8, no quotes) in the default namespace: the hot path.
    package func lookup(_ id: UnsafeRawBufferPointer) -> FunctionRecord? { defaults[id] }

    package func lookup(_ key: FunctionKey) -> FunctionRecord? {
        key.namespace == FunctionKey.defaultNamespace ? defaults[key.id] : namespaces[key.namespace]?[key.id]
    }

    /// How many records there are.
    package var count: Int { namespaces.values.reduce(defaults.count) { $0 + $1.count } }

    /// Every record, in no order.
    package var all: [FunctionRecord] { defaults.values + namespaces.values.flatMap(\.values) }

    /// Namespaces other than `key`'s own in which its id is served.
    package func otherNamespaces(serving key: FunctionKey) -> [String] {
        var found = namespaces.filter { $0.key != key.namespace && $0.value[key.id] != nil }.map(\.key)
        if key.namespace != FunctionKey.defaultNamespace, defaults[key.id] != nil { found.append(FunctionKey.defaultNamespace) }
        return found.sorted()
    }

    // MARK: Changes

    package mutating func addBuiltin(_ function: BuiltinFunction) {
        generation &+= 1
        insert(FunctionRecord(key: FunctionKey(function.id), builtin: function))
    }

    /// Why `worker` may not register `key`: `.refused` or `.limitReached`; nil when it may.
    package func objection(to key: FunctionKey, of worker: Worker) -> Registration? {
        if let record = lookup(key) {
            if record.builtin != nil { return .refused }
            if !worker.isPrivileged, record.owners.contains(where: { $0.worker.isPrivileged && $0.worker !== worker }) { return .refused }
            if worker.isRestricted, record.owners.contains(where: { !$0.worker.isRestricted }) { return .refused }
        }
        guard !worker.functionIDs.contains(key), !worker.awaitedFunctions.contains(key) else { return nil }
        return worker.functionIDs.count + worker.awaitedFunctions.count >= maximumPerWorker ? .limitReached : nil
    }

    package mutating func register(_ key: FunctionKey, _ registration: FunctionRegistration) -> Registration {
        let worker = registration.worker
        if let objection = objection(to: key, of: worker) { return objection }
        let former = lookup(key)?.owners.first { $0.worker === worker }?.cost ?? 0
        if let limit = ledger.objection(to: worker, replacing: former, with: registration.cost) { return .noRoom(limit) }
        ledger.change(worker, by: registration.cost - former)
        generation &+= 1
        worker.awaitedFunctions.remove(key)
        worker.functionIDs.insert(key)
        guard let record = lookup(key) else {
            let record = FunctionRecord(key: key)
            record.owners = [registration]
            insert(record)
            return .added
        }
        let hadIt = record.owners.contains { $0.worker === worker }
        let wasServedByOther = record.owners.last.map { $0.worker !== worker } ?? false
        if !worker.isRestricted { removeRestricted(from: record) }
        record.owners.removeAll { $0.worker === worker }
        record.owners.append(registration)
        return wasServedByOther ? .tookOver : hadIt ? .replaced : .added
    }

    /// Somebody without access rules serves `record` from now on: nobody who has them is to take over one day.
    private func removeRestricted(from record: FunctionRecord) {
        for registration in record.owners where registration.worker.isRestricted {
            registration.worker.functionIDs.remove(record.key)
            ledger.change(registration.worker, by: -registration.cost)
        }
        record.owners.removeAll { $0.worker.isRestricted }
    }

    /// Takes `worker`'s registration of `key` away; a worker that does not have one changes nothing.
    /// Returns whether the id is gone altogether.
    @discardableResult
    package mutating func unregister(_ key: FunctionKey, from worker: Worker) -> Bool {
        guard worker.functionIDs.remove(key) != nil, let record = lookup(key) else { return false }
        generation &+= 1
        for registration in record.owners where registration.worker === worker { ledger.change(worker, by: -registration.cost) }
        record.owners.removeAll { $0.worker === worker }
        guard record.owners.isEmpty else { return false }
        erase(key)
        return true
    }

    /// Says who executes the HTTP-invoked registrations of `key` from now on; nil: nobody for the moment.
    package func assign(_ key: FunctionKey, to callee: Worker?) {
        guard let record = lookup(key) else { return }
        for index in record.owners.indices where record.owners[index].isHTTPInvoked { record.owners[index].callee = callee }
    }

    /// Takes everything `worker` has registered away. Returns the ids that are gone altogether.
    package mutating func removeAll(of worker: Worker) -> [FunctionKey] {
        worker.functionIDs.filter { unregister($0, from: worker) }
    }

    private mutating func insert(_ record: FunctionRecord) {
        if record.key.namespace == FunctionKey.defaultNamespace {
            defaults.insert(record, for: record.key.id)
        } else {
            namespaces[record.key.namespace, default: ByteKeyedTable()].insert(record, for: record.key.id)
        }
    }

    private mutating func erase(_ key: FunctionKey) {
        if key.namespace == FunctionKey.defaultNamespace {
            defaults.remove(key.id)
        } else {
            namespaces[key.namespace]?.remove(key.id)
            if namespaces[key.namespace]?.count == 0 { namespaces[key.namespace] = nil }
        }
    }
}
