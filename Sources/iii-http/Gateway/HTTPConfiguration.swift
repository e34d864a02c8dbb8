import IIIProtocol
import IIISettings
import IIITLS
import NIOCore

/// The settings of one `iii-http` entry as the gateway uses them; `HTTPSettings` says what each means, its range and default.
package struct HTTPConfiguration: Sendable, Equatable {
    package var host: String
    package var port: Int
    /// nil = plain HTTP.
    package var tls: TLSServerSettings?
    /// Until the response head; 0 lets every request expire at once, as in the baseline.
    package var requestTimeout: TimeAmount
    /// At least one.
    package var concurrencyLimit: Int
    package var concurrencyQueueLimit: Int
    package var cors: CORSPolicy
    package var bodyLimit: Int
    package var rejectsInvalidJSON: Bool
    package var nullResultGrace: TimeAmount
    package var errorFormat: ErrorFormat
    package var maximumHeadBytes: Int
    package var maximumHeaderCount: Int
    package var headerTimeout: TimeAmount
    package var idleTimeout: TimeAmount
    package var shutdownGrace: TimeAmount
    package var maximumConnections: Int
    package var maximumBufferedBytes: Int
    package var workerRestartHold: TimeAmount
    package var workerRestartHoldLimit: Int
    /// 0 = the routes of a worker go with it.
    package var workerRestartGrace: TimeAmount
    /// 0 = never closed for this.
    package var maximumRequestsPerConnection: Int
    package var writeStallTimeout: TimeAmount
    package var bodyTimeout: TimeAmount
    /// Of bodies that are not buffered; nil = unlimited.
    package var streamBodyLimit: Int?

    // Behaviour of the mapping.
    /// In the order of calling: ascending priority, equal ones as they stand in the list.
    package var globalMiddleware: [FunctionID]
    package var isMiddlewareStrict: Bool
    package var trustsProxy: Bool
    /// Lower case; nil = requests carry no id.
    package var requestIDHeader: String?
    package var ignoresTrailingSlash: Bool
    package var notFoundFunction: FunctionID?
    package var returnsPlainValues: Bool
    package var mapsErrorStatus: Bool
    package var hidesErrorMessages: Bool
    package var extendsRequest: Bool

    // Endpoints and services of the gateway's own; all off unless asked for.
    package var healthPathPrefix: String?
    package var openAPIPath: String?
    package var accessLog: AccessLogFormat
    package var accessLogSample: Double
    package var compresses: Bool
    package var compressionMinimumBytes: Int
    package var makesEntityTags: Bool
    /// Worth a WARN line at start.
    package var warnings: [String]

    /// All defaults.
    package init() { self.init(HTTPSettings.group.defaults) }

    package init(_ values: SettingValues) {
        typealias Key = HTTPSettings
        host = values[Key.host]
        port = values[Key.port]
        tls = values[Key.tls].map { TLSServerSettings($0) }
        requestTimeout = TimeAmount(values[Key.requestTimeout])
        concurrencyLimit = max(1, values[Key.concurrencyLimit])
        concurrencyQueueLimit = values[Key.concurrencyQueueLimit] ?? concurrencyLimit * 4
        cors = values[Key.cors].map { CORSPolicy($0) } ?? .permissive
        bodyLimit = values[Key.bodyLimit]
        rejectsInvalidJSON = values[Key.invalidJSON] == .reject
        nullResultGrace = TimeAmount(values[Key.nullResultGrace])
        errorFormat = values[Key.errorFormat]
        maximumHeadBytes = values[Key.maximumHeadBytes]
        maximumHeaderCount = values[Key.maximumHeaderCount]
        headerTimeout = TimeAmount(values[Key.headerTimeout])
        idleTimeout = TimeAmount(values[Key.idleTimeout])
        shutdownGrace = TimeAmount(values[Key.shutdownGrace])
        maximumConnections = values[Key.maximumConnections]
        maximumBufferedBytes = values[Key.maximumBufferedBytes]
        workerRestartHold = TimeAmount(values[Key.workerRestartHold])
        workerRestartHoldLimit = values[Key.workerRestartHoldLimit]
        workerRestartGrace = TimeAmount(values[Key.workerRestartGrace])
        maximumRequestsPerConnection = values[Key.maximumRequestsPerConnection]
        writeStallTimeout = TimeAmount(values[Key.writeStallTimeout])
        bodyTimeout = TimeAmount(values[Key.bodyTimeout])
        streamBodyLimit = values[Key.streamBodyLimit].flatMap { $0 == 0 ? nil : $0 }
        globalMiddleware = Self.ordered(values[Key.middleware])
        isMiddlewareStrict = values[Key.middlewareMode] == .strict
        trustsProxy = values[Key.trustsProxy]
        requestIDHeader = values[Key.requestIDHeader].flatMap { $0.isEmpty ? nil : $0.lowercased() }
        ignoresTrailingSlash = values[Key.ignoresTrailingSlash]
        // The check has refused private ids.
        notFoundFunction = values[Key.notFoundFunction].map { FunctionID(own: $0) }
        returnsPlainValues = values[Key.returnsPlainValues]
        mapsErrorStatus = values[Key.mapsErrorStatus]
        hidesErrorMessages = values[Key.hidesErrorMessages]
        extendsRequest = values[Key.extendsRequest]
        healthPathPrefix = values[Key.healthPathPrefix]
        openAPIPath = values[Key.openAPIPath]
        accessLog = values[Key.accessLog]
        accessLogSample = values[Key.accessLogSample]
        compresses = values[Key.compression] == .gzip
        compressionMinimumBytes = values[Key.compressionMinimumBytes]
        makesEntityTags = values[Key.makesEntityTags]
        warnings = values.warnings
    }

    /// Whether the address is reachable from other hosts.
    package var isPublic: Bool { !(host == "localhost" || host.hasPrefix("127.") || host == "[::1]" || host == "::1") }

    private static func ordered(_ steps: [GlobalMiddleware]) -> [FunctionID] {
        // `sort` is not documented to be stable.
        steps.enumerated().sorted { ($0.element.priority, $0.offset) < ($1.element.priority, $1.offset) }.map {
            FunctionID(own: $0.element.function)
        }
    }
}

extension CORSPolicy {
    /// From a checked `cors` map; the check has warned of texts that cannot stand in a header.
    init(_ values: SettingValues) {
        self.init(
            allowedOrigins: values[CORSSettings.origins].filter(CORSSettings.isHeaderText),
            allowedMethods: values[CORSSettings.methods].filter(CORSSettings.isToken),
            allowedHeaders: values[CORSSettings.headers].filter(CORSSettings.isToken),
            exposedHeaders: values[CORSSettings.exposedHeaders].filter(CORSSettings.isToken),
            allowsCredentials: values[CORSSettings.allowsCredentials],
            maximumAge: values[CORSSettings.maximumAge].map { Int($0.components.seconds) })
    }
}
