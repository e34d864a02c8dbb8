import IIIProtocol
import NIOCore

// Registrations of connections with access rules (docs/reference/access.md#registrations): check, hook, prefix, check again, and only then
// what every registration goes through.
extension Engine {
    // MARK: Functions

    /// `own`: what the worker calls it.
    func registerFunction(
        _ own: FunctionKey, _ registration: FunctionRegistration, invocation: JSONValue?, _ session: AccessSession,
        on connection: WorkerConnection
    ) {
        let policy = session.policy
        var function = RegistrationHooks.Function(
            id: own.id, namespace: own.namespace, description: registration.description, metadata: registration.metadata)
        guard policy.grant.mayRegisterFunctions else {
            return denied(own.id, connection.worker, "this connection may not register functions")
        }
        guard let restrictions = policy.rules.restrictions, let hook = restrictions.onFunction else {
            return enter(function, as: own, registration, invocation, session, connection.worker)
        }
        connection.ask(hook, function.input(context: policy.grant.context), within: restrictions.timeout) { [self] answer in
            guard function.apply(answer) else { return denied(own.id, connection.worker, "\(hook) denies it") }
            enter(function, as: own, registration, invocation, session, connection.worker)
        }
    }

    private func enter(
        _ function: RegistrationHooks.Function, as own: FunctionKey, _ original: FunctionRegistration, _ invocation: JSONValue?,
        _ session: AccessSession, _ worker: Worker
    ) {
        let key = FunctionKey(session.policy.prefixed(function.id), namespace: own.namespace)
        let objection =
            session.policy.objection(
                toFunction: key.id, isRemote: invocation != nil, authenticates: invocation?["auth"].map { !$0.isNull } ?? false)
            ?? (isReserved(key.id, for: worker) ? "this id decides about access, or belongs to a built-in" : nil)
        if let objection { return denied(own.id, worker, objection) }
        let former = FunctionKey(session.functions.registered(own.id), namespace: own.namespace)
        if former != key { unregisterFunction(former, from: worker) }
        registerFunction(key, original.replacing(description: function.description, metadata: function.metadata), invocation: invocation)
        if worker.functionIDs.contains(key) || worker.awaitedFunctions.contains(key) {
            session.functions.set(own.id, registered: key.id)
        } else {
            session.functions.remove(own.id)
        }
    }

    /// Ids that a restricted worker may not even have while nobody else does.
    private func isReserved(_ id: String, for worker: Worker) -> Bool {
        worker.isRestricted && (held.isExpected(id) || listenerSettings.contains { $0.options.access?.isDecided(by: id) == true })
    }

    func unregisterFunction(_ own: FunctionKey, from worker: Worker, _ session: AccessSession) {
        unregisterFunction(FunctionKey(session.functions.registered(own.id), namespace: own.namespace), from: worker)
        session.functions.remove(own.id)
    }

    // MARK: Trigger types

    func registerTriggerType(
        _ own: String, _ provider: TriggerTypeRecord.Provider, _ session: AccessSession, on connection: WorkerConnection
    ) {
        let policy = session.policy
        var type = RegistrationHooks.TriggerType(id: own, description: provider.description)
        if let objection = policy.objectionToTriggerTypes { return denied(own, connection.worker, objection) }
        guard let restrictions = policy.rules.restrictions, let hook = restrictions.onTriggerType else {
            return enter(type, as: own, provider, session, connection.worker)
        }
        connection.ask(hook, type.input(context: policy.grant.context), within: restrictions.timeout) { [self] answer in
            guard type.apply(answer) else { return denied(own, connection.worker, "\(hook) denies it") }
            enter(type, as: own, provider, session, connection.worker)
        }
    }

    private func enter(
        _ type: RegistrationHooks.TriggerType, as own: String, _ original: TriggerTypeRecord.Provider, _ session: AccessSession,
        _ worker: Worker
    ) {
        if let objection = session.policy.objection(toTriggerType: type.id) { return denied(own, worker, objection) }
        let former = session.triggerTypes.registered(own)
        if former != type.id { perform(registry.triggers.unregisterType(former, from: worker)) }
        var provider = original
        provider.description = type.description
        // Before the replay, whose messages speak of the worker's own id.
        session.triggerTypes.set(own, registered: type.id)
        registerTriggerType(type.id, provider)
        if !worker.triggerTypeIDs.contains(FunctionKey(type.id)) { session.triggerTypes.remove(own) }
    }

    func unregisterTriggerType(_ own: String, from worker: Worker, _ session: AccessSession) {
        perform(registry.triggers.unregisterType(session.triggerTypes.registered(own), from: worker))
        session.triggerTypes.remove(own)
    }

    // MARK: Triggers

    func registerTrigger(_ own: RegistrationHooks.Trigger, cost: Int, _ session: AccessSession, on connection: WorkerConnection) {
        let worker = connection.worker
        let limit = session.policy.rules.restrictions?.timeout ?? .zero
        let ask: AskHook = { connection.ask($0, $1, within: limit, completion: $2) }
        authorise(own, for: worker, session, ask: ask) { [self] outcome in
            do throws(InvocationError) {
                let (trigger, ownTargets) = try outcome.get()
                if session.policy.isRestricted, let former = registry.triggers[trigger: trigger.id], former.owner !== worker,
                    !session.isSamePrincipal(as: former.owner?.access)
                {
                    throw InvocationError(.forbidden, "trigger '\(trigger.id)' is another worker's")
                }
                let former = session.triggers.registered(own.id)
                if former != trigger.id { unregisterTrigger(former, from: worker) }
                session.triggers.set(own.id, registered: trigger.id)
                self.ownTargets.set(trigger.id, targets: ownTargets)
                try registerTrigger(try TriggerRequest(trigger, cost: cost), owner: worker)
            } catch {
                denied(own.id, worker, error.message)
                sendTriggerError(own.id, own.type, own.functionID, to: worker, error)
            }
        }
    }

    /// Has a registration hook asked; nil stands for no.
    typealias AskHook = (FunctionID, [UInt8], @escaping (JSONValue?) -> Void) -> Void

    /// Whether `worker` may bind this: what becomes of the trigger after hook and prefix, and which of the functions it names are allowed
    /// only because the worker serves them itself.
    func authorise(
        _ trigger: RegistrationHooks.Trigger, for worker: Worker, _ session: AccessSession, ask: AskHook,
        completion: @escaping (Result<(RegistrationHooks.Trigger, ownTargets: Set<FunctionKey>), InvocationError>) -> Void
    ) {
        let policy = session.policy
        guard policy.mayUseTriggerType(trigger.type) else {
            let reason = "trigger type '\(trigger.type)' not allowed (add to allowed_trigger_types)"
            return completion(.failure(InvocationError(.forbidden, reason)))
        }
        guard let hook = policy.rules.restrictions?.onTrigger else { return completion(targetsChecked(trigger, worker, session)) }
        ask(hook, trigger.input(context: policy.grant.context)) { [self] answer in
            var mapped = trigger
            guard mapped.apply(answer) else {
                return completion(.failure(InvocationError(.forbidden, "trigger '\(trigger.id)' not allowed (\(hook) denies it)")))
            }
            completion(targetsChecked(mapped, worker, session))
        }
    }

    /// The same for a trigger that outlives the worker: what it serves itself is no target then, and nobody could be asked any more what
    /// its events may show.
    func authoriseDurable(
        _ trigger: RegistrationHooks.Trigger, for worker: Worker, _ session: AccessSession,
        completion: @escaping (Result<RegistrationHooks.Trigger, InvocationError>) -> Void
    ) {
        let limit = session.policy.rules.restrictions?.timeout ?? .zero
        let askHook: AskHook = { [self] hook, input, completion in ask(hook, input, within: limit) { completion((try? $0.get()) ?? nil) } }
        authorise(trigger, for: worker, session, ask: askHook) { [self] outcome in
            do throws(InvocationError) {
                let (trigger, ownTargets) = try outcome.get()
                guard session.policy.isRestricted else { return completion(.success(trigger)) }
                if let own = ownTargets.first, let error = denial(of: own, session) { throw error }
                if registry.triggers[trigger: trigger.id] != nil {
                    throw InvocationError(.forbidden, "trigger '\(trigger.id)' is there already")
                }
                if isInternal(trigger.type) {
                    throw InvocationError(.forbidden, "trigger type '\(trigger.type)' not allowed for triggers that outlive their maker")
                }
                completion(.success(trigger))
            } catch {
                completion(.failure(error))
            }
        }
    }

    private func targetsChecked(
        _ trigger: RegistrationHooks.Trigger, _ worker: Worker, _ session: AccessSession
    ) -> Result<(RegistrationHooks.Trigger, ownTargets: Set<FunctionKey>), InvocationError> {
        var trigger = trigger
        trigger.functionID = session.policy.prefixed(trigger.functionID)
        guard session.policy.isRestricted else { return .success((trigger, [])) }
        var ownTargets: Set<FunctionKey> = []
        // The provider calls them all with its own privileges.
        let named = FunctionID.named(inside: trigger.config) + (trigger.metadata.map(FunctionID.named(inside:)) ?? [])
        for id in [trigger.functionID] + named {
            let key = FunctionKey(id, namespace: trigger.namespace)
            guard let error = denial(of: key, session) else { continue }
            guard worker.functionIDs.contains(key) || worker.awaitedFunctions.contains(key) else { return .failure(error) }
            ownTargets.insert(key)
        }
        return .success((trigger, ownTargets))
    }

    func denial(of key: FunctionKey, _ session: AccessSession) -> InvocationError? {
        let denial =
            if let record = registry.functions.lookup(key) {
                session.denial(of: record, generation: registry.functions.generation)
            } else {
                session.policy.denial(of: key) { nil }
            }
        return denial?.error(for: key)
    }

    func unregisterTrigger(_ own: String, from worker: Worker, _ session: AccessSession) {
        unregisterTrigger(session.triggers.registered(own), from: worker)
        session.triggers.remove(own)
    }

    private func unregisterTrigger(_ id: String, from worker: Worker) {
        guard registry.triggers[trigger: id]?.owner === worker else { return }
        ownTargets.remove(id)
        perform(registry.triggers.unregister(id, from: worker))
    }

    /// Somebody serves `key` from now on: ends the triggers of those who might call it only as long as it was their own.
    func recheckOwnTargets(_ key: FunctionKey, servedBy worker: Worker) {
        for id in ownTargets.triggers(calling: key) {
            guard let owner = registry.triggers[trigger: id]?.owner, let session = owner.access else {
                ownTargets.remove(id)
                continue
            }
            if owner === worker || session.isSamePrincipal(as: worker.access) { continue }
            guard let error = denial(of: key, session), let trigger = registry.triggers[trigger: id] else { continue }
            let own = session.triggers.own(id)
            let (type, function) = (trigger.type, session.functions.own(trigger.functionID.text))
            unregisterTrigger(id, from: owner)
            session.triggers.remove(own)
            denied(own, owner, error.message)
            sendTriggerError(own, type, function, to: owner, error)
        }
    }

    // MARK: Denials

    private func denied(_ id: String, _ worker: Worker, _ reason: String) {
        counters.registrationsDenied += 1
        refused(id, worker, reason)
    }
}
