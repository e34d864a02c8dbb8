import IIIProtocol
import IIITransport
import NIOCore

/// The hot path: from a received `invokefunction` to the callee's buffer, and from an `invocationresult` to the caller's.
///
/// Payloads are never decoded: the scan has validated them, and their bytes are copied once, between constant pieces.
extension Engine {
    /// `action` of a request (docs/reference/worker-protocol.md#void-and-enqueue).
    private enum Action {
        case synchronous
        case void
        case enqueue(queue: String)
    }

    // MARK: Requests

    func invoke(from connection: WorkerConnection, _ bytes: UnsafeRawBufferPointer, _ envelope: Envelope, isRetry: Bool = false) {
        let caller = connection.worker
        counters.invocations &+= 1
        var callerID: UUIDBits?
        if envelope.invocationID.isPresent {
            let literal = envelope.invocationID.of(bytes)
            guard literal.count > 2, literal[0] == UInt8(ascii: "\""),
                let id = UUIDBits(ascii: UnsafeRawBufferPointer(rebasing: literal[1..<(literal.count &- 1)]))
            else { return connection.dropped("field 'invocation_id' is not a UUID", type: .invokeFunction) }
            callerID = id
        }
        guard let functionID = FunctionIDBytes(literal: envelope.functionID, in: bytes) else {
            return invalid(connection, callerID, "field 'function_id' is missing or not a string")
        }
        guard envelope.traceparent.isStringOrAbsent(in: bytes), envelope.baggage.isStringOrAbsent(in: bytes),
            envelope.tracestate.isStringOrAbsent(in: bytes)
        else { return invalid(connection, callerID, "field 'traceparent', 'baggage' or 'tracestate' is not a string") }
        var action = Action.synchronous
        if envelope.action.isPresent {
            guard let parsed = Self.action(envelope.action.of(bytes)) else {
                return invalid(connection, callerID, "field 'action' is not {\"type\":\"void\"} or {\"type\":\"enqueue\",\"queue\":…}")
            }
            action = parsed
        }
        let namespace: String?
        if envelope.namespace.isPresent {
            guard let text = JSONText.decodeString(envelope.namespace.of(bytes)) else {
                return invalid(connection, callerID, "field 'namespace' is not a string")
            }
            namespace = text == FunctionKey.defaultNamespace ? nil : text
        } else {
            namespace = nil
        }

        if let session = caller.access {
            let key = FunctionKey(functionID.text, namespace: namespace ?? FunctionKey.defaultNamespace)
            if isIntercepted(session, connection, callerID, key, bytes, envelope) { return }
        }
        if case .enqueue(let queue) = action {
            return enqueue(from: connection, callerID, queue: queue, functionID.text, namespace: namespace, bytes, envelope)
        }
        let isSynchronous: Bool
        if case .void = action { isSynchronous = false } else { isSynchronous = true }

        let found =
            namespace == nil && !functionID.isDecoded
            ? registry.functions.lookup(functionID.bytes)
            : registry.functions.lookup(FunctionKey(functionID.text, namespace: namespace ?? FunctionKey.defaultNamespace))
        guard let record = found, record.isCallable(by: caller) else {
            let id = functionID.text
            if !isRetry, holdIfRestarting(id, connection, bytes) { return }
            counters.invocationsFailed &+= 1
            if isSynchronous, let callerID {
                let key = FunctionKey(id, namespace: namespace ?? FunctionKey.defaultNamespace)
                sendError(
                    to: caller, callerID, function: JSONText.string(id), isRetry ? notFound(key) : noRoomToHold(key) ?? notFound(key),
                    traceContext: traceContext(bytes, envelope))
            } else {
                logger.debug("call of an unknown function", metadata: ["function": .string(id), "worker": .string(caller.id.text)])
            }
            return
        }
        if let builtin = record.builtin {
            guard connection.phase == .open || !builtin.isQuery else { return }
            let start = NIODeadline.now()
            callBuiltin(builtin, record, caller, isSynchronous ? callerID : nil, bytes, envelope, at: start)
            return connection.spend(nanoseconds: (NIODeadline.now() - start).nanoseconds)
        }
        guard let callee = record.selectCallee(default: options.invocationPolicy), let target = callee.connection else {
            return calleeIsAway(record, connection, isSynchronous ? callerID : nil, bytes, envelope, isRetry: isRetry)
        }
        if let error = inFlightError(caller, callee) {
            counters.inFlightLimitReached &+= 1
            counters.invocationsFailed &+= 1
            if isSynchronous, let callerID { sendError(to: caller, callerID, function: record.literal, error, traceContext: []) }
            return
        }
        if target.queuedBytes > options.outboundHighWater, isOverloaded(target, by: caller, adding: bytes.count) {
            let error = overloadError(target)
            counters.invocationsFailed &+= 1
            if isSynchronous, let callerID { sendError(to: caller, callerID, function: record.literal, error, traceContext: []) }
            return
        }
        if let limit = callee.metadata.maximumDelivery, bytes.count > limit &- 128 {
            counters.payloadsTooLarge &+= 1
            counters.invocationsFailed &+= 1
            if isSynchronous, let callerID {
                sendError(to: caller, callerID, function: record.literal, tooLarge(bytes.count, limit), traceContext: [])
            }
            return
        }

        // The callee sees the caller's id, unless it is executing that very id already.
        var calleeID = callerID ?? nextInvocationID()
        if callee.invocations[calleeID] != nil { calleeID = nextInvocationID() }
        let destination: PendingInvocation.Destination
        if isSynchronous, let callerID {
            destination = .caller(caller, id: callerID)
        } else {
            destination = .discard(caller)
        }
        // The record exists before the frame is queued, so an instant reply finds it.
        callee.invocations[calleeID] = PendingInvocation(
            destination: destination, function: record, traceContext: keptTraceContext(bytes, envelope), startedAt: connection.lastInbound)
        caller.callsInFlight &+= 1
        if !callee.isPrivileged { counters.invocationsDeferred &+= 1 }

        let data = envelope.data.isPresent ? envelope.data.of(bytes) : Self.null
        target.sendText(expectedLength: bytes.count &+ 160) { buffer in
            Self.writeInvocation(
                to: &buffer, id: calleeID, function: callee.access == nil ? record.literal : callee.literal(of: record), data: data,
                caller: caller.isPrivileged ? nil : caller,
                bytes: bytes, envelope: envelope)
        }
        if target.queuedBytes > options.outboundHighWater { throttle(caller, feeding: target, by: bytes.count) }
    }

    /// An action is decoded, so its length is bounded, in bytes.
    private static let longestAction = 64 << 10

    private static func action(_ bytes: UnsafeRawBufferPointer) -> Action? {
        guard bytes.count <= longestAction, let value = try? JSONValue(parsing: bytes) else { return nil }
        switch value["type"]?.string {
        case "void": return .void
        case "enqueue": return value["queue"]?.string.map { .enqueue(queue: $0) }
        default: return nil
        }
    }

    private static func writeInvocation(
        to buffer: inout ByteBuffer, id: UUIDBits, function: [UInt8], data: UnsafeRawBufferPointer, caller: Worker?,
        bytes: UnsafeRawBufferPointer, envelope: Envelope
    ) {
        buffer.writeStaticString(#"{"type":"invokefunction","invocation_id":""#)
        buffer.writeUUID(id)
        buffer.writeStaticString(#"","function_id":"#)
        buffer.writeBytes(function)
        buffer.writeStaticString(#","data":"#)
        if let caller, data[0] == UInt8(ascii: "{") {
            CallerStamp.write(data, caller: caller.idText, to: &buffer)
        } else {
            buffer.writeBytes(data)
        }
        buffer.writeMember(#","traceparent":"#, envelope.traceparent, of: bytes)
        buffer.writeMember(#","baggage":"#, envelope.baggage, of: bytes)
        buffer.writeMember(#","tracestate":"#, envelope.tracestate, of: bytes)
        buffer.writeMember(#","metadata":"#, envelope.metadata, of: bytes)
        buffer.writeInteger(UInt8(ascii: "}"))
    }

    // MARK: Results

    func resultReceived(from connection: WorkerConnection, _ bytes: UnsafeRawBufferPointer, _ envelope: Envelope) {
        guard envelope.invocationID.isPresent else {
            return connection.dropped("field 'invocation_id' is missing", type: .invocationResult)
        }
        let literal = envelope.invocationID.of(bytes)
        guard literal.count > 2, let id = UUIDBits(ascii: UnsafeRawBufferPointer(rebasing: literal[1..<(literal.count &- 1)])) else {
            return connection.dropped("field 'invocation_id' is not a UUID", type: .invocationResult)
        }
        // Only the worker a call was sent to can answer it: the record is its own.
        guard let pending = connection.worker.invocations.removeValue(forKey: id) else {
            counters.resultsUnmatched &+= 1
            return
        }
        if envelope.error.isPresent {
            guard let error = Self.errorBody(envelope.error.of(bytes)) else {
                let id = pending.function.key.id
                connection.dropped("field 'error' is not {\"code\":…,\"message\":…}", type: .invocationResult, function: id)
                let text = "Function \(id) answered with a malformed error: \(Self.malformedError(envelope.error.of(bytes)))"
                return fail(pending, InvocationError(.invalidMessage, text))
            }
            counters.invocationsFailed &+= 1
            failed(pending.function, error.code, since: pending.startedAt, now: connection.lastInbound, trace: pending.traceContext)
        } else {
            succeeded(pending.function, since: pending.startedAt, now: connection.lastInbound, trace: pending.traceContext)
        }
        traceContextBytes &-= pending.traceContext.count
        switch pending.destination {
        case .caller(let caller, let callerID):
            caller.callsInFlight &-= 1
            guard let target = caller.connection else { return }
            if let limit = caller.metadata.maximumDelivery, bytes.count > limit &- 128 {
                counters.payloadsTooLarge &+= 1
                return sendError(
                    to: caller, callerID, function: pending.function.literal, tooLarge(bytes.count, limit),
                    traceContext: pending.traceContext)
            }
            target.sendText(expectedLength: bytes.count &+ pending.traceContext.count) { buffer in
                Self.writeResultHead(to: &buffer, callerID, pending.function.literal)
                if envelope.error.isPresent {
                    buffer.writeStaticString(#","error":"#)
                    buffer.writeBytes(envelope.error.of(bytes))
                } else {
                    buffer.writeMember(#","result":"#, envelope.result, of: bytes)
                }
                buffer.writeBytes(pending.traceContext)
                buffer.writeInteger(UInt8(ascii: "}"))
            }
            if target.queuedBytes > options.outboundHighWater { throttle(connection.worker, feeding: target, by: bytes.count) }
        case .discard(let caller):
            caller?.callsInFlight &-= 1
        case .engine(let completion):
            if envelope.error.isPresent {
                let error = (try? JSONValue(parsing: envelope.error.of(bytes))).flatMap(InvocationError.init(json:))
                completion(.failure(error ?? InvocationError(.invocationFailed, "unreadable error")))
            } else {
                completion(.result(envelope.result.isPresent ? envelope.result.of(bytes) : nil))
            }
        }
    }

    private static func errorBody(_ bytes: UnsafeRawBufferPointer) -> InvocationError? {
        (try? JSONValue(parsing: bytes)).flatMap(InvocationError.init(json:))
    }

    private static func writeResultHead(to buffer: inout ByteBuffer, _ id: UUIDBits, _ function: [UInt8]) {
        buffer.writeStaticString(#"{"type":"invocationresult","invocation_id":""#)
        buffer.writeUUID(id)
        buffer.writeStaticString(#"","function_id":"#)
        buffer.writeBytes(function)
    }

    /// Answers a call with a result that the core made; nil means none.
    func sendResult(to worker: Worker, _ id: UUIDBits, function: [UInt8], _ result: [UInt8]?, traceContext: [UInt8]) {
        worker.connection?.sendText(expectedLength: 160 &+ (result?.count ?? 0)) { buffer in
            Self.writeResultHead(to: &buffer, id, function)
            if let result {
                buffer.writeStaticString(#","result":"#)
                buffer.writeBytes(result)
            }
            buffer.writeBytes(traceContext)
            buffer.writeInteger(UInt8(ascii: "}"))
        }
        worker.connection?.answered()
    }

    func sendError(to worker: Worker, _ id: UUIDBits, function: [UInt8], _ error: InvocationError, traceContext: [UInt8]) {
        worker.connection?.sendText(expectedLength: 256) { buffer in
            Self.writeResultHead(to: &buffer, id, function)
            buffer.writeStaticString(#","error":"#)
            buffer.writeBytes(error.json.bytes)
            buffer.writeBytes(traceContext)
            buffer.writeInteger(UInt8(ascii: "}"))
        }
        worker.connection?.answered()
    }

    /// Fails a call whose callee is gone, at once (docs/reference/worker-protocol.md#disconnecting).
    func stop(_ pending: PendingInvocation, reason: String? = nil) {
        var error = InvocationError(.invocationStopped, "Invocation stopped")
        error.details.reason = reason
        fail(pending, error)
    }

    /// Ends a call, taken out of its callee's table, with an error of the core's own.
    func fail(_ pending: PendingInvocation, _ error: InvocationError) {
        counters.invocationsFailed &+= 1
        failed(pending.function, error.code, since: pending.startedAt, now: .now(), trace: pending.traceContext)
        traceContextBytes &-= pending.traceContext.count
        switch pending.destination {
        case .caller(let caller, let id):
            caller.callsInFlight &-= 1
            sendError(to: caller, id, function: pending.function.literal, error, traceContext: pending.traceContext)
        case .discard(let caller): caller?.callsInFlight &-= 1
        case .engine(let completion): completion(.failure(error))
        }
    }

    // MARK: Calls the engine makes

    /// Calls a function on the engine's own behalf: no caller id is added and no worker is told of the outcome.
    ///
    /// `feeder` is the worker whose message is passed on: the call counts among those it has in flight, and it is paused or
    /// refused where the callee cannot keep up. With `callee` it is that worker's own registration that is called, also when a
    /// newer one serves everybody else.
    ///
    /// Returns the call where it waits for a worker.
    @discardableResult
    func call(
        _ function: FunctionID, namespace: String = FunctionKey.defaultNamespace, data: [UInt8], metadata: [UInt8]? = nil,
        from caller: Worker? = nil, callee: Worker? = nil, feeder: Worker? = nil,
        completion: @escaping (CallOutcome) -> Void = { _ in }
    ) -> EngineCall? {
        let key = FunctionKey(function.text, namespace: namespace)
        guard let record = registry.functions.lookup(key) else {
            completion(.failure(notFound(key)))
            return nil
        }
        if let builtin = record.builtin {
            let input = (try? JSONValue(parsing: data)) ?? .null
            builtin.handler(
                BuiltinCall(caller: caller, input: input.isNull ? [:] : input, text: data) { outcome in
                    switch outcome {
                    case .success(let bytes): (bytes ?? []).withUnsafeBytes { completion(.result(bytes == nil ? nil : $0)) }
                    case .failure(let error): completion(.failure(error))
                    }
                })
            return nil
        }
        guard let callee = callee ?? record.selectCallee(default: options.invocationPolicy), let target = callee.connection else {
            completion(.failure(unavailable(record)))
            return nil
        }
        if let error = feeder.flatMap({ inFlightError($0, callee) }) {
            counters.inFlightLimitReached &+= 1
            completion(.failure(error))
            return nil
        }
        if isOverloaded(target, by: feeder, adding: data.count) {
            completion(.failure(overloadError(target)))
            return nil
        }
        feeder?.callsInFlight &+= 1
        let id = nextInvocationID()
        let destination = PendingInvocation.Destination.engine { outcome in
            feeder?.callsInFlight &-= 1
            completion(outcome)
        }
        callee.invocations[id] = PendingInvocation(destination: destination, function: record, traceContext: [], startedAt: .now())
        target.sendText(expectedLength: 160 &+ data.count &+ (metadata?.count ?? 0)) { buffer in
            buffer.writeStaticString(#"{"type":"invokefunction","invocation_id":""#)
            buffer.writeUUID(id)
            buffer.writeStaticString(#"","function_id":"#)
            buffer.writeBytes(callee.access == nil ? record.literal : callee.literal(of: record))
            buffer.writeStaticString(#","data":"#)
            buffer.writeBytes(data)
            if let metadata {
                buffer.writeStaticString(#","metadata":"#)
                buffer.writeBytes(metadata)
            }
            buffer.writeInteger(UInt8(ascii: "}"))
        }
        if let feeder, target.queuedBytes > options.outboundHighWater { throttle(feeder, feeding: target, by: data.count) }
        return EngineCall(id: id, callee: callee)
    }

    private func callBuiltin(
        _ builtin: BuiltinFunction, _ record: FunctionRecord, _ caller: Worker, _ callerID: UUIDBits?, _ bytes: UnsafeRawBufferPointer,
        _ envelope: Envelope, at start: NIODeadline
    ) {
        let context = traceContext(bytes, envelope)
        if Int(envelope.data.length) > options.maximumRegistrationBytes, !caller.isPrivileged {
            counters.payloadsTooLarge &+= 1
            counters.invocationsFailed &+= 1
            guard let callerID else { return }
            let reason =
                "The input of \(builtin.id) has \(envelope.data.length) bytes; max_registration_bytes is \(options.maximumRegistrationBytes)"
            return sendError(
                to: caller, callerID, function: record.literal, InvocationError(.payloadTooLarge, reason), traceContext: context)
        }
        let text = envelope.data.isPresent ? Array(envelope.data.of(bytes)) : []
        let input = text.isEmpty ? .null : (try? JSONValue(parsing: text)) ?? .null
        guard input.isNull || input.object != nil else {
            counters.invocationsFailed &+= 1
            if let callerID {
                let reason = "Failed to deserialize input for \(builtin.id): expected an object"
                sendError(
                    to: caller, callerID, function: record.literal, InvocationError(.deserializationError, reason), traceContext: context)
            }
            return
        }
        guard caller.engineCalls < options.maximumEngineCalls || caller.isPrivileged else {
            counters.inFlightLimitReached &+= 1
            counters.invocationsFailed &+= 1
            guard let callerID else { return }
            let reason = "This worker waits for \(caller.engineCalls) engine functions (max_engine_calls)"
            return sendError(
                to: caller, callerID, function: record.literal, InvocationError(.tooManyInFlight, reason), traceContext: context)
        }
        caller.engineCalls += 1
        builtin.handler(
            BuiltinCall(caller: caller, input: input.isNull ? [:] : input, text: text) { [self] outcome in
                caller.engineCalls -= 1
                switch outcome {
                case .success: succeeded(record, since: start, now: .now(), trace: context)
                case .failure(let error): failed(record, error.code, since: start, now: .now(), trace: context)
                }
                guard let callerID else { return }
                switch outcome {
                case .success(let result): sendResult(to: caller, callerID, function: record.literal, result, traceContext: context)
                case .failure(let error):
                    counters.invocationsFailed &+= 1
                    sendError(to: caller, callerID, function: record.literal, error, traceContext: context)
                }
            })
    }

    // MARK: Pieces

    /// Both ends of a call are bounded: what one worker has asked for, and what one worker has not answered.
    private func inFlightError(_ caller: Worker, _ callee: Worker) -> InvocationError? {
        let limit = options.maximumInFlight
        // `iii-http` calls for all its clients and bounds them itself.
        if caller.callsInFlight >= limit && !caller.isPrivileged {
            return InvocationError(.tooManyInFlight, "This worker has \(limit) calls in flight; wait for answers (max_in_flight)")
        }
        if callee.invocations.count >= limit {
            return InvocationError(.tooManyInFlight, "The worker that serves this function has \(limit) calls unanswered (max_in_flight)")
        }
        return nil
    }

    /// Holds the call of a function whose built-in is restarting, or fails it.
    @inline(never)
    private func calleeIsAway(
        _ record: FunctionRecord, _ connection: WorkerConnection, _ callerID: UUIDBits?, _ bytes: UnsafeRawBufferPointer,
        _ envelope: Envelope, isRetry: Bool
    ) {
        if !isRetry, record.current?.isHTTPInvoked == true, held.hold(record.key.id, connection, bytes) { return }
        counters.invocationsFailed &+= 1
        guard let callerID else { return }
        sendError(
            to: connection.worker, callerID, function: record.literal, unavailable(record), traceContext: traceContext(bytes, envelope))
    }

    private func invalid(_ connection: WorkerConnection, _ callerID: UUIDBits?, _ reason: String) {
        connection.dropped(reason, type: .invokeFunction)
        guard let callerID else { return }
        sendError(
            to: connection.worker, callerID, function: Array(#""""#.utf8), InvocationError(.invalidMessage, "Invalid message: \(reason)"),
            traceContext: [])
    }

    func notFound(_ key: FunctionKey) -> InvocationError {
        guard key.namespace != FunctionKey.defaultNamespace else {
            return InvocationError(.functionNotFound, "Function \(key.id) not found")
        }
        let others = registry.functions.otherNamespaces(serving: key)
        let hint = others.isEmpty ? "" : " It is registered in namespace(s): \(others.joined(separator: ", "))."
        return InvocationError(.functionNotFound, "Function \(key.id) not found in namespace \(key.namespace).\(hint)")
    }

    /// The function exists, but whoever executes it cannot be reached now.
    private func unavailable(_ record: FunctionRecord) -> InvocationError {
        guard record.current?.isHTTPInvoked == true else { return InvocationError(.channelSendFailed, "channel closed") }
        return InvocationError(.functionUnavailable, "Function \(record.key.id) waits for iii-http-functions, which is restarting")
    }

    private func tooLarge(_ size: Int, _ limit: Int) -> InvocationError {
        InvocationError(
            .payloadTooLarge, "The message is \(size) bytes; this worker's SDK takes at most \(limit). Use channels for larger payloads")
    }

    /// `,"traceparent":…,"baggage":…` as the request had them, for the reply.
    func traceContext(_ bytes: UnsafeRawBufferPointer, _ envelope: Envelope) -> [UInt8] {
        guard envelope.traceparent.isPresent || envelope.baggage.isPresent else { return [] }
        var text: [UInt8] = []
        if envelope.traceparent.isPresent { text += Array(#","traceparent":"#.utf8) + Array(envelope.traceparent.of(bytes)) }
        if envelope.baggage.isPresent { text += Array(#","baggage":"#.utf8) + Array(envelope.baggage.of(bytes)) }
        return text
    }

    /// The same, kept until the callee answers. The callee sees what the caller sent; only the echo is left out when it is longer
    /// than W3C allows, or when those of all calls occupy `trace_context_buffer_bytes`.
    private func keptTraceContext(_ bytes: UnsafeRawBufferPointer, _ envelope: Envelope) -> [UInt8] {
        let length = Int(envelope.traceparent.length) &+ Int(envelope.baggage.length)
        guard length > 0 else { return [] }
        guard length <= Self.longestTraceContext, traceContextBytes &+ length <= options.traceContextBufferBytes else {
            counters.traceContextsDropped &+= 1
            return []
        }
        let context = traceContext(bytes, envelope)
        traceContextBytes &+= context.count
        return context
    }

    /// 8 KiB of baggage, and a traceparent with room to grow.
    private static let longestTraceContext = (8 << 10) + 256

    private static let nullBytes: StaticString = "null"
    private static var null: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: nullBytes.utf8Start, count: 4) }
}

/// The function id of a request: a range of the message, or, in the rare case that it holds escapes, its decoded copy.
private struct FunctionIDBytes {
    private let range: UnsafeRawBufferPointer
    private let decoded: String?

    init?(literal span: ByteSpan, in bytes: UnsafeRawBufferPointer) {
        guard span.length >= 2 else { return nil }
        let literal = span.of(bytes)
        guard literal[0] == UInt8(ascii: "\"") else { return nil }
        range = UnsafeRawBufferPointer(rebasing: literal[1..<(literal.count &- 1)])
        decoded = range.contains(UInt8(ascii: "\\")) ? JSONText.decodeString(literal) : nil
    }

    var text: String { decoded ?? String(decoding: range, as: UTF8.self) }
    /// The raw bytes; they are the id itself unless it held escapes (`isDecoded`).
    var bytes: UnsafeRawBufferPointer { range }
    var isDecoded: Bool { decoded != nil }
}

extension ByteSpan {
    /// Whether the member is absent or a string.
    func isStringOrAbsent(in bytes: UnsafeRawBufferPointer) -> Bool {
        !isPresent || bytes[Int(start)] == UInt8(ascii: "\"")
    }
}

extension ByteBuffer {
    /// Writes `name` and the member's bytes if it is present.
    @inline(__always)
    mutating func writeMember(_ name: StaticString, _ span: ByteSpan, of bytes: UnsafeRawBufferPointer) {
        guard span.isPresent else { return }
        writeStaticString(name)
        writeBytes(span.of(bytes))
    }
}
