import IIIProtocol
import IIITransport

// What access rules do to calls (docs/reference/access.md#calls). Asked only for connections that have any.
extension Engine {
    /// True: the call is denied, which has been answered, or it goes to the middleware, whose answer will be passed on.
    @inline(never)
    func isIntercepted(
        _ session: AccessSession, _ connection: WorkerConnection, _ callerID: UUIDBits?, _ key: FunctionKey,
        _ bytes: UnsafeRawBufferPointer, _ envelope: Envelope
    ) -> Bool {
        let record = registry.functions.lookup(key)
        if let error = forbids(session, key, record) ?? forbidsTarget(session, record, bytes, envelope) {
            counters.callsForbidden &+= 1
            counters.invocationsFailed &+= 1
            // Said also to those who wait for no answer: silence would look like success.
            sendError(
                to: connection.worker, callerID ?? nextInvocationID(), function: JSONText.string(key.id), error,
                traceContext: traceContext(bytes, envelope))
            return true
        }
        guard let middleware = session.policy.rules.middleware, session.policy.isDiverted(key.id) else { return false }
        // Its own worker came by this listener too: its calls are what middleware lets through.
        if registry.functions.lookup(FunctionKey(middleware.text))?.current?.worker === connection.worker { return false }
        divert(to: middleware, session, connection.worker, callerID, key, bytes, envelope)
        return true
    }

    private func forbids(_ session: AccessSession, _ key: FunctionKey, _ record: FunctionRecord?) -> InvocationError? {
        let denial =
            if let record { session.denial(of: record, generation: registry.functions.generation) } else {
                session.policy.denial(of: key) { nil }
            }
        return denial?.error(for: key)
    }

    /// A built-in calls the function named in its input with its own privileges, later perhaps: the caller must be allowed to itself.
    private func forbidsTarget(
        _ session: AccessSession, _ record: FunctionRecord?, _ bytes: UnsafeRawBufferPointer, _ envelope: Envelope
    ) -> InvocationError? {
        guard session.policy.isRestricted, envelope.data.isPresent, record?.current?.worker.isPrivileged == true,
            let input = JSONMembers(envelope.data.of(bytes)), let target = input["function_id"]?.string
        else { return nil }
        let key = FunctionKey(target, namespace: input["namespace"]?.string ?? FunctionKey.defaultNamespace)
        return forbids(session, key, registry.functions.lookup(key))
    }

    private func divert(
        to middleware: FunctionID, _ session: AccessSession, _ caller: Worker, _ callerID: UUIDBits?, _ key: FunctionKey,
        _ bytes: UnsafeRawBufferPointer, _ envelope: Envelope
    ) {
        var input = JSONObjectText()
        input.set("function_id", .string(key.id))
        input.set("payload", raw: envelope.data.isPresent ? CallerStamp.stripped(envelope.data.of(bytes)) : nil)
        input.set("action", raw: envelope.action.isPresent ? Array(envelope.action.of(bytes)) : nil)
        input.set("context", session.policy.grant.context)
        if key.namespace != FunctionKey.defaultNamespace { input.set("namespace", .string(key.namespace)) }
        let context = traceContext(bytes, envelope)
        let id = callerID ?? nextInvocationID()
        let literal = JSONText.string(key.id)
        call(middleware, data: input.finish(), feeder: caller) { [self] outcome in
            switch outcome {
            case .result(let bytes): sendResult(to: caller, id, function: literal, bytes.map(Array.init), traceContext: context)
            case .failure(let error):
                counters.invocationsFailed &+= 1
                sendError(to: caller, id, function: literal, error, traceContext: context)
            }
        }
    }
}
