import IIIProtocol
import IIIServer
import IIISettings
import IIITelemetry
import IIITransport
import Logging
import NIOCore

/// The engine's end of one worker's socket: tells messages apart and hands them to the engine.
///
/// Nothing a peer sends can do more than cost it an error or be dropped: undecodable text, unknown types, missing or
/// wrongly typed fields end in an error for whoever waits, and in a line of the log, rate limited
/// (docs/reference/worker-protocol.md#malformed-messages).
package final class WorkerConnection: WebSocketConnection {
    let engine: Engine
    let worker: Worker
    /// Workers that are not read because they feed this one faster than it takes.
    var pausedFeeders: [Worker] = []
    /// Bytes each worker has added since this connection rose above its high-water mark.
    var fedBytes: [UUIDBits: Int] = [:]
    /// Destinations on whose account this connection is not read.
    var pauseCount = 0
    var health = PeerHealth(now: .now())
    let isTelemetryConsumer: Bool
    /// Until somebody has decided about it.
    private var admission: Admission?
    /// Of a connection whose registrations hooks decide about; nil for all others.
    private(set) var gate: HookGate?
    private var ignored = WarningAllowance(5, each: .seconds(10))

    init(engine: Engine, worker: Worker, limits: WebSocketLimits, coalescer: WriteCoalescer, admission: Admission? = nil) {
        self.engine = engine
        self.worker = worker
        self.admission = admission
        isTelemetryConsumer = worker.builtinName == TelemetryRelay.consumer
        super.init(role: .server, limits: limits, coalescer: coalescer)
        worker.connection = self
    }

    override package func connectionOpened() {
        guard let admission else { return engine.workerConnected(self) }
        engine.authenticate(self, admission) { [self] grant in
            worker.access = AccessSession(AccessPolicy(rules: admission.rules, grant: grant))
            if admission.rules.hasHooks { gate = HookGate() }
            self.admission = nil
            engine.workerConnected(self)
        }
    }

    override package func connectionClosed() {
        if let gate { engine.hookWaitingBytes -= gate.clear() }
        engine.workerDisconnected(self)
    }

    override package func queuedBytesShrank() {
        health.progressed(.now())
        if isTelemetryConsumer { engine.telemetry.consumerAdvanced(self) }
        guard isHeld || !fedBytes.isEmpty, queuedBytes <= engine.options.outboundHighWater / 2 else { return }
        isHeld = false
        engine.resumeFeeders(of: self)
    }

    func judge(_ now: NIODeadline, _ limits: PeerHealth.Limits) -> PeerHealth.Verdict {
        health.judge(now, lastInbound: lastInbound, isRead: isBeingRead, queuedBytes: queuedBytes, limits)
    }

    /// The engine has answered this peer itself. While much of that waits for it, nothing more of it is handled.
    func answered() {
        guard queuedBytes > engine.options.outboundHighWater, phase == .open, !isHeld else { return }
        engine.counters.callersHeld += 1
        isHeld = true
    }

    override package func queueOverflowed() {
        engine.counters.slowPeersDropped += 1
        engine.logger.warning(
            .slowWorkerDropped, "a slow worker was dropped: more than outbound_max_bytes wait for it",
            metadata: ["worker": .string(worker.id.text)])
    }

    override package func messageTooLong(_ head: UnsafeRawBufferPointer, size: Int, isWhole: Bool) {
        engine.tooLongReceived(from: self, head, size: size, isWhole: isWhole)
    }

    override package func messageReceived(_ bytes: UnsafeRawBufferPointer, isText: Bool) {
        engine.counters.messagesReceived &+= 1
        guard admission == nil else { return }
        if let gate, gate.isWaiting, isHeldBack(gate, bytes, isText: isText) { return }
        handle(bytes, isText: isText)
    }

    /// Its turn has come.
    func handle(_ bytes: UnsafeRawBufferPointer, isText: Bool) {
        if !isText, TelemetryRelay.isTelemetry(bytes) {
            engine.telemetry.received(bytes, from: self)
            return
        }
        guard let envelope = Envelope.scan(bytes) else {
            if bytes.contains(where: { $0 != 0x20 && $0 != 0x0A && $0 != 0x0D && $0 != 0x09 }) {
                engine.malformedReceived(from: self, bytes)
                if isText { closeUnlessUTF8(bytes) }
            }
            return
        }
        switch envelope.type {
        case .invokeFunction: engine.invoke(from: self, bytes, envelope)
        case .invocationResult: engine.resultReceived(from: self, bytes, envelope)
        case .ping:
            sendText(Self.pong)
            answered()
        case .pong, .workerRegistered, .registerService, .registrationRejected, .error, .reattach: break
        case .unknown: dropped("its type is missing or unknown")
        default:
            let start = NIODeadline.now()
            registrationReceived(bytes, envelope)
            spend(nanoseconds: (NIODeadline.now() - start).nanoseconds)
        }
    }

    private func registrationReceived(_ bytes: UnsafeRawBufferPointer, _ envelope: Envelope) {
        guard bytes.count <= engine.options.maximumRegistrationBytes else { return engine.refusedForLength(bytes, envelope, of: worker) }
        // The text is one well-formed object: the scan has seen to it.
        guard let message = JSONMembers(bytes) else { return self.dropped("it is not an object", type: envelope.type) }
        guard let id = message["id"]?.string else { return self.dropped("field 'id' is missing or not a string", type: envelope.type) }
        func dropped(_ reason: String) { self.dropped(reason, type: envelope.type, function: id) }
        func optionalString(_ key: String) -> (String?, isValid: Bool) {
            switch message[key] {
            case nil: (nil, true)
            case .string(let text)?: (text, true)
            default: (nil, false)
            }
        }
        let description = optionalString("description")
        guard description.isValid else { return dropped("field 'description' is not a string") }
        let cost = bytes.count + RegistrationLedger.overhead
        switch envelope.type {
        case .registerFunction:
            let key = FunctionKey(id)
            let registration = FunctionRegistration(
                worker: worker, description: description.0, requestFormat: message.raw("request_format"),
                responseFormat: message.raw("response_format"), metadata: message.raw("metadata"),
                policy: FunctionRegistration.policy(in: message["metadata"]), isHTTPInvoked: message["invocation"] != nil, cost: cost)
            if let session = worker.access {
                engine.registerFunction(key, registration, invocation: message["invocation"], session, on: self)
            } else {
                engine.registerFunction(key, registration, invocation: message["invocation"])
            }
        case .unregisterFunction:
            if let session = worker.access {
                engine.unregisterFunction(FunctionKey(id), from: worker, session)
            } else {
                engine.unregisterFunction(FunctionKey(id), from: worker)
            }
        case .registerTriggerType:
            guard let text = description.0 else { return dropped("field 'description' is missing") }
            let provider = TriggerTypeRecord.Provider(
                worker: worker, description: text, triggerRequestFormat: message.raw("trigger_request_format"),
                callRequestFormat: message.raw("call_request_format"), cost: cost)
            if let session = worker.access {
                engine.registerTriggerType(id, provider, session, on: self)
            } else {
                engine.registerTriggerType(id, provider)
            }
        case .unregisterTriggerType:
            if let session = worker.access {
                engine.unregisterTriggerType(id, from: worker, session)
            } else {
                engine.perform(engine.registry.triggers.unregisterType(id, from: worker))
            }
        case .registerTrigger:
            guard let type = message["trigger_type"]?.string else { return dropped("field 'trigger_type' is missing or not a string") }
            guard let function = message["function_id"]?.string else { return dropped("field 'function_id' is missing or not a string") }
            let trigger = RegistrationHooks.Trigger(
                id: id, type: type, functionID: function, namespace: optionalString("namespace").0 ?? FunctionKey.defaultNamespace,
                config: envelope.config.isPresent ? Array(envelope.config.of(bytes)) : Array("null".utf8),
                metadata: envelope.metadata.isPresent ? Array(envelope.metadata.of(bytes)) : nil)
            if let session = worker.access { return engine.registerTrigger(trigger, cost: cost, session, on: self) }
            do throws(InvocationError) {
                try engine.registerTrigger(try TriggerRequest(trigger, cost: cost), owner: worker)
            } catch {
                engine.refuseTrigger(id, type, function, worker, error)
            }
        case .unregisterTrigger:
            if let session = worker.access {
                engine.unregisterTrigger(id, from: worker, session)
            } else {
                engine.perform(engine.registry.triggers.unregister(id, from: worker))
            }
        case .triggerRegistrationResult:
            let error = message.raw("error").map { text in
                (try? JSONValue(parsing: text)).flatMap(InvocationError.init(json:))
                    ?? InvocationError(.triggerRegistrationFailed, text.withUnsafeBytes(Engine.malformedError))
            }
            engine.triggerResultReceived(id, from: worker, error: error)
        default:
            break
        }
    }

    /// Logs that a message was ignored. Its content is a user's and stays out of the log; `function` is the id it was about.
    func dropped(_ reason: String, type: MessageType = .unknown, function: String? = nil) {
        engine.counters.messagesDropped &+= 1
        guard let leftOut = ignored.take(now: .now()) else { return }
        var metadata: Logger.Metadata = [
            "worker": .string(worker.id.text), "name": .string(worker.displayName), "reason": .string(reason),
        ]
        if type != .unknown { metadata["message"] = "\(type)" }
        if let function { metadata["id"] = .string(Engine.short(function)) }
        if leftOut > 0 { metadata["left_out"] = "\(leftOut)" }
        engine.logger.warning(.messageUndecodable, "a message was ignored", metadata: metadata)
    }

    static let pong = Array(#"{"type":"pong"}"#.utf8)
}
