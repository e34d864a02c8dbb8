import IIICrypto
import IIIProtocol
import IIIServer
import IIIWorker
import Logging
import NIOCore

/// What all connections of one gateway share: routes, admission, timers, the link, and the list of pending flushes.
///
/// Confined to one event loop, the one that also serves the link to the core, so a request crosses no thread. Limits:
/// `max_connections` (10 000), `concurrency_request_limit` (1024) with `concurrency_queue_limit` (4 ×) waiting.
/// Calls carry no timeout of their own: the request's timer answers the client, and what a handler that never returns leaves
/// behind is bounded by the core's `max_in_flight` (65 536). While draining, idle connections are closed and every response carries `connection: close`.
final class GatewayCore<Link: FunctionLink> {
    /// What new requests begin with; requests in flight keep theirs.
    private(set) var settings: GatewaySettings<Link>
    let link: Link
    let eventLoop: any EventLoop
    let logger: Logger
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
    var slots = ConnectionSlots<HTTPConnection<Link>>()
    private var onDrained: (() -> Void)?

    private var limit: ConcurrencyLimit<HTTPConnection<Link>>
    private var releasesToGrant = 0
    private var isGranting = false

    private var dirty: [HTTPConnection<Link>] = []
    private var isFlushScheduled = false

    /// `writeLine` takes the lines of a JSON access log.
    init(
        configuration: HTTPConfiguration, link: Link, eventLoop: any EventLoop, channelKey: [UInt8], logger: Logger,
        writeLine: @escaping ([UInt8]) -> Void
    ) {
        self.link = link
        self.eventLoop = eventLoop
        self.logger = logger
        self.writeLine = writeLine
        tls = ServerTLS(eventLoop: eventLoop, logger: logger)
        references = ChannelRefMint(key: channelKey)
        let compressor = configuration.compresses ? GzipCompressor() : nil
        self.compressor = compressor
        limit = ConcurrencyLimit(limit: configuration.concurrencyLimit, queueLimit: configuration.concurrencyQueueLimit)
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
        for connection in limit.resize(limit: configuration.concurrencyLimit, queueLimit: configuration.concurrencyQueueLimit) {
            connection.placeGranted()
        }
    }

    /// nil when requests can be served, else why not.
    var unreadiness: String? {
        if isDraining { return "draining" }
        if !link.isConnected { return "no connection to the engine" }
        return areRoutesComplete ? nil : "routes are being replayed"
    }

    // MARK: Connections

    var connectionCount: Int { slots.count }

    /// The slot of a new connection; nil when the gateway has as many as it may have.
    func opened(_ connection: HTTPConnection<Link>) -> Int? {
        slots.count < settings.configuration.maximumConnections ? slots.take(connection) : nil
    }

    func closed(_ slot: Int) {
        slots.release(slot)
        reportIfDrained()
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
        if idleGrace == .zero { closeIdle() }
        reportIfDrained()
        guard onDrained != nil else { return }
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        if idleGrace > .zero { eventLoop.scheduleTask(in: idleGrace) { bound.value.closeIdle() } }
        eventLoop.scheduleTask(deadline: deadline) { bound.value.abort() }
    }

    private func closeIdle() {
        for connection in slots.connections { connection.drain() }
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

    func acquirePlace(_ connection: HTTPConnection<Link>) -> ConcurrencyLimit<HTTPConnection<Link>>.Admission {
        limit.acquire(connection)
    }

    func withdraw(_ connection: HTTPConnection<Link>) { limit.withdraw(connection) }

    /// Iterative: a granted request may end at once and give its place back while this still runs.
    func releasePlace() {
        releasesToGrant += 1
        guard !isGranting else { return }
        isGranting = true
        while releasesToGrant > 0 {
            releasesToGrant -= 1
            limit.release()?.placeGranted()
        }
        isGranting = false
    }

    // MARK: Clock

    /// Lower-case hexadecimal of the low 48 bits of the Unix time in nanoseconds (http.md §11); also in the log line.
    func makeErrorID() -> String { String(HTTPDate.now().nanoseconds & 0xFFFF_FFFF_FFFF, radix: 16) }

    /// Until when the channels of a request that starts now may be opened: its deadline and a little for the way.
    func referenceDeadline() -> UInt64 {
        let milliseconds = HTTPDate.now().nanoseconds / 1_000_000
        return milliseconds &+ UInt64(settings.configuration.requestTimeout.nanoseconds / 1_000_000) &+ 10_000
    }

    // MARK: Flushing

    /// Flushes `connection` once at the end of this turn of the loop, after all reads of the same wake-up.
    func scheduleFlush(_ connection: HTTPConnection<Link>) {
        dirty.append(connection)
        guard !isFlushScheduled else { return }
        isFlushScheduled = true
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        eventLoop.execute { bound.value.flushAll() }
    }

    private func flushAll() {
        isFlushScheduled = false
        var batch: [HTTPConnection<Link>] = []
        swap(&batch, &dirty)
        for connection in batch { connection.flush() }
        if dirty.isEmpty {
            batch.removeAll(keepingCapacity: true)
            dirty = batch
        }
    }
}
