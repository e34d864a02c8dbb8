import IIIProtocol
import NIOCore

// Functions, trigger types and triggers: remembered in `RegistrationLog`, and said again after every reconnect.
extension WorkerLink {
    /// Serves a function. Registering an id again replaces its handler.
    public func registerFunction(
        _ id: String, description: String? = nil, requestFormat: JSONValue? = nil, responseFormat: JSONValue? = nil,
        metadata: JSONValue? = nil, handler: @escaping (IncomingCall) -> Void
    ) {
        functions[id] = Function(id: FunctionID(own: id), isCounted: true, handler: handler)
        send(
            log.addFunction(id, description: description, requestFormat: requestFormat, responseFormat: responseFormat, metadata: metadata))
    }

    /// The same with a handler that runs as a task. What it throws is the caller's error: see `InvocationError.init(thrown:)`.
    public func registerFunction(
        _ id: String, description: String? = nil, requestFormat: JSONValue? = nil, responseFormat: JSONValue? = nil,
        metadata: JSONValue? = nil, async handler: @escaping @Sendable (IncomingPayload) async throws -> [UInt8]?
    ) {
        registerFunction(
            id, description: description, requestFormat: requestFormat, responseFormat: responseFormat, metadata: metadata
        ) { [eventLoop] call in
            let payload = IncomingPayload(call)
            let answer = NIOLoopBound(call, eventLoop: eventLoop)
            Task {
                do {
                    let result = try await payload.trace.whileCurrent { try await handler(payload) }
                    eventLoop.execute { answer.value.reply(raw: result) }
                } catch {
                    let failure = InvocationError(thrown: error)
                    eventLoop.execute { answer.value.fail(failure) }
                }
            }
        }
    }

    /// A function of the contract between the core and its built-ins, `builtin::<name>::<verb>`. It holds up no drain.
    func registerContractFunction(_ verb: String, description: String, handler: @escaping (IncomingCall) -> Void) {
        let id = "builtin::\(options.name)::\(verb)"
        functions[id] = Function(id: FunctionID(own: id), isCounted: false, handler: handler)
        send(log.addFunction(id, description: description, requestFormat: nil, responseFormat: nil, metadata: nil))
    }

    /// Calls of it that are running go on.
    public func unregisterFunction(_ id: String) {
        functions[id] = nil
        if let message = log.removeFunction(id) { send(message) }
    }

    var registeredFunctionIDs: [String] { log.functionIDs }

    /// Takes the registration back but keeps the handler.
    func withdrawFunction(_ id: String) {
        if let message = log.removeFunction(id) { send(message) }
    }

    /// Announces a trigger type; `provider` hears of its triggers, in this session and all that follow.
    func provide(_ type: TriggerTypeDeclaration, _ provider: any TriggerTypeProvider) {
        providers[type.id] = provider
        let message = log.addTriggerType(type)
        guard workerID != nil else { return }
        provider.sessionStarted(generation)
        send(message)
        barrier { [self] isReached in if isReached { provider.replayEnded(generation) } }
    }

    func withdrawTriggerType(_ id: String) {
        providers[id] = nil
        if let message = log.removeTriggerType(id) { send(message) }
    }

    func replayEnded() {
        for provider in providers.values { provider.replayEnded(generation) }
    }

    /// Runs `completion(true)` when everything said before has been handled, the replay of triggers that followed from it has come,
    /// and the providers have decided about it; `completion(false)` when the connection ends first.
    public func whenReplayed(_ completion: @escaping (Bool) -> Void) {
        barrier { [self] isReached in
            guard isReached else { return completion(false) }
            let current = generation
            settle(Array(providers.values)[...]) { [self] in completion(current == generation && isConnected) }
        }
    }

    private func settle(_ providers: ArraySlice<any TriggerTypeProvider>, _ completion: @escaping () -> Void) {
        guard let provider = providers.first else { return completion() }
        provider.whenSettled { [self] in settle(providers.dropFirst(), completion) }
    }

    func answerTrigger(_ id: String, type: String, functionID: String, error: InvocationError?) {
        var answer = JSONObjectText()
        answer.set("type", "triggerregistrationresult")
        answer.set("id", .string(id))
        answer.set("trigger_type", .string(type))
        answer.set("function_id", .string(functionID))
        if let error { answer.set("error", error.json) }
        send(answer.finish())
    }

    /// Binds a function to a kind of event; returns the trigger's id.
    @discardableResult
    public func registerTrigger(type: String, function: String, config: JSONValue, metadata: JSONValue? = nil, id: String? = nil) -> String
    {
        let id = id ?? UUIDBits.random(using: &generator).text
        send(log.addTrigger(id, type: type, function: function, config: config, metadata: metadata))
        return id
    }

    /// Takes back a trigger of this link.
    public func unregisterTrigger(_ id: String) {
        if let message = log.removeTrigger(id) { send(message) }
    }
}
