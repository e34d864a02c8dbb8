import IIIProtocol
import IIITLS
import NIOCore

/// The settings of one `iii-http` entry (http.md §3 and §20), validated in whole before anything is bound.
package struct HTTPConfiguration: Sendable, Equatable {
    package var host = "127.0.0.1"
    package var port = 3111
    /// nil = plain HTTP.
    package var tls: TLSServerSettings?
    /// Until the response head; 0 lets every request expire at once, as in the baseline.
    package var requestTimeout = TimeAmount.milliseconds(30000)
    package var concurrencyLimit = 1024
    /// How many may wait for a place; four times the limit by default.
    package var concurrencyQueueLimit = 4096
    package var cors = CORSPolicy.permissive
    /// Largest buffered (JSON) request body in bytes.
    package var bodyLimit = 16 * 1024 * 1024
    /// Invalid JSON is answered with 400 instead of being handed on as `null`.
    package var rejectsInvalidJSON = false
    package var nullResultGrace = TimeAmount.milliseconds(1000)
    package var errorFormat = ErrorFormat.flat
    package var maximumHeadBytes = 64 * 1024
    package var maximumHeaderCount = 100
    package var headerTimeout = TimeAmount.seconds(10)
    package var idleTimeout = TimeAmount.seconds(75)
    package var shutdownGrace = TimeAmount.seconds(10)
    package var maximumConnections = 10_000
    /// After this many requests a connection is closed; 0 = never.
    package var maximumRequestsPerConnection = 0
    /// A client that takes in nothing of its response for this long is dropped.
    package var writeStallTimeout = TimeAmount.seconds(30)
    /// Longest time between two pieces of a request body; then 408.
    package var bodyTimeout = TimeAmount.seconds(30)
    /// Largest request body, in bytes, of those that are not buffered; nil = unlimited.
    package var streamBodyLimit: Int?

    // Behaviour of the mapping (http.md §8, §20.13–§20.24).
    /// Global middleware in the order of calling.
    package var globalMiddleware: [FunctionID] = []
    /// A middleware that answers with neither `continue` nor `respond` fails the request instead of letting it pass.
    package var isMiddlewareStrict = false
    package var trustsProxy = false
    /// Lower case; nil = requests carry no id.
    package var requestIDHeader: String? = "x-request-id"
    package var ignoresTrailingSlash = false
    package var notFoundFunction: FunctionID?
    package var returnsPlainValues = false
    package var mapsErrorStatus = false
    package var hidesErrorMessages = false
    package var extendsRequest = false

    // Endpoints and services of the gateway's own; all off unless asked for.
    package var healthPathPrefix: String?
    package var openAPIPath: String?
    package var accessLog = AccessLogFormat.off
    /// Share of requests that are logged, 0…1.
    package var accessLogSample = 1.0
    package var compresses = false
    /// Smallest body in bytes that is worth compressing.
    package var compressionMinimumBytes = 1024
    package var makesEntityTags = false
    /// Worth a WARN line at start.
    package var warnings: [String] = []

    package init() {}

    /// Whether the address is reachable from other hosts.
    package var isPublic: Bool { !(host == "localhost" || host.hasPrefix("127.") || host == "[::1]" || host == "::1") }

    /// Reads the `config` of the entry; `null` means all defaults. Throws a text that names the key and the cure.
    package init(json: JSONValue) throws(HTTPConfigurationError) {
        self.init()
        var reader = try HTTPConfigurationReader(json, path: "")
        host = try reader.string("host") ?? host
        port = try reader.integer("port", 0...65535) ?? port
        if let value = reader.take("tls") { tls = try Self.tls(value) }
        requestTimeout = try reader.milliseconds("default_timeout") ?? requestTimeout
        try readConcurrency(&reader)
        if let value = reader.take("cors") { cors = try Self.cors(value, warnings: &warnings) }
        bodyLimit = try reader.integer("body_limit", 0...(48 << 20)) ?? bodyLimit
        if let choice = try reader.choice("invalid_json", ["null", "reject"]) { rejectsInvalidJSON = choice == "reject" }
        nullResultGrace = try reader.milliseconds("null_result_grace_ms") ?? nullResultGrace
        if let choice = try reader.choice("error_format", ["flat", "envelope"]) { errorFormat = ErrorFormat(rawValue: choice) ?? .flat }
        maximumHeadBytes = try reader.integer("max_head_bytes", 1024...(1 << 20)) ?? maximumHeadBytes
        maximumHeaderCount = try reader.integer("max_header_count", 1...10_000) ?? maximumHeaderCount
        headerTimeout = try reader.milliseconds("header_timeout_ms") ?? headerTimeout
        idleTimeout = try reader.milliseconds("idle_timeout_ms") ?? idleTimeout
        shutdownGrace = try reader.milliseconds("shutdown_grace_ms") ?? shutdownGrace
        maximumConnections = try reader.integer("max_connections", 1...1_000_000) ?? maximumConnections
        try readMapping(&reader)
        try readOperations(&reader)
        try reader.finish()
    }

    private mutating func readConcurrency(_ reader: inout HTTPConfigurationReader) throws(HTTPConfigurationError) {
        if let limit = try reader.integer("concurrency_request_limit", 0...1_000_000) {
            if limit == 0 { warnings.append("concurrency_request_limit is 0; one request at a time is served") }
            concurrencyLimit = max(1, limit)
        }
        concurrencyQueueLimit = try reader.integer("concurrency_queue_limit", 0...1_000_000) ?? concurrencyLimit * 4
    }

    private static func cors(_ value: JSONValue, warnings: inout [String]) throws(HTTPConfigurationError) -> CORSPolicy {
        var reader = try HTTPConfigurationReader(value, path: "cors.")
        // What is no legal header value or token can never match or be sent; the baseline drops it in silence.
        let origins = try reader.strings("allowed_origins").filter { $0.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F } }
        func tokens(_ key: String) throws(HTTPConfigurationError) -> [String] {
            try reader.strings(key).filter { text in
                var text = text
                return text.withUTF8 { ResponseHeaders.isToken(UnsafeRawBufferPointer($0)) }
            }
        }
        let methods = try tokens("allowed_methods")
        let headers = try tokens("allowed_headers")
        let exposed = try tokens("expose_headers")
        let credentials = try reader.boolean("allow_credentials") ?? false
        let age = try reader.integer("max_age", 0...Int(Int32.max))
        try reader.finish()
        let allowsAny = origins.isEmpty || origins.contains("*")
        if origins.count > 1, origins.contains("*") { warnings.append("cors.allowed_origins holds '*': any origin is allowed") }
        if credentials, allowsAny {
            throw HTTPConfigurationError("cors.allow_credentials needs a list of origins in cors.allowed_origins: browsers refuse '*'")
        }
        return CORSPolicy(
            allowedOrigins: origins, allowedMethods: methods, allowedHeaders: headers, exposedHeaders: exposed,
            allowsCredentials: credentials, maximumAge: age)
    }
}
