import IIIProtocol

// What listings and events show to a caller with access rules (docs/reference/access.md#listings). Without rules it sees everything that is
// not private anyway.
extension Engine {
    private func restrictions(of caller: Worker?) -> AccessSession? {
        caller?.access.flatMap { $0.policy.isRestricted ? $0 : nil }
    }

    /// Functions it may call.
    func isVisible(_ record: FunctionRecord, to caller: Worker?) -> Bool {
        guard let session = restrictions(of: caller) else { return true }
        return session.denial(of: record, generation: registry.functions.generation) == nil
    }

    /// Its own triggers: another's config may hold anything.
    func isVisible(_ trigger: TriggerRecord, to caller: Worker?) -> Bool {
        restrictions(of: caller) == nil || trigger.owner === caller || (trigger.owner == nil && trigger.creator === caller)
    }

    func isVisible(_ type: TriggerTypeRecord, to caller: Worker?) -> Bool {
        restrictions(of: caller)?.policy.mayUseTriggerType(type.id) ?? true
    }

    /// Itself, and those that serve something it may call.
    func isVisible(_ worker: Worker, to caller: Worker?) -> Bool {
        guard restrictions(of: caller) != nil, worker !== caller else { return true }
        return worker.functionIDs.contains { isVisible($0, to: caller) }
    }

    func isVisible(_ key: FunctionKey, to caller: Worker?) -> Bool {
        registry.functions.lookup(key).map { isVisible($0, to: caller) } ?? false
    }

    /// Whether `caller` may know where and as what `worker` runs.
    func hasDetails(_ worker: Worker, for caller: Worker?) -> Bool { restrictions(of: caller) == nil || worker === caller }
}
