import IIIWorker
import Logging
import NIOCore

/// One configuration made ready for requests. Immutable: a request keeps the settings it began with, so a change of the
/// configuration never shows in the middle of one (http.md §18.2).
///
/// The timers belong to it because all timers of a queue have one length; a connection changes over with its next request,
/// at a moment when none of its timers runs. Confined to the gateway's event loop.
final class GatewaySettings<Link: FunctionLink> {
    let configuration: HTTPConfiguration
    let writer: ResponseWriter
    let globalMiddleware: [FunctionID]
    let notFoundFunction: FunctionID?
    let ownEndpoints: OwnEndpoints
    /// Lower case; empty = requests carry no id.
    let requestIDName: [UInt8]
    let accessLog: AccessLog?
    /// Whether anything is to be noted of a request beyond the baseline's needs.
    var hasOptions: Bool { negotiates || accessLog != nil }
    /// Whether responses depend on `accept-encoding` or `if-none-match`.
    let negotiates: Bool

    let headTimers: DeadlineQueue<HTTPConnection<Link>>
    let idleTimers: DeadlineQueue<HTTPConnection<Link>>
    let requestTimers: DeadlineQueue<HTTPConnection<Link>>
    let graceTimers: DeadlineQueue<HTTPConnection<Link>>
    let lingerTimers: DeadlineQueue<HTTPConnection<Link>>
    /// For the time between two pieces of a body; a timer of its own, the request's deadline runs beside it.
    let bodyTimers: DeadlineQueue<HTTPConnection<Link>>
    let stallTimers: DeadlineQueue<HTTPConnection<Link>>

    /// How long a client may take to read its last response before the connection is torn down.
    private static var lingerTime: TimeAmount { .seconds(2) }

    init(
        _ configuration: HTTPConfiguration, date: HTTPDate, compressor: GzipCompressor?, eventLoop: any EventLoop, logger: Logger,
        writeLine: @escaping ([UInt8]) -> Void
    ) {
        self.configuration = configuration
        writer = ResponseWriter(configuration, date: date, compressor: compressor)
        negotiates = configuration.compresses || configuration.makesEntityTags
        globalMiddleware = configuration.globalMiddleware
        notFoundFunction = configuration.notFoundFunction
        ownEndpoints = OwnEndpoints(healthPathPrefix: configuration.healthPathPrefix, openAPIPath: configuration.openAPIPath)
        requestIDName = Array((configuration.requestIDHeader ?? "").utf8)
        accessLog = AccessLog(
            format: configuration.accessLog, sample: configuration.accessLogSample, logger: logger,
            seed: UInt64.random(in: .min ... .max), writeLine: writeLine)
        func queue(_ length: TimeAmount, _ onExpiry: @escaping (HTTPConnection<Link>) -> Void) -> DeadlineQueue<HTTPConnection<Link>> {
            DeadlineQueue(eventLoop: eventLoop, length: length, onExpiry: onExpiry)
        }
        headTimers = queue(configuration.headerTimeout) { $0.headTimeExpired() }
        idleTimers = queue(configuration.idleTimeout) { $0.idleTimeExpired() }
        requestTimers = queue(configuration.requestTimeout) { $0.requestTimeExpired() }
        graceTimers = queue(min(configuration.nullResultGrace, configuration.requestTimeout)) { $0.graceTimeExpired() }
        lingerTimers = queue(Self.lingerTime) { $0.lingerTimeExpired() }
        bodyTimers = queue(configuration.bodyTimeout) { $0.bodyTimeExpired() }
        stallTimers = queue(configuration.writeStallTimeout) { $0.writeStallTimeExpired() }
    }
}
