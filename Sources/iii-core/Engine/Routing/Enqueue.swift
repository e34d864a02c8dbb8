import IIIProtocol
import IIITelemetry
import IIITransport

/// `action: enqueue` (docs/reference/worker-protocol.md#void-and-enqueue): the payload goes to the function
/// `engine::queue::enqueue` of the queue built-in, and the caller is answered when that has accepted it.
extension Engine {
    static let enqueueFunction: FunctionID = "engine::queue::enqueue"

    func enqueue(
        from connection: WorkerConnection, _ callerID: UUIDBits?, queue: String, _ functionID: String, namespace: String?,
        _ bytes: UnsafeRawBufferPointer, _ envelope: Envelope
    ) {
        counters.enqueued &+= 1
        let caller = connection.worker
        let context = traceContext(bytes, envelope)
        let literal = JSONText.string(functionID)
        // The queue calls the function later, with its own privileges.
        if let objection = FunctionID.objection(to: functionID) {
            counters.invocationsFailed &+= 1
            if let callerID {
                sendError(to: caller, callerID, function: literal, InvocationError(.enqueueError, objection), traceContext: context)
            }
            return
        }
        guard let provider = registry.functions.lookup(FunctionKey(Self.enqueueFunction.text)) else {
            if holdIfRestarting(Self.enqueueFunction.text, connection, bytes) { return }
            counters.invocationsFailed &+= 1
            if let callerID {
                sendError(
                    to: caller, callerID, function: literal, InvocationError(.enqueueError, "QueueModule not loaded"), traceContext: context
                )
            }
            return
        }
        let receipt = UUIDBits.ordered(milliseconds: WallClock.milliseconds(), using: &generator).text
        // A queue of ours answers a message it knows already with the receipt of that.
        let isOurs = provider.owners.last?.worker.isPrivileged ?? false
        var input = JSONObjectText()
        input.set("queue", .string(queue))
        input.set("function_id", .string(functionID))
        let data = envelope.data.isPresent ? envelope.data.of(bytes) : nil
        // Passed on as it is, but for a caller's id that somebody who is not trusted has made up.
        input.set("data", raw: data.map { caller.isRestricted ? CallerStamp.stripped($0) : Array($0) })
        input.set("messageReceiptId", .string(receipt))
        input.set("traceparent", raw: envelope.traceparent.isPresent ? Array(envelope.traceparent.of(bytes)) : nil)
        input.set("baggage", raw: envelope.baggage.isPresent ? Array(envelope.baggage.of(bytes)) : nil)
        if envelope.tracestate.isPresent { input.set("tracestate", raw: Array(envelope.tracestate.of(bytes))) }
        if let namespace { input.set("namespace", .string(namespace)) }
        call(Self.enqueueFunction, data: input.finish(), feeder: caller) { [self] outcome in
            guard let callerID else {
                if case .failure = outcome { counters.invocationsFailed &+= 1 }
                return
            }
            switch outcome {
            case .result(let bytes):
                let known = isOurs ? bytes.flatMap { try? JSONValue(parsing: $0) }?["messageReceiptId"]?.string : nil
                let answer: JSONValue = ["messageReceiptId": .string(known ?? receipt)]
                sendResult(to: caller, callerID, function: literal, answer.bytes, traceContext: context)
            case .failure(let error):
                counters.invocationsFailed &+= 1
                // What may be tried again keeps its code.
                let isRetryable = [ErrorCode.tooManyInFlight, .workerOverloaded].contains { $0.rawValue == error.code }
                let answer = isRetryable ? error : InvocationError(.enqueueError, error.message)
                sendError(to: caller, callerID, function: literal, answer, traceContext: context)
            }
        }
    }
}
