import Glibc
import IIIProtocol
import IIIServer
import IIITelemetry
import IIITransport
import Logging
import NIOCore

/// What the engine asks of, and tells, whoever supervises the built-ins. Called on the engine's loop; must not block.
package struct FleetHooks: Sendable {
    /// A built-in said hello.
    package var announced: @Sendable (BuiltinSecrets.Bearer) -> Void
    /// A built-in has everything registered and bound; it begins to serve when the completion is called.
    package var ready: @Sendable (BuiltinSecrets.Bearer, _ completion: @escaping @Sendable () -> Void) -> Void
    /// A built-in has not answered pings for `builtinSilenceTimeout`.
    package var unresponsive: @Sendable (BuiltinSecrets.Bearer) -> Void
    /// `core::fleet::<command>` with its input; answers with a listing or an error text.
    package var perform:
        @Sendable (_ command: String, _ input: JSONValue, _ completion: @escaping @Sendable (Result<JSONValue, InvocationError>) -> Void) ->
            Void

    package init(
        announced: @escaping @Sendable (BuiltinSecrets.Bearer) -> Void = { _ in },
        ready: @escaping @Sendable (BuiltinSecrets.Bearer, @escaping @Sendable () -> Void) -> Void = { $1() },
        unresponsive: @escaping @Sendable (BuiltinSecrets.Bearer) -> Void = { _ in },
        perform: @escaping @Sendable (String, JSONValue, @escaping @Sendable (Result<JSONValue, InvocationError>) -> Void) -> Void = {
            _, _, done in
            done(.failure(InvocationError(.notFound, "No fleet is supervised here")))
        }
    ) {
        self.announced = announced
        self.ready = ready
        self.unresponsive = unresponsive
        self.perform = perform
    }
}

/// The owner of the registry and the router: the one place where the effects of registry changes are carried out.
///
/// Everything runs on one event loop; there is no lock and no hop on a message's way. Methods marked `nonisolated`-safe in their
/// comment may be called from any thread; all others only on the loop.
package final class Engine: @unchecked Sendable {
    package let eventLoop: any EventLoop
    package let version: String
    package let logger: Logger
    package let secrets: BuiltinSecrets
    package let fleet: FleetHooks
    /// Identifies this start of the engine.
    package let instanceID = UUIDBits.random()
    let startedAtMilliseconds = Int64(WallClock.milliseconds())
    /// Key under which built-ins mint channel references
    /// (docs/reference/worker-protocol.md#references-without-a-round-trip), as hex.
    package let channelKey: String
    package internal(set) var options: EngineOptions
    package internal(set) var registry: WorkerRegistry
    package internal(set) var counters = EngineCounters()
    let coalescer: WriteCoalescer
    var connections: [ObjectIdentifier: WorkerConnection] = [:]
    /// `/otel` sockets: no workers, but connections like any other.
    var telemetryConnections: [ObjectIdentifier: TelemetryConnection] = [:]
    lazy var telemetry = TelemetryRelay(engine: self)
    lazy var held = HeldCalls(engine: self)
    lazy var channels = Channels(engine: self)
    package internal(set) var httpFunctions: HTTPFunctionTable
    /// Configured entries that provide them.
    var httpFunctionEntries: Set<String> = []
    lazy var announcements = RegistryAnnouncements(engine: self)
    lazy var functionListing = FunctionListing(engine: self)
    lazy var triggerWarnings = TriggerWarnings(engine: self)
    /// Expanded `config` of every configured entry, for `core::builtin::hello`.
    package var entryConfigurations: [String: JSONValue] = [:]
    /// Share of the traces begun by the engine and its built-ins that are recorded, as `iii-observability` has asked; nil: none.
    var traceRatio: Double?
    private(set) lazy var metrics = EngineMetrics(version: version)
    var functionStatistics = FunctionStatisticsTable()
    var isCountingFunctions = true
    /// What the trace contexts of calls under way occupy.
    var traceContextBytes = 0
    /// Answers of providers that `engine::register_trigger` waits for, by trigger id.
    var awaitedTriggers: [String: (InvocationError?) -> Void] = [:]
    /// Functions that a worker has taken over from others within the last second: the first, and how many.
    private var movedFunctions: [UUIDBits: (first: FunctionKey, count: Int)] = [:]
    private var isDraining = false
    var listeners: [WebSocketServer] = []
    /// Of every listener that serves.
    var listenerSettings: [ListenerSettings] = []
    /// Connections whose auth function has not answered yet.
    var authenticating: [ObjectIdentifier: WebSocketConnection] = [:]
    var authenticationWarnings = WarningAllowance(10, each: .seconds(60))
    /// Bytes of messages that wait for registration hooks.
    var hookWaitingBytes = 0
    var ownTargets = OwnTargets()
    /// What listeners did that are closed.
    var closedListeners = ServerMetrics.Reading()
    private(set) lazy var housekeeping = Housekeeping(engine: self)
    var generator = SystemRandomNumberGenerator()
    private var invocationPrefix: UInt64
    private var invocationCount: UInt64 = 0

    package init(
        eventLoop: any EventLoop, options: EngineOptions, version: String, channelKey: String, secrets: BuiltinSecrets = BuiltinSecrets(),
        fleet: FleetHooks = FleetHooks(), logger: Logger
    ) {
        self.eventLoop = eventLoop
        self.options = options
        self.version = version
        self.channelKey = channelKey
        self.secrets = secrets
        self.fleet = fleet
        self.logger = logger
        coalescer = WriteCoalescer(eventLoop: eventLoop)
        let ledger = RegistrationLedger()
        registry = WorkerRegistry(
            functions: FunctionTable(ledger: ledger), triggers: TriggerTable(ledger: ledger))
        httpFunctions = HTTPFunctionTable(ledger: ledger)
        invocationPrefix = UInt64.random(in: .min ... .max)
        addBuiltinFunctions()
        applyLimits()
        coalescer.budget.exceeded = { [unowned self] direction in relieve(direction) }
    }

    /// An id for a call that came without one. Unique and unguessable enough for a correlation id; not a secret.
    func nextInvocationID() -> UUIDBits {
        invocationCount &+= 1
        let mixed = (invocationPrefix &+ invocationCount) &* 0x9E37_79B9_7F4A_7C15
        return UUIDBits(
            high: invocationPrefix & 0xFFFF_FFFF_FFFF_0FFF | 0x4000, low: mixed & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000)
    }

    // MARK: Listening

    /// New settings of the first listener, whose limits of workers and calls hold for the whole engine.
    package func optionsChanged(_ new: EngineOptions) {
        options = new
        applyLimits()
    }

    private func applyLimits() {
        registry.functions.maximumPerWorker = options.maximumFunctionsPerWorker
        registry.triggers.maximumTriggersPerWorker = options.maximumTriggersPerWorker
        registry.triggers.maximumTypesPerWorker = options.maximumTriggerTypesPerWorker
        registry.triggers.maximumDurable = options.maximumDurableTriggers
        registry.functions.ledger.maximumPerWorker = options.registeredBytesPerWorker
        registry.functions.ledger.maximumTotal = options.registeredBytes
        coalescer.budget.maximumOutbound = options.outboundTotalBytes
        coalescer.budget.maximumInbound = options.inboundTotalBytes
    }

    /// The expanded configuration of an entry was set, changed, or (nil) removed. On the loop, or before anything listens.
    package func configurationChanged(_ name: String, _ config: JSONValue?) {
        entryConfigurations[name] = config
        if name == TelemetryRelay.consumer { observabilityConfigured() }
        httpFunctionsConfigured(name, config != nil)
        if config == nil {
            held.forget(builtin: name)
            if name == TelemetryRelay.consumer { record(traces: nil) }
        }
    }

    func admit(_ request: UpgradeRequest, _ listener: EngineOptions) -> UpgradeDecision {
        let isChannel = request.path.hasPrefix(Self.channelPath)
        guard Self.isServed(request.path) else { return .refuse(.notFound, body: "") }
        guard !isDraining else { return .refuse(.serviceUnavailable, body: "the engine is shutting down\n") }
        if isChannel { return channels.decide(request, limits: listener.webSocket) }
        var builtin: BuiltinSecrets.Bearer?
        if let secret = request.headers.first(name: "x-iii-builtin-token") {
            guard var owner = secrets.owner(of: secret) else { return .refuse(.forbidden, body: "unknown x-iii-builtin-token\n") }
            if owner.name.isEmpty { owner.name = request.headers.first(name: "x-iii-builtin-name") ?? "builtin" }
            builtin = owner
        }
        // A built-in must find its way back however many workers there are.
        guard builtin != nil || connections.count + telemetryConnections.count + authenticating.count < listener.maximumConnections else {
            counters.connectionsRefused += 1
            return .refuse(.serviceUnavailable, body: "the engine has \(listener.maximumConnections) connections (max_connections)\n")
        }
        counters.connectionsAccepted += 1
        let address = request.remoteAddress?.ipAddress
        let admission = builtin == nil ? listener.access.map { Admission(request, $0) } : nil
        if request.path == "/otel" {
            return .accept(TelemetryConnection(engine: self, limits: listener.webSocket, coalescer: coalescer, admission: admission))
        }
        let worker = Worker(
            id: UUIDBits.random(using: &generator), builtin: builtin, address: address,
            connectedAtMilliseconds: Int64(WallClock.milliseconds()))
        return .accept(
            WorkerConnection(engine: self, worker: worker, limits: listener.webSocket, coalescer: coalescer, admission: admission))
    }

    // MARK: Workers

    func workerConnected(_ connection: WorkerConnection) {
        let worker = connection.worker
        connections[ObjectIdentifier(connection)] = connection
        if connection.isTelemetryConsumer { telemetry.consumerConnected(connection) }
        registry.insert(worker)
        counters.workersConnected += 1
        connection.sendText(Array(#"{"type":"workerregistered","worker_id":"\#(worker.id.text)"}"#.utf8))
        logger.debug("worker connected", metadata: ["worker": .string(worker.id.text), "builtin": .string(worker.builtinName ?? "")])
        if !worker.isPrivileged { announcements.workerEvent("worker_connected", worker.id) }
    }

    func workerDisconnected(_ connection: WorkerConnection) {
        let worker = connection.worker
        connections[ObjectIdentifier(connection)] = nil
        telemetry.connectionClosed(connection)
        if connection.isTelemetryConsumer { telemetry.consumerLost(connection) }
        resumeFeeders(of: connection)
        explainEnd(of: connection)
        // First of all, so that a lost provider's unanswered offers are not taken for refusals.
        httpFunctionsLost(worker)
        if worker.access != nil { for id in worker.triggerIDs { ownTargets.remove(id) } }
        guard let departure = registry.remove(worker) else { return }
        counters.workersLeft += 1
        if let name = worker.builtinName { held.expect(departure.lostFunctions.map(\.id), of: name) }
        let reason = connection.peerCloseCode != nil || connection.hasClosedCleanly ? "connection_closed" : "connection_lost"
        for pending in departure.stopped { stop(pending, reason: reason) }
        perform(departure.triggerEffects)
        telemetry.forget(worker.id)
        channels.ownerDisconnected(worker.id)
        announcements.functionsRemoved(departure.lostFunctions)
        logger.debug("worker disconnected", metadata: ["worker": .string(worker.id.text), "builtin": .string(worker.builtinName ?? "")])
        if !worker.isPrivileged { announcements.workerEvent("worker_disconnected", worker.id) }
    }

    // MARK: Registrations

    /// `invocation` is present for an HTTP-invoked function, whose registration takes effect once its provider has accepted it.
    func registerFunction(_ key: FunctionKey, _ registration: FunctionRegistration, invocation: JSONValue?) {
        let worker = registration.worker
        if FunctionID.isPrivate(key.id), !worker.mayServePrivate(key.id) {
            return refused(key.id, worker, "ids starting with core:: belong to the core, those with builtin::<name>:: to that built-in")
        }
        if let invocation { return registerHTTPFunction(key, registration, invocation) }
        // The worker serves by itself what it had declared to be remote.
        perform(httpFunctions.remove(key, of: worker))
        list(key, registration)
    }

    /// Enters a function into the table. Returns whether it stands there now.
    @discardableResult
    func list(_ key: FunctionKey, _ registration: FunctionRegistration) -> Bool {
        let worker = registration.worker
        let outcome = registry.functions.register(key, registration)
        switch outcome {
        case .added:
            announcements.functionAdded(key)
            held.release(key.id)
        case .replaced:
            announcements.functionReplaced(key)
        case .tookOver:
            announcements.functionReplaced(key)
            functionMoved(key, to: worker)
        case .refused, .limitReached, .noRoom:
            refused(key, worker, outcome)
            return false
        }
        if !ownTargets.isEmpty { recheckOwnTargets(key, servedBy: worker) }
        return true
    }

    /// A replica takes over a predecessor's functions one by one: one line says so for all that move within a second. Where calls
    /// are shared among replicas nothing has moved.
    private func functionMoved(_ key: FunctionKey, to worker: Worker) {
        // Two processes of one entry hand over to each other at every restart.
        guard !worker.isPrivileged, (registry.functions.lookup(key)?.current?.policy ?? options.invocationPolicy) == .latest else { return }
        let isFirst = movedFunctions[worker.id] == nil
        movedFunctions[worker.id, default: (key, 0)].count += 1
        guard isFirst else { return }
        let id = worker.id
        eventLoop.scheduleTask(in: .seconds(1)) { [self] in
            guard let (first, count) = movedFunctions.removeValue(forKey: id) else { return }
            logger.warning(
                .functionMoved, "functions moved to a newer worker",
                metadata: [
                    "functions": "\(count)", "first": .string(first.id), "worker": .string(id.text),
                    "name": "\(registry.workers[id]?.metadata.name ?? "")",
                ])
        }
    }

    func unregisterFunction(_ key: FunctionKey, from worker: Worker) {
        perform(httpFunctions.remove(key, of: worker))
        unlist(key, worker)
    }

    func unlist(_ key: FunctionKey, _ worker: Worker) {
        if registry.functions.unregister(key, from: worker) { announcements.functionsRemoved([key]) }
    }

    /// Logs why `objection` stands against a registration.
    func refused(_ key: FunctionKey, _ worker: Worker, _ objection: FunctionTable.Registration) {
        let reason =
            switch objection {
            case .limitReached: "max_functions_per_worker is \(registry.functions.maximumPerWorker)"
            case .noRoom(let limit): noRoom(limit)
            default: "the core or a built-in owns this id"
            }
        if objection != .refused { counters.registrationLimitReached += 1 }
        refused(key.id, worker, reason)
    }

    func noRoom(_ limit: RegistrationLedger.Limit) -> String {
        switch limit {
        case .perWorker:
            "this worker's registrations would occupy more than registered_bytes_per_worker (\(options.registeredBytesPerWorker))"
        case .total: "all registrations would occupy more than registered_bytes (\(options.registeredBytes))"
        }
    }

    func registerTriggerType(_ id: String, _ provider: TriggerTypeRecord.Provider) {
        let (outcome, effects) = registry.triggers.registerType(id, provider)
        perform(effects)
        guard let worker = provider.worker else { return }
        switch outcome {
        case .accepted: break
        case .refused: refused(id, worker, "the core or a built-in provides this trigger type")
        case .limitReached, .durableLimitReached:
            counters.registrationLimitReached += 1
            refused(id, worker, "max_trigger_types_per_worker is \(registry.triggers.maximumTypesPerWorker)")
        case .noRoom(let limit):
            counters.registrationLimitReached += 1
            refused(id, worker, noRoom(limit))
        }
    }

    /// Enters a trigger, without an owner a durable one made by `creator`; throws what its registrant is to be told. The type of
    /// `functionID` has seen to the target; what config and metadata name is checked here, for every provider.
    func registerTrigger(_ request: TriggerRequest, owner: Worker?, creator: Worker? = nil) throws(InvocationError) {
        if let objection = FunctionID.objection(inside: request.config) ?? request.metadata.flatMap(FunctionID.objection(inside:)) {
            throw InvocationError(.triggerRegistrationFailed, objection)
        }
        let (outcome, effects) = registry.triggers.register(request, owner: owner, creator: creator)
        perform(effects)
        let objection: String
        switch outcome {
        case .accepted, .refused: objection = ""
        case .limitReached:
            objection = "max_triggers_per_worker is \(registry.triggers.maximumTriggersPerWorker)"
        case .durableLimitReached: objection = "max_durable_triggers is \(registry.triggers.maximumDurable)"
        case .noRoom(let limit): objection = noRoom(limit)
        }
        if !objection.isEmpty {
            counters.registrationLimitReached += 1
            throw InvocationError(.triggerRegistrationFailed, objection)
        }
        if let trigger = registry.triggers[trigger: request.id] { triggerWarnings.registered(trigger) }
    }

    /// A registration that is not even decoded; its id is named in the log, up to a length.
    func refusedForLength(_ bytes: UnsafeRawBufferPointer, _ envelope: Envelope, of worker: Worker) {
        func text(_ span: ByteSpan) -> String { span.isPresent && span.length <= 1024 ? JSONText.decodeString(span.of(bytes)) ?? "" : "" }
        let id = text(envelope.id)
        let reason = "its message has \(bytes.count) bytes; max_registration_bytes is \(options.maximumRegistrationBytes)"
        counters.registrationLimitReached += 1
        refused(id, worker, reason)
        guard envelope.type == .registerTrigger else { return }
        sendTriggerError(
            id, text(envelope.triggerType), text(envelope.functionID), to: worker, InvocationError(.triggerRegistrationFailed, reason))
    }

    /// Refuses a worker's trigger: a line in the log, and a word to the worker.
    func refuseTrigger(_ id: String, _ type: String, _ function: String, _ worker: Worker, _ error: InvocationError) {
        refused(id, worker, error.message)
        sendTriggerError(id, type, function, to: worker, InvocationError(.triggerRegistrationFailed, error.message))
    }

    func refused(_ id: String, _ worker: Worker, _ reason: String) {
        counters.registrationsRefused += 1
        guard let leftOut = worker.refusals.take(now: .now()) else { return }
        var metadata: Logger.Metadata = [
            "id": .string(Self.short(id)), "worker": .string(worker.id.text), "reason": .string(Self.short(reason)),
        ]
        if leftOut > 0 { metadata["left_out"] = "\(leftOut)" }
        logger.warning(.registrationRefused, "a registration was refused", metadata: metadata)
    }

    /// Carries out what a change of the trigger tables asks for.
    func perform(_ effects: [TriggerEffect]) {
        for effect in effects {
            switch effect {
            case .register(let trigger, let worker):
                guard let provider = worker.connection else { continue }
                let message = TriggerMessages.register(trigger, type: worker.access?.triggerTypes.own(trigger.type) ?? trigger.type)
                provider.sendText(message)
                if let owner = trigger.owner, provider.queuedBytes > options.outboundHighWater {
                    throttle(owner, feeding: provider, by: message.count)
                }
            case .unregister(let trigger, let worker, let reason):
                let type = worker.access?.triggerTypes.own(trigger.type) ?? trigger.type
                worker.connection?.sendText(TriggerMessages.unregister(trigger, type: type, reason))
            }
        }
    }

    func triggerResultReceived(_ id: String, from worker: Worker, error: InvocationError?) {
        guard let answer = registry.triggers.answered(id, by: worker, isRefusal: error != nil), let trigger = registry.triggers[trigger: id]
        else { return }
        let refused: TriggerRequest
        switch answer {
        case .accepted: return awaitedTriggers.removeValue(forKey: id).map { $0(nil) } ?? ()
        case .refused(let request), .keptFormer(let request), .superseded(let request): refused = request
        }
        guard let error else { return }
        triggerWarnings.refused(trigger, refused, error)
        if let owner = trigger.owner {
            let function = owner.access?.functions.own(refused.functionID.text) ?? refused.functionID.text
            sendTriggerError(owner.access?.triggers.own(id) ?? id, trigger.type, function, to: owner, error)
        }
        if let waiting = awaitedTriggers.removeValue(forKey: id) { waiting(error) }
    }

    func sendTriggerError(_ id: String, _ type: String, _ function: String, to owner: Worker, _ error: InvocationError) {
        let message: JSONValue = [
            "type": "triggerregistrationresult", "id": .string(id), "trigger_type": .string(type), "function_id": .string(function),
            "error": error.json,
        ]
        owner.connection?.sendText(message.bytes)
    }

    // MARK: Ending

    /// Refuses new connections from now on.
    package func beginDraining() { isDraining = true }

    /// Closes listeners and tells every worker to come back (1012), so that no SDK takes it for a clean end
    /// (docs/reference/worker-protocol.md#closing).
    package func shutDown() {
        isDraining = true
        for listener in listeners { listener.close() }
        listeners = []
        housekeeping.stop()
        channels.shutDown()
        let sockets = Array(connections.values) + Array(telemetryConnections.values) + Array(authenticating.values)
        for connection in sockets { connection.close(.serviceRestart, reason: "engine is shutting down") }
    }
}
