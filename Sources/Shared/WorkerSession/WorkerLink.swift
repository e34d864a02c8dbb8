import Glibc
import IIIProtocol
import IIITelemetry
import IIITransport
import Logging
import NIOCore

/// A worker's link to the engine on one event loop: the low-level half of this library, for servers that share the loop.
///
/// Everything is confined to `eventLoop` unless it says otherwise, and nothing hops: a call's completion runs where its answer
/// is read. Registrations are remembered and said again after every reconnect. Calls in flight when the link breaks fail with
/// `DISCONNECTED` at once, because the engine forgets them too. Ordinary workers use `WorkerClient` instead.
public final class WorkerLink: @unchecked Sendable {
    private struct PendingCall {
        let completion: (CallOutcome) -> Void
        let timeout: Scheduled<Void>?
    }

    struct Function {
        let id: FunctionID
        /// See `IncomingCall`.
        let isCounted: Bool
        let handler: (IncomingCall) -> Void
    }

    /// Where everything of it is called, handlers and callbacks too.
    public let eventLoop: any EventLoop
    /// As it was made with.
    public let options: WorkerOptions
    /// For what happens to the connection.
    public let logger: Logger
    /// The id the engine gave this connection; nil while disconnected.
    public private(set) var workerID: String?
    /// Called after every change of `isConnected`, before registrations are replayed.
    public var onStateChange: ((_ isConnected: Bool) -> Void)?
    /// Called after registrations were replayed on a new connection.
    public var onReady: (() -> Void)?
    /// An attempt to connect failed; the next follows by itself unless `stop` is called here.
    public var onConnectFailure: ((any Error) -> Void)?
    /// A provider refused one of this worker's triggers.
    public var onTriggerRefused: ((_ triggerID: String, InvocationError) -> Void)?

    /// Serves calls of functions this link has not registered itself: those the engine handed to it by contract
    /// (docs/reference/core-workers.md).
    package var onOtherCall: ((FunctionID, IncomingCall) -> Void)?

    /// Takes the telemetry frames that the engine passes on, prefix included; the bytes are valid during the call only. For `iii-observability`.
    package var onTelemetry: ((UnsafeRawBufferPointer) -> Void)? {
        didSet {
            guard let onTelemetry else { return }
            let frames = earlyTelemetry
            earlyTelemetry = []
            for frame in frames { frame.withUnsafeBytes(onTelemetry) }
        }
    }
    /// What the core sent before this worker's configuration had come, and with it `onTelemetry`. At most 1 MiB; then the newest are left out.
    private var earlyTelemetry: [[UInt8]] = []

    private var connection: LinkConnection?
    /// Counts connections: answers to calls of an earlier one are not sent on a later one.
    var generation = 0
    private var isStopped = false
    var log = RegistrationLog()
    var functions: [String: Function] = [:]
    var providers: [String: any TriggerTypeProvider] = [:]
    private var barriers = CircularBuffer<(Bool) -> Void>()
    private var pending: [UUIDBits: PendingCall] = [:]
    private var waiting: [(deadline: NIODeadline, work: (Bool) -> Void)] = []
    /// Calls of functions of this worker that are not answered yet.
    public private(set) var runningCalls = 0
    private var onIdle: [() -> Void] = []
    private var backoff: ReconnectBackoff
    private var gauge = StallGauge(period: .seconds(1), now: .now())
    private var health = PeerHealth(now: .now())
    var generator = SystemRandomNumberGenerator()
    private let idPrefix = UInt64.random(in: .min ... .max)
    private var idCount: UInt64 = 0
    let coalescer: WriteCoalescer
    private var sender: TelemetrySender?

    /// Connects to nothing yet: `start` does.
    public init(options: WorkerOptions, on eventLoop: any EventLoop, logger: Logger) {
        self.options = options
        self.eventLoop = eventLoop
        self.logger = logger
        coalescer = WriteCoalescer(eventLoop: eventLoop)
        backoff = ReconnectBackoff(
            first: .nanoseconds(options.reconnectDelay.nanoseconds), maximum: .nanoseconds(options.maximumReconnectDelay.nanoseconds))
    }

    /// Whether messages go out at once. Else registrations wait for the connection, and calls as `WorkerOptions.maximumWaitingCalls` says.
    public var isConnected: Bool { connection?.phase == .open }
    /// The number of the current, or else the last, connection; the first is 1.
    public var session: Int { generation }
    /// Bytes accepted for the engine and not yet taken by the kernel.
    public var queuedBytes: Int { connection?.queuedBytes ?? 0 }

    // MARK: Connecting

    /// Connects, and reconnects for ever with growing delays until `stop`.
    public func start() {
        guard !isStopped, connection == nil else { return }
        let connection = makeConnection()
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        WebSocketDialer.connect(
            to: options.url, headers: options.headers, timeout: options.connectTimeout, connection: connection, on: eventLoop
        ).whenFailure { error in
            let link = bound.value
            link.connection = nil
            guard !link.isStopped else { return }
            link.logger.warning(
                .engineUnreachable, "the engine cannot be reached", metadata: ["url": "\(link.options.url)", "error": "\(error)"])
            link.onConnectFailure?(error)
            link.scheduleReconnect()
        }
    }

    /// Our end of the next connection, for whoever brings it about: the dialer, or an engine that a test plays.
    package func makeConnection() -> WebSocketConnection {
        let connection = LinkConnection(link: self, coalescer: coalescer)
        self.connection = connection
        return connection
    }

    private func scheduleReconnect() {
        guard !isStopped else { return }
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        eventLoop.scheduleTask(in: TimeAmount(backoff.next(using: &generator))) { bound.value.start() }
    }

    func connectionOpened() {
        // Stopped while connecting: nobody is to hear of us.
        if isStopped {
            connection?.close(.normal)
            return
        }
        generation += 1
        gauge = StallGauge(period: heartbeatPeriod, now: .now())
        health = PeerHealth(now: .now())
        startHeartbeat(generation)
    }

    /// The engine's first frame: only now does it listen to us as `workerID`.
    private func registered(_ id: String?) {
        workerID = id
        backoff.reset()
        for provider in providers.values { provider.sessionStarted(generation) }
        onStateChange?(true)
        for message in log.replay { send(message) }
        if !providers.isEmpty { barrier { [self] isReached in if isReached { replayEnded() } } }
        if options.reportsMetadata { send(metadataReport) }
        onReady?()
        sender?.connected()
        let due = waiting
        waiting = []
        for entry in due { entry.work(entry.deadline > .now()) }
    }

    func connectionClosed() {
        let wasRegistered = workerID != nil
        connection = nil
        workerID = nil
        let calls = pending
        pending = [:]
        for call in calls.values {
            call.timeout?.cancel()
            call.completion(.failure(Self.disconnected))
        }
        let unreached = barriers
        barriers = CircularBuffer()
        for completion in unreached { completion(false) }
        if wasRegistered { onStateChange?(false) }
        scheduleReconnect()
    }

    /// Runs `completion(true)` when the engine has handled everything sent before, and everything it sent in return, such as the
    /// replay that follows the announcement of a trigger type, has been received; `completion(false)` when the connection ends first.
    public func barrier(_ completion: @escaping (Bool) -> Void) {
        guard workerID != nil, let connection, connection.phase == .open else { return completion(false) }
        barriers.append(completion)
        connection.sendText(Array(#"{"type":"ping"}"#.utf8))
    }

    /// Ends the link for good, also one that is just connecting. `completion` runs when the engine has taken what was sent, or
    /// after two seconds.
    public func stop(completion: @escaping () -> Void = {}) {
        isStopped = true
        let unserved = waiting
        waiting = []
        for entry in unserved { entry.work(false) }
        let sender = sender
        self.sender = nil
        guard let connection, connection.phase == .open || connection.phase == .closing else {
            sender?.cancel()
            return completion()
        }
        connection.onClosed = completion
        guard let sender else { return connection.close(.normal) }
        sender.finish { connection.close(.normal) }
    }

    /// Often, so that time in which this process did not run is told from the engine's silence (`StallGauge`).
    private var heartbeatPeriod: TimeAmount { min(.seconds(1), options.pingInterval) }

    private func startHeartbeat(_ current: Int) {
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        eventLoop.scheduleTask(in: heartbeatPeriod) {
            let link = bound.value
            guard link.generation == current, let connection = link.connection, connection.phase == .open else { return }
            let now = NIODeadline.now()
            connection.excuse(link.gauge.tick(now))
            let limits = PeerHealth.Limits(pingInterval: link.options.pingInterval, silence: link.options.silenceTimeout)
            let verdict = link.health.judge(
                now, lastInbound: connection.lastInbound, isRead: connection.isBeingRead, queuedBytes: connection.queuedBytes, limits)
            switch verdict {
            case .fine: break
            case .ping: connection.sendPing()
            case .silent, .stalled: return connection.cut()
            }
            link.startHeartbeat(current)
        }
    }

    private var metadataReport: [UInt8] {
        var system = utsname()
        uname(&system)
        func field<T>(_ value: T) -> String {
            withUnsafeBytes(of: value) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        }
        let data: JSONValue = [
            "runtime": "swift", "version": .string(workerLibraryVersion), "name": .string(options.name),
            "os": .string("\(field(system.sysname)) \(field(system.release)) (\(field(system.machine)))"), "pid": .integer(Int64(getpid())),
            "isolation": JSONValue(environmentValue("III_ISOLATION")), "description": JSONValue(options.description),
            "telemetry": ["language": "swift", "framework": "iii-swift"],
        ]
        let message: JSONValue = [
            "type": "invokefunction", "function_id": "engine::workers::register", "data": data, "action": ["type": "void"],
        ]
        return message.bytes
    }

    // MARK: Calling

    private static let disconnected = InvocationError(.disconnected, "The link to the engine is down")

    /// Sends a call; `writeData` appends exactly one JSON value straight into the frame.
    ///
    /// `namespace` is where the id is looked up; nil means `default` (docs/reference/worker-protocol.md#namespaces).
    /// The callee is told of `trace`, that of the call on whose behalf this one is made.
    /// Fails with `DISCONNECTED` at once while the link is down. Without a `timeout` it waits as long as the link lives. For
    /// `void` the completion runs when the message is queued. Returns the call's id for `abandon`, nil when nothing is waited for.
    @discardableResult
    public func call(
        _ function: FunctionID, namespace: String? = nil, action: CallAction = .synchronous, trace: TraceContext = .none,
        metadata: [UInt8]? = nil, timeout: TimeAmount? = nil, writeData: (inout ByteBuffer) -> Void,
        completion: @escaping (CallOutcome) -> Void
    ) -> UUIDBits? {
        guard let connection, connection.phase == .open, workerID != nil else {
            completion(.failure(Self.disconnected))
            return nil
        }
        var id: UUIDBits?
        if action != .void {
            let new = nextID()
            id = new
            pending[new] = PendingCall(completion: completion, timeout: timeout.map { scheduleTimeout(of: new, after: $0) })
        }
        connection.sendText(expectedLength: 512) { buffer in
            buffer.writeStaticString(#"{"type":"invokefunction","#)
            if let id {
                buffer.writeStaticString(#""invocation_id":""#)
                buffer.writeUUID(id)
                buffer.writeStaticString(#"","#)
            }
            buffer.writeStaticString(#""function_id":"#)
            buffer.writeBytes(function.json)
            if let namespace {
                buffer.writeStaticString(#","namespace":"#)
                buffer.writeBytes(JSONText.string(namespace))
            }
            switch action {
            case .synchronous: break
            case .void: buffer.writeStaticString(#","action":{"type":"void"}"#)
            case .enqueue(let queue):
                let value: JSONValue = ["type": "enqueue", "queue": .string(queue)]
                buffer.writeStaticString(#","action":"#)
                buffer.writeBytes(value.bytes)
            }
            if let traceparent = trace.traceparent {
                buffer.writeStaticString(#","traceparent":"#)
                buffer.writeBytes(JSONText.string(traceparent))
            }
            if let baggage = trace.baggage {
                buffer.writeStaticString(#","baggage":"#)
                buffer.writeBytes(JSONText.string(baggage))
            }
            if let tracestate = trace.tracestate {
                buffer.writeStaticString(#","tracestate":"#)
                buffer.writeBytes(JSONText.string(tracestate))
            }
            if let metadata {
                buffer.writeStaticString(#","metadata":"#)
                buffer.writeBytes(metadata)
            }
            buffer.writeStaticString(#","data":"#)
            writeData(&buffer)
            buffer.writeInteger(UInt8(ascii: "}"))
        }
        if id == nil { completion(.result(nil)) }
        return id
    }

    /// Calls a function and waits for its answer, from asynchronous code of any kind; a function that returns nothing answers null.
    public func ask(_ function: FunctionID, _ input: JSONValue = [:], timeout: TimeAmount) async throws(InvocationError) -> JSONValue {
        let trace = TraceContext.current
        let answer = await withCheckedContinuation { (waiting: CheckedContinuation<Result<JSONValue, InvocationError>, Never>) in
            eventLoop.execute { [self] in
                call(function, trace: trace, timeout: timeout, writeData: { $0.writeBytes(input.bytes) }) { outcome in
                    switch outcome {
                    case .result(let bytes): waiting.resume(returning: .success(bytes.flatMap { try? JSONValue(parsing: $0) } ?? .null))
                    case .failure(let error): waiting.resume(returning: .failure(error))
                    }
                }
            }
        }
        return try answer.get()
    }

    /// Forgets a call: its completion will not run. The callee is not told; the protocol has no cancel.
    public func abandon(_ call: UUIDBits) {
        pending.removeValue(forKey: call)?.timeout?.cancel()
    }

    /// Runs `work(true)` as soon as the link is up, or `work(false)` when it is not up in time or too many wait already.
    func whenConnected(within timeout: TimeAmount, _ work: @escaping (Bool) -> Void) {
        if workerID != nil { return work(true) }
        guard waiting.count < options.maximumWaitingCalls, !isStopped else { return work(false) }
        let deadline = NIODeadline.now() + timeout
        waiting.append((deadline, work))
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        eventLoop.scheduleTask(deadline: deadline) { bound.value.expireWaiting() }
    }

    private func expireWaiting() {
        let now = NIODeadline.now()
        let late = waiting.filter { $0.deadline <= now }
        waiting.removeAll { $0.deadline <= now }
        for entry in late { entry.work(false) }
    }

    private func nextID() -> UUIDBits {
        idCount &+= 1
        return UUIDBits(
            high: idPrefix & 0xFFFF_FFFF_FFFF_0FFF | 0x4000,
            low: ((idPrefix &+ idCount) &* 0x9E37_79B9_7F4A_7C15) & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000)
    }

    private func scheduleTimeout(of id: UUIDBits, after timeout: TimeAmount) -> Scheduled<Void> {
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        return eventLoop.scheduleTask(in: timeout) {
            guard let call = bound.value.pending.removeValue(forKey: id) else { return }
            call.completion(.failure(InvocationError(.timeout, "No answer within \(timeout.nanoseconds / 1_000_000) ms")))
        }
    }

    // MARK: Messages

    func send(_ message: [UInt8]) {
        guard workerID != nil else { return }
        connection?.sendText(message)
    }

    private func telemetryReceived(_ bytes: UnsafeRawBufferPointer) {
        if let onTelemetry { return onTelemetry(bytes) }
        guard earlyTelemetry.reduce(bytes.count, { $0 + $1.count }) <= 1 << 20 else {
            return logger.debug("telemetry that came before anybody here could take it was left out", metadata: ["bytes": "\(bytes.count)"])
        }
        earlyTelemetry.append(Array(bytes))
    }

    func messageReceived(_ bytes: UnsafeRawBufferPointer, isText: Bool) {
        if !isText { return telemetryReceived(bytes) }
        guard let envelope = Envelope.scan(bytes) else {
            return logger.warning(.messageUndecodable, "an undecodable message from the engine was ignored")
        }
        switch envelope.type {
        case .invokeFunction: invoked(bytes, envelope)
        case .invocationResult: answered(bytes, envelope)
        case .ping: send(Array(#"{"type":"pong"}"#.utf8))
        case .pong: barriers.popFirst()?(true)
        case .workerRegistered:
            registered((try? JSONValue(parsing: bytes))?["worker_id"]?.string ?? "")
        case .registerTrigger, .unregisterTrigger, .triggerRegistrationResult, .error:
            if let message = try? JSONValue(parsing: bytes) { triggerMessage(envelope, message, bytes) }
        default: break
        }
    }

    private func answered(_ bytes: UnsafeRawBufferPointer, _ envelope: Envelope) {
        guard let id = uuid(envelope.invocationID, bytes), let call = pending.removeValue(forKey: id) else { return }
        call.timeout?.cancel()
        if envelope.error.isPresent {
            let error = (try? JSONValue(parsing: envelope.error.of(bytes))).flatMap(InvocationError.init(json:))
            call.completion(.failure(error ?? InvocationError(.invocationFailed, "unreadable error")))
        } else {
            call.completion(.result(envelope.result.isPresent ? envelope.result.of(bytes) : nil))
        }
    }

    private func uuid(_ span: ByteSpan, _ bytes: UnsafeRawBufferPointer) -> UUIDBits? {
        guard span.length > 2 else { return nil }
        let literal = span.of(bytes)
        return UUIDBits(ascii: UnsafeRawBufferPointer(rebasing: literal[1..<(literal.count - 1)]))
    }

    private func invoked(_ bytes: UnsafeRawBufferPointer, _ envelope: Envelope) {
        guard let id = uuid(envelope.invocationID, bytes), let name = JSONText.decodeString(envelope.functionID.of(bytes)) else { return }
        func text(_ span: ByteSpan) -> String? { span.isPresent ? JSONText.decodeString(span.of(bytes)) : nil }
        let trace =
            envelope.traceparent.isPresent || envelope.baggage.isPresent
            ? TraceContext(
                traceparent: text(envelope.traceparent), baggage: text(envelope.baggage), tracestate: text(envelope.tracestate))
            : .none
        let function = functions[name]
        let isCounted = function?.isCounted ?? true
        if isCounted { runningCalls += 1 }
        let call = IncomingCall(
            payload: envelope.data.isPresent ? Array(envelope.data.of(bytes)) : Array("null".utf8), trace: trace,
            metadata: envelope.metadata.isPresent ? Array(envelope.metadata.of(bytes)) : nil, link: self,
            generation: generation, id: id, function: function?.id ?? FunctionID(own: name), isCounted: isCounted)
        if let function { return function.handler(call) }
        if let onOtherCall { return onOtherCall(FunctionID(own: name), call) }
        call.fail(InvocationError(.functionNotFound, "Function \(name) not found"))
    }

    // MARK: Telemetry

    /// Sends what `telemetry` records, from now on until `stop`.
    func carry(_ telemetry: Telemetry) {
        guard sender == nil, !isStopped else { return }
        let sender = TelemetrySender(telemetry: telemetry, link: self)
        self.sender = sender
        sender.start()
    }

    /// Runs `work` on the event loop before each look at the metrics, so that gauges can be set to what holds then.
    func whenCollecting(_ work: @escaping () -> Void) { sender?.whenCollecting(work) }

    /// Sends a telemetry frame; while the link is down it goes nowhere.
    func sendTelemetry(_ frame: [UInt8]) {
        guard workerID != nil else { return }
        frame.withUnsafeBytes { connection?.sendBinary($0) }
    }

    func callAnswered() {
        runningCalls -= 1
        guard runningCalls == 0, !onIdle.isEmpty else { return }
        let due = onIdle
        onIdle = []
        for work in due { work() }
    }

    /// Runs `work` when no handler is running (now, if none is).
    func whenIdle(_ work: @escaping () -> Void) {
        guard runningCalls > 0 else { return work() }
        onIdle.append(work)
    }

    func sendResult(_ id: UUIDBits, _ function: FunctionID, generation: Int, _ write: (inout ByteBuffer) -> Void) {
        guard generation == self.generation else { return }
        connection?.sendText(expectedLength: 300) { buffer in
            buffer.writeStaticString(#"{"type":"invocationresult","invocation_id":""#)
            buffer.writeUUID(id)
            buffer.writeStaticString(#"","function_id":"#)
            buffer.writeBytes(function.json)
            write(&buffer)
            buffer.writeInteger(UInt8(ascii: "}"))
        }
    }

    func sendError(_ error: InvocationError, _ id: UUIDBits, _ function: FunctionID, generation: Int) {
        sendResult(id, function, generation: generation) { buffer in
            buffer.writeStaticString(#","error":"#)
            buffer.writeBytes(error.json.bytes)
        }
    }

    private func triggerMessage(_ envelope: Envelope, _ message: JSONValue, _ bytes: UnsafeRawBufferPointer) {
        let id = message["id"]?.string ?? ""
        let type = message["trigger_type"]?.string ?? ""
        switch envelope.type {
        case .registerTrigger:
            let function = message["function_id"]?.string ?? ""
            guard let provider = providers[type] else {
                let error = InvocationError(.triggerTypeNotFound, "this worker does not provide the trigger type '\(type)'")
                return answerTrigger(id, type: type, functionID: function, error: error)
            }
            let metadata = envelope.metadata.isPresent ? Array(envelope.metadata.of(bytes)) : nil
            let content = Result { () throws(InvocationError) in
                TriggerBinding(
                    id: id, triggerType: type,
                    target: try TriggerTarget(function: function, namespace: message["namespace"]?.string, metadata: metadata),
                    config: message["config"] ?? .null)
            }
            provider.offered(TriggerOffer(id: id, functionID: function, content: content, bytes: bytes.count))
        case .unregisterTrigger:
            providers[type]?.unregistered(id, UnregistrationReason(wire: message["reason"]?.string))
        case .triggerRegistrationResult:
            let error = message["error"].flatMap(InvocationError.init(json:)) ?? InvocationError(.triggerRegistrationFailed, "refused")
            logger.warning(
                .triggerRefused, "a trigger was refused",
                metadata: ["trigger": "\(id)", "trigger_type": "\(type)", "error": "\(error)"])
            onTriggerRefused?(id, error)
        default:
            logger.error(.engineError, "the engine reports an error", metadata: ["error": "\(message["error"] ?? .null)"])
        }
    }
}
