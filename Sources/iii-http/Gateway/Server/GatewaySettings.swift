import IIIWorker
import Logging
import NIOCore

/// One configuration made ready for requests. Immutable: a request keeps the settings it began with, so a change of the
/// configuration never shows in the middle of one (docs/reference/http.md#changes-while-it-runs).
///
/// The timers belong to it because all timers of a queue have one length; a timer that runs keeps its queue. Confined to the
/// gateway's event loop.
final class GatewaySettings {
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

    /// One queue for each timer, in the order of `ExchangeTimer.allCases`.
    private let timerQueues: [DeadlineQueue<HTTPConnection>]

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
        timerQueues = ExchangeTimer.allCases.map { timer in
            DeadlineQueue(eventLoop: eventLoop, length: Self.length(of: timer, configuration)) { $0.timerFired(timer) }
        }
    }

    func timers(_ timer: ExchangeTimer) -> DeadlineQueue<HTTPConnection> { timerQueues[timer.ordinal] }

    private static func length(of timer: ExchangeTimer, _ configuration: HTTPConfiguration) -> TimeAmount {
        switch timer {
        case .head: configuration.headerTimeout
        case .idle: configuration.idleTimeout
        case .request: configuration.requestTimeout
        case .hold: min(configuration.workerRestartHold, configuration.requestTimeout)
        case .grace: min(configuration.nullResultGrace, configuration.requestTimeout)
        case .linger: lingerTime
        case .body: configuration.bodyTimeout
        case .stall: configuration.writeStallTimeout
        case .settle: ResponseStream.settleTime
        }
    }
}
