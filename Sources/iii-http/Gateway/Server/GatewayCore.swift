import IIICrypto
import IIIProtocol
import IIIServer
import IIITelemetry
import IIIWorker
import Logging
import NIOCore

/// What all connections of one gateway share: routes, admission, timers, the link, and the list of pending flushes.
///
/// Confined to one event loop, the one that also serves the link to the core, so a request crosses no thread. Limits:
/// `max_connections` (10 000), `max_buffered_bytes` (128 MiB), `concurrency_request_limit` (1024) with `concurrency_queue_limit` (4 ×) waiting.
/// Calls carry no timeout of their own: the request's timer answers the client, and what a handler that never returns leaves
/// behind is bounded by the core's `max_in_flight` (65 536). While draining, idle connections are closed and every response carries `connection: close`.
final class GatewayCore {
    /// What new requests begin with; requests in flight keep theirs.
    private(set) var settings: GatewaySettings
    let link: any FunctionLink
    let eventLoop: any EventLoop
    let logger: Logger
    let telemetry: Telemetry
    let metrics: GatewayMetrics
    var references: ChannelRefMint
    let date = HTTPDate()
    let tls: ServerTLS
    var routes = RouteTable()
    /// Whether the core has told all routes of this link session; readiness waits for it.
    var areRoutesComplete = false
    var requestIDs = RequestIDSource()
    /// The current OpenAPI document.
    var openAPIDocument = OpenAPIDocument.make(routes: [], functions: [:], version: workerLibraryVersion)
    private let writeLine: ([UInt8]) -> Void
    private var compressor: GzipCompressor?

    private(set) var isDraining = false
    var slots = ConnectionSlots<HTTPConnection>()
    var memory: MemoryBudget
    private var lastRelief = NIODeadline.distantPast
    private var held = HeldRequests<HTTPConnection>()
    private var isSweepScheduled = false
    private var onDrained: (() -> Void)?

    private var limit: ConcurrencyLimit<HTTPConnection>
    private var releasesToGrant = 0
    private var isGranting = false

    private var dirty: [HTTPConnection] = []
    private var isFlushScheduled = false

    /// `writeLine` takes the lines of a JSON access log.
    init(
        configuration: HTTPConfiguration, link: any FunctionLink, eventLoop: any EventLoop, channelKey: [UInt8], logger: Logger,
        telemetry: Telemetry = Telemetry(resource: []), writeLine: @escaping ([UInt8]) -> Void
    ) {
        self.link = link
        self.eventLoop = eventLoop
        self.logger = logger
        self.telemetry = telemetry
        metrics = GatewayMetrics(telemetry.metrics)
        self.writeLine = writeLine
        tls = ServerTLS(eventLoop: eventLoop, logger: logger)
        references = ChannelRefMint(key: channelKey)
        let compressor = configuration.compresses ? GzipCompressor() : nil
        self.compressor = compressor
        limit = ConcurrencyLimit(limit: configuration.concurrencyLimit, queueLimit: configuration.concurrencyQueueLimit)
        memory = MemoryBudget(limit: configuration.maximumBufferedBytes)
        settings = GatewaySettings(
            configuration, date: date, compressor: compressor, eventLoop: eventLoop, logger: logger, writeLine: writeLine)
    }

    /// Puts another configuration into force for every request that begins from now on; limits of a connection's head hold
    /// for connections that are accepted from now on.
    func apply(_ configuration: HTTPConfiguration) {
        if configuration.compresses, compressor == nil { compressor = GzipCompressor() }
        settings = GatewaySettings(
            configuration, date: date, compressor: configuration.compresses ? compressor : nil, eventLoop: eventLoop, logger: logger,
            writeLine: writeLine)
        memory.limit = configuration.maximumBufferedBytes
        for connection in limit.resize(limit: configuration.concurrencyLimit, queueLimit: configuration.concurrencyQueueLimit) {
            grantPlace(connection)
        }
    }

    private func grantPlace(_ connection: HTTPConnection) {
        connection.machine.handle { $0.placeGranted() }
        connection.perform()
    }

    /// nil when requests can be served, else why not.
    var unreadiness: String? {
        if isDraining { return "draining" }
        if !link.isConnected { return "no connection to the engine" }
        return areRoutesComplete ? nil : "routes are being replayed"
    }

    func document(of endpoint: OwnEndpoint) -> (status: Int, body: [UInt8]) {
        switch endpoint {
        case .liveness: return (200, Array(#"{"status":"ok"}"#.utf8))
        case .readiness:
            guard let reason = unreadiness else { return (200, Array(#"{"status":"ready"}"#.utf8)) }
            let document: JSONValue = ["status": "unavailable", "reason": .string(reason)]
            return (503, document.bytes)
        case .openAPI: return (200, openAPIDocument)
        }
    }

    // MARK: Connections

    var connectionCount: Int { slots.count }

    /// The slot of a new connection; nil when the gateway has as many as it may have.
    func opened(_ connection: HTTPConnection) -> Int? {
        guard slots.count < settings.configuration.maximumConnections else {
            metrics.connectionWasRefused()
            return nil
        }
        return slots.take(connection)
    }

    func closed(_ slot: Int) {
        slots.release(slot)
        reportIfDrained()
    }

    /// What channels of the slot's exchange were handed out opens nothing any more.
    func voidToken(_ slot: Int?) {
        if let slot { slots.voidToken(slot) }
    }

    /// A function has opened a channel that was minted here. False when its exchange is over or does not want it.
    func channelOpened(_ ref: ChannelRef) -> Bool {
        guard let reference = ChannelReference(channelID: ref.channelID), let connection = slots[token: reference.token] else {
            return false
        }
        return connection.channelOpened(ref, reference.end)
    }

    /// Closes connections once they are idle (those that are idle now, after `idleGrace`), lets requests in flight finish until
    /// `deadline`, then tears down what is left. A second call shortens the first one.
    func drain(idleGrace: TimeAmount = .zero, deadline: NIODeadline, completion: @escaping () -> Void) {
        isDraining = true
        let earlier = onDrained
        onDrained = {
            earlier?()
            completion()
        }
        for connection in slots.connections { connection.drain(closesIdle: idleGrace == .zero) }
        reportIfDrained()
        guard onDrained != nil else { return }
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        if idleGrace > .zero { eventLoop.scheduleTask(in: idleGrace) { bound.value.closeIdle() } }
        eventLoop.scheduleTask(deadline: deadline) { bound.value.abort() }
    }

    private func closeIdle() {
        for connection in slots.connections { connection.drain(closesIdle: true) }
    }

    private func abort() {
        for connection in slots.connections { connection.abort() }
        reportIfDrained()
    }

    private func reportIfDrained() {
        guard isDraining, slots.count == 0, let completion = onDrained else { return }
        onDrained = nil
        completion()
    }

    // MARK: Admission

    func acquirePlace(_ connection: HTTPConnection) -> HTTPExchange.Admission {
        switch limit.acquire(connection) {
        case .admitted: return .admitted
        case .queued: return .queued
        case .rejected:
            metrics.queueWasFull()
            return .rejected
        }
    }

    func withdraw(_ connection: HTTPConnection) { limit.withdraw(connection) }

    /// Iterative: a granted request may end at once and give its place back while this still runs.
    func releasePlace() {
        releasesToGrant += 1
        guard !isGranting else { return }
        isGranting = true
        while releasesToGrant > 0 {
            releasesToGrant -= 1
            if let next = limit.release() { grantPlace(next) }
        }
        isGranting = false
    }

    // MARK: Memory

    /// The total is above its limit and `connection` has just added to it.
    ///
    /// Clients that have taken nothing for a second are cut, those with the most first; a request whose body waits here is turned
    /// away. Looking through all connections is done ten times a second at most.
    func relieve(_ connection: HTTPConnection) {
        cutStalled()
        guard memory.isExhausted else { return }
        if connection.machine.waitingBytes > 0 {
            memory.refusals += 1
            connection.memoryExhausted()
        }
        guard memory.isOverrun else { return }
        // No time to tell who is slow: those go first who have taken nothing for longest.
        let unread = slots.connections.filter { $0.unreadBytes > 0 }.sorted { $0.unreadSince < $1.unreadSince }
        for client in unread where memory.isOverrun { cut(client) }
    }

    /// Whether a new request may be begun.
    func hasMemory() -> Bool {
        if memory.isExhausted { cutStalled() }
        return !memory.isExhausted
    }

    private func cutStalled() {
        let now = eventLoop.now
        if now - lastRelief >= .milliseconds(100) {
            lastRelief = now
            let stalled = slots.connections.filter { $0.isStalled(now) }.sorted { $0.unreadBytes > $1.unreadBytes }
            for client in stalled where memory.isExhausted { cut(client) }
        }
    }

    private func cut(_ connection: HTTPConnection) {
        memory.cuts += 1
        logger.warning(
            .slowClientCut, "a client that does not take its answer is cut: max_buffered_bytes is reached",
            metadata: ["unread_bytes": "\(connection.unreadBytes)", "max_buffered_bytes": "\(memory.limit)"])
        connection.abort()
    }

    // MARK: Routes

    /// Makes a route live; requests that waited for it go on.
    func add(_ route: Route) throws(RouteConflict) {
        let returned = try routes.add(route, settledBy: eventLoop.now + settings.configuration.workerRestartGrace)
        wake(returned)
    }

    /// The worker of a route is gone and may be restarting: the route is remembered for `worker_restart_grace_ms`. Returns it;
    /// nil when there is none.
    func depart(triggerID: String) -> Route? {
        let grace = settings.configuration.workerRestartGrace
        guard grace > .zero else { return routes.remove(triggerID: triggerID) }
        let until = eventLoop.now + grace
        let route = routes.depart(triggerID: triggerID, until: until)
        scheduleSweep(until)
        return route
    }

    private func scheduleSweep(_ deadline: NIODeadline) {
        guard !isSweepScheduled else { return }
        isSweepScheduled = true
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        eventLoop.scheduleTask(deadline: deadline) { bound.value.sweep() }
    }

    private func sweep() {
        isSweepScheduled = false
        wake(routes.removeDeparted(until: eventLoop.now))
        if let next = routes.nextDeparture { scheduleSweep(next) }
    }

    private func wake(_ departed: [Route]) {
        for connection in held.take(for: departed) {
            connection.machine.handle { $0.holdEnded() }
            connection.perform()
        }
    }

    /// Whether there is room for a request that waits for the worker of `route`.
    func hold(_ connection: HTTPConnection, for route: Route) -> Bool {
        !isDraining && !memory.isExhausted && held.add(connection, for: route, limit: settings.configuration.workerRestartHoldLimit)
    }

    func unhold(_ connection: HTTPConnection) { held.remove(connection) }

    var heldCount: Int { held.count }
    var heldTotal: Int { held.total }

    /// Why the function of `route` does not exist, where the route itself says so; nil: its registration is simply missing.
    func absence(of route: Route) -> GatewayError? {
        switch routes.standing(of: route, now: eventLoop.now) {
        case .settled: nil
        case .awaitsWorker: .workerRestarting
        case .gone: .notFound
        }
    }

    // MARK: Metrics

    /// Takes over what stands here into the instruments.
    func collectMetrics(_ listener: ServerMetrics.Reading?) {
        metrics.collect(
            GatewayMetrics.Reading(
                connections: slots.count, queued: limit.waitingCount, held: held.count, heldTotal: held.total, routes: routes.count,
                bufferedBytes: memory.total, bufferedPeak: memory.peak, memoryRefusals: memory.refusals, memoryCuts: memory.cuts,
                listener: listener))
    }

    // MARK: Clock

    /// Lower-case hexadecimal of the low 48 bits of the Unix time in nanoseconds (docs/reference/http.md#errors); also in
    /// the log line.
    func makeErrorID() -> String { String(HTTPDate.now().nanoseconds & 0xFFFF_FFFF_FFFF, radix: 16) }

    /// Until when the channels of a request that starts now may be opened: its deadline and a little for the way.
    func referenceDeadline() -> UInt64 {
        let milliseconds = HTTPDate.now().nanoseconds / 1_000_000
        return milliseconds &+ UInt64(settings.configuration.requestTimeout.nanoseconds / 1_000_000) &+ 10_000
    }

    // MARK: Flushing

    /// Flushes `connection` once at the end of this turn of the loop, after all reads of the same wake-up.
    func scheduleFlush(_ connection: HTTPConnection) {
        dirty.append(connection)
        guard !isFlushScheduled else { return }
        isFlushScheduled = true
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        eventLoop.execute { bound.value.flushAll() }
    }

    private func flushAll() {
        isFlushScheduled = false
        var batch: [HTTPConnection] = []
        swap(&batch, &dirty)
        for connection in batch { connection.flush() }
        if dirty.isEmpty {
            batch.removeAll(keepingCapacity: true)
            dirty = batch
        }
    }
}
