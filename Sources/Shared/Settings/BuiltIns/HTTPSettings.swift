import IIIProtocol

/// The body of answers that the gateway itself makes in case of an error.
package enum ErrorFormat: String, Sendable, CaseIterable {
    /// `{"error":"…","error_id":"…"}`, as the baseline.
    case flat
    /// `{"error":{"code":"…","message":"…","error_id":"…"}}`.
    case envelope
}

/// What the gateway says about each request.
package enum AccessLogFormat: String, Sendable, CaseIterable {
    case off
    /// `[CALLED] Endpoint GET /x → fn::id 200 (3ms)` in the log of the process.
    case text
    /// One JSON object a line on standard output.
    case json
}

/// What becomes of a request body that is not JSON although it says so.
package enum InvalidJSONPolicy: String, Sendable, CaseIterable {
    case null
    case reject
}

/// What a middleware that answers with neither `continue` nor `respond` does to the request.
package enum MiddlewareMode: String, Sendable, CaseIterable {
    case lenient
    case strict
}

package enum Compression: String, Sendable, CaseIterable {
    case off
    case gzip
}

/// Keys of `iii-http`. Read by `HTTPConfiguration`.
package enum HTTPSettings {
    package static let defaultPort = 3111

    // Listener
    package static let host = Setting("host", .text(.host), default: "127.0.0.1", change: .restart, "Address to listen on.")
    package static let port = Setting("port", .port, default: JSONValue(defaultPort), change: .restart, "0 takes any free port.")
    package static let tls = Setting("tls", .object(TLSSettings.group), absent: "plain HTTP", "Certificate and rules of HTTPS.")
    package static let maximumConnections = Setting(
        "max_connections", .count(1...1_000_000), default: 10_000, "Connections at a time; further ones get 503.")
    package static let maximumBufferedBytes = Setting(
        "max_buffered_bytes", .bytes((1 << 20)...(1 << 40)), default: 134_217_728,
        "Request bodies that wait and answers that are not taken, all connections together. Above it clients that take nothing are cut and new requests get 503."
    )
    package static let maximumRequestsPerConnection = Setting(
        "max_requests_per_connection", .count, default: 0, "After this many the response says `connection: close`; 0 = never.")
    package static let maximumHeadBytes = Setting(
        "max_head_bytes", .bytes(1024...(1 << 20)), default: 65_536, "Larger heads: 431; request line: 414.")
    package static let maximumHeaderCount = Setting("max_header_count", .count(1...10_000), default: 100, "More headers: 431.")
    package static let headerTimeout = Setting(
        "header_timeout_ms", .milliseconds, default: 10_000,
        "Until a request's head is complete, TLS handshake included; then the connection is closed.")
    package static let idleTimeout = Setting(
        "idle_timeout_ms", .milliseconds, default: 75_000, "A connection without a request for this long is closed.")
    package static let bodyTimeout = Setting(
        "body_timeout_ms", .milliseconds, default: 30_000, "Between two pieces of a buffered body; then 408 and close; 0 = off.")
    package static let writeStallTimeout = Setting(
        "write_stall_timeout_ms", .milliseconds, default: 30_000, "A client that takes in nothing of its response is dropped; 0 = off.")
    package static let shutdownGrace = Setting(
        "shutdown_grace_ms", .milliseconds, default: 10_000, "Time for requests in flight when stopping.")

    // Requests
    package static let requestTimeout = Setting("default_timeout", .milliseconds, default: 30_000, "Until the response head; then 504.")
    package static let concurrencyLimit = Setting(
        "concurrency_request_limit", .count(0...1_000_000), default: 1024, "Requests served at a time; further ones wait.")
    package static let concurrencyQueueLimit = Setting(
        "concurrency_queue_limit", .count(0...1_000_000), absent: "four times `concurrency_request_limit`", example: 4096,
        "Requests that may wait for a place; further ones get 503 with `Retry-After`.")
    package static let workerRestartHold = Setting(
        "worker_restart_hold_ms", .milliseconds, default: 3000,
        "How long a request waits when the only worker of its route has disconnected; then 503 with `Retry-After`.")
    package static let workerRestartHoldLimit = Setting(
        "worker_restart_hold_limit", .count(0...100_000), default: 256, "Requests that may wait so; further ones get the 503 at once.")
    package static let workerRestartGrace = Setting(
        "worker_restart_grace_ms", .milliseconds, default: 10_000,
        "How long such a worker is expected back; then its routes are 404. 0 = they are at once.")
    package static let bodyLimit = Setting("body_limit", .bytes(0...(48 << 20)), default: 16_777_216, "Largest buffered (JSON) body; 413.")
    package static let streamBodyLimit = Setting(
        "stream_body_limit", .bytes, absent: "no limit", example: 1_073_741_824,
        "Largest body that is not buffered (everything but JSON); 413. 0 = no limit.")
    package static let invalidJSON = Setting<InvalidJSONPolicy>(
        "invalid_json", .choice, default: "null", "A body that is not JSON: handed on as `null`, or `reject`: 400.")
    package static let trustsProxy = Setting(
        "trust_proxy", .boolean, default: false,
        "The last address of `x-forwarded-for` is the client, `x-forwarded-host` the host in the access log; else both are plain headers.")
    package static let requestIDHeader = Setting<String?>(
        "request_id_header", .nullable(.text(headerNameOrNone)), default: "x-request-id",
        "A client's id of 1–128 visible ASCII characters is taken over, else one is made; echoed and logged. null or `\"\"` switches ids off."
    )
    package static let ignoresTrailingSlash = Setting(
        "ignore_trailing_slash", .boolean, default: false, "A path without a route is looked up with the slash at its end added or removed."
    )
    package static let notFoundFunction = Setting(
        "not_found_function", .text(.functionID), absent: "404", example: "site::not_found",
        "Called for paths without any route, `path` being the raw path; its result is the response, status 404 unless it says otherwise.")
    package static let extendsRequest = Setting(
        "extended_request", .boolean, default: false,
        "Payload members `query_params_all`, `headers_all`, `raw_query`, `raw_path`, `remote_addr`, `request_id`, `http_version`.")
    package static let middleware = Setting<[GlobalMiddleware]>(
        "middleware", .list(.object(MiddlewareSettings.group, GlobalMiddleware.init)), default: [],
        "Functions that run before every routed request, by ascending priority.")
    package static let middlewareMode = Setting<MiddlewareMode>(
        "middleware_mode", .choice, default: "lenient",
        "A middleware that returns neither `continue` nor `respond`: `lenient` lets the request pass, as the baseline; `strict` answers 500."
    )

    // Results
    package static let cors = Setting(
        "cors", .object(CORSSettings.group), absent: "everything is allowed", "Cross-origin rules for browsers.")
    package static let nullResultGrace = Setting(
        "null_result_grace_ms", .milliseconds, default: 1000, "204 after this time when a handler returned nothing.")
    package static let errorFormat = Setting<ErrorFormat>(
        "error_format", .choice, default: "flat", "Form of the gateway's own error bodies.")
    package static let returnsPlainValues = Setting(
        "plain_return_as_body", .boolean, default: false, "A return value without `status_code`, `headers` and `body` is the JSON body.")
    package static let mapsErrorStatus = Setting(
        "error_status_mapping", .boolean, default: false,
        "Function missing or its worker gone: 503 with `Retry-After`; function timeout: 504; else all are 500.")
    package static let hidesErrorMessages = Setting(
        "hide_error_messages", .boolean, default: false, "Clients see `internal server error` and the `error_id`; the log has the message.")
    package static let compression = Setting<Compression>(
        "compression", .choice, default: "off",
        "`gzip`: JSON and text bodies, when `accept-encoding` prefers it; never event streams, partial or encoded bodies.")
    package static let compressionMinimumBytes = Setting(
        "compression_min_bytes", .bytes(0...Int64(Int32.max)), default: 1024, "Smallest body that is compressed.")
    package static let makesEntityTags = Setting(
        "etag", .boolean, default: false, "Weak `etag` on 200 answers to GET and HEAD, 304 for a matching `if-none-match`.")

    // Operators
    package static let healthPathPrefix = Setting(
        "health_path_prefix", .text(pathPrefix).map(withoutLastSlash), absent: "off", example: "/internal",
        "`<prefix>/healthz` (200 while the process lives) and `<prefix>/readyz` (200, or 503 with the reason); `\"\"` serves them at the root."
    )
    package static let openAPIPath = Setting(
        "openapi_path", .text(openAPI).map(withoutLastSlash), absent: "off", example: "/openapi.json",
        "An OpenAPI 3.1 document of the live routes.")
    package static let accessLog = Setting<AccessLogFormat>(
        "access_log", .choice, default: "off", "`text`: one line per request in the log; `json`: one object per line on standard output.")
    package static let accessLogSample = Setting("access_log_sample", .ratio, default: 1.0, "Share of requests that are logged.")

    package static let group = SettingGroup(change: .live) {
        SettingGroup {
            host
            port
            tls
            maximumConnections
            maximumBufferedBytes
            maximumRequestsPerConnection
            maximumHeadBytes
            maximumHeaderCount
            headerTimeout
            idleTimeout
            bodyTimeout
            writeStallTimeout
            shutdownGrace
        }
        SettingGroup {
            requestTimeout
            concurrencyLimit
            concurrencyQueueLimit
            workerRestartHold
            workerRestartHoldLimit
            workerRestartGrace
            bodyLimit
            streamBodyLimit
            invalidJSON
            trustsProxy
            requestIDHeader
            ignoresTrailingSlash
            notFoundFunction
            extendsRequest
            middleware
            middlewareMode
        }
        SettingGroup {
            cors
            nullResultGrace
            errorFormat
            returnsPlainValues
            mapsErrorStatus
            hidesErrorMessages
            compression
            compressionMinimumBytes
            makesEntityTags
        }
        SettingGroup {
            healthPathPrefix
            openAPIPath
            accessLog
            accessLogSample
        }
        SettingRule("`concurrency_request_limit: 0` is taken as 1.") { values in
            values[concurrencyLimit] > 0
                ? [] : [.warning("concurrency_request_limit", message: "0 is taken as 1: one request at a time is served; set 1 or more")]
        }
    }

    private static let headerNameOrNone = TextRule("a header name that no framing depends on, or null for none") { text in
        text.isEmpty || HTTPFieldName.isToken(text) && !HTTPFieldName.belongsToFraming(text)
    }

    private static let pathPrefix = TextRule("a path that starts with a slash, or \"\"") { $0.isEmpty || isPath($0) }
    private static let openAPI = TextRule("a path such as /openapi.json") { isPath($0) && $0 != "/" }

    private static func isPath(_ text: String) -> Bool {
        text.hasPrefix("/") && text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "?") && $0 != UInt8(ascii: "#") }
    }

    /// Paths are kept without a slash at their end; empty for the root.
    @Sendable private static func withoutLastSlash(_ text: String) -> String { text.hasSuffix("/") ? String(text.dropLast()) : text }
}

/// One step of `middleware`.
package struct GlobalMiddleware: Sendable, Equatable {
    package var function: String
    package var priority: Int

    init(_ values: SettingValues) {
        function = values[MiddlewareSettings.function]
        priority = values[MiddlewareSettings.priority]
    }
}

/// Closed, unlike the reference's: a misspelt `priority` or `phase` of an authentication step is a hole.
package enum MiddlewareSettings {
    package static let function = Setting(
        required: "function_id", .text(.functionID), example: "auth::check", "Function that answers `continue` or `respond`.")
    // The reference skips other phases in silence, which would switch a guard off.
    package static let phase = Setting("phase", .choice("preHandler"), default: "preHandler", "When it runs.")
    package static let priority = Setting(
        "priority", .integer(Int64(Int32.min)...Int64(Int32.max)), default: 0, "Lower runs first; equal ones in the order of the list.")

    package static let group = SettingGroup {
        function
        phase
        priority
    }
}

package enum CORSSettings {
    package static let origins = Setting<[String]>(
        "allowed_origins", .list(.text), default: [], "Empty, or with `*` among them: any origin.")
    package static let methods = Setting<[String]>("allowed_methods", .list(.text), default: [], "Empty: any method.")
    package static let headers = Setting<[String]>("allowed_headers", .list(.text), default: [], "Empty: what the preflight asks for.")
    package static let exposedHeaders = Setting<[String]>("expose_headers", .list(.text), default: [], "Headers that scripts may read.")
    package static let allowsCredentials = Setting(
        "allow_credentials", .boolean, default: false, "Cookies and `authorization` may be sent.")
    package static let maximumAge = Setting(
        "max_age", .seconds, absent: "the browser's own", example: 600, "How long a preflight answer holds.")

    package static let group = SettingGroup {
        origins
        methods
        headers
        exposedHeaders
        allowsCredentials
        maximumAge
        SettingRule("`allow_credentials` needs a list of origins without `*`: browsers refuse the combination.") { values in
            let allowsAny = values[origins].isEmpty || values[origins].contains("*")
            return values[allowsCredentials] && allowsAny
                ? [.problem("allow_credentials", message: "needs a list of origins in `allowed_origins`: browsers refuse '*'")] : []
        }
        SettingRule("`*` beside other origins allows any origin.") { values in
            values[origins].count > 1 && values[origins].contains("*")
                ? [.warning("allowed_origins", message: "holds '*' beside others: any origin is allowed")] : []
        }
        SettingRule("Texts that are no origin, method or header name are left out, with a warning.") { values in
            let lists = [(origins, isHeaderText), (methods, isToken), (headers, isToken), (exposedHeaders, isToken)]
            return lists.flatMap { setting, fits in
                values[setting].filter { !fits($0) }.map { text in
                    .warning(setting.declaration.key, message: "'\(text)' has no effect: it cannot stand in a header")
                }
            }
        }
    }

    /// What is no legal header value or token can never match or be sent.
    @Sendable package static func isHeaderText(_ text: String) -> Bool { text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F } }
    @Sendable package static func isToken(_ text: String) -> Bool { HTTPFieldName.isToken(text) }
}
