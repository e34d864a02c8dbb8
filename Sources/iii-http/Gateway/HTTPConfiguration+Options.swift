import IIIProtocol
import IIITLS
import NIOCore

// Keys beyond the listener's own: what requests become, and what the gateway offers to its operators.
extension HTTPConfiguration {
    /// Middleware, identity of requests, and the wording of results (http.md §3.3, §8, §20).
    mutating func readMapping(_ reader: inout HTTPConfigurationReader) throws(HTTPConfigurationError) {
        if let value = reader.take("middleware") { globalMiddleware = try Self.middleware(value) }
        isMiddlewareStrict = try reader.choice("middleware_mode", ["lenient", "strict"]) == "strict"
        trustsProxy = try reader.boolean("trust_proxy") ?? trustsProxy
        if let value = reader.takeNullable("request_id_header") { requestIDHeader = try Self.headerName(value, &reader) }
        ignoresTrailingSlash = try reader.boolean("ignore_trailing_slash") ?? ignoresTrailingSlash
        notFoundFunction = try reader.function("not_found_function")
        if let limit = try reader.integer("stream_body_limit", 0...(1 << 50)), limit > 0 { streamBodyLimit = limit }
        returnsPlainValues = try reader.boolean("plain_return_as_body") ?? returnsPlainValues
        mapsErrorStatus = try reader.boolean("error_status_mapping") ?? mapsErrorStatus
        hidesErrorMessages = try reader.boolean("hide_error_messages") ?? hidesErrorMessages
        extendsRequest = try reader.boolean("extended_request") ?? extendsRequest
    }

    mutating func readOperations(_ reader: inout HTTPConfigurationReader) throws(HTTPConfigurationError) {
        maximumRequestsPerConnection = try reader.integer("max_requests_per_connection", 0...Int(Int32.max)) ?? 0
        writeStallTimeout = try reader.milliseconds("write_stall_timeout_ms") ?? writeStallTimeout
        bodyTimeout = try reader.milliseconds("body_timeout_ms") ?? bodyTimeout
        if let value = reader.take("health_path_prefix") { healthPathPrefix = try Self.path(value, "health_path_prefix", &reader) }
        if let value = reader.take("openapi_path") {
            let path = try Self.path(value, "openapi_path", &reader)
            guard !path.isEmpty else { throw reader.wrong("openapi_path", "a path such as /openapi.json") }
            openAPIPath = path
        }
        if let choice = try reader.choice("access_log", AccessLogFormat.allCases.map(\.rawValue)) {
            accessLog = AccessLogFormat(rawValue: choice) ?? .off
        }
        accessLogSample = try reader.ratio("access_log_sample") ?? accessLogSample
        compresses = try reader.choice("compression", ["off", "gzip"]) == "gzip"
        compressionMinimumBytes = try reader.integer("compression_min_bytes", 0...Int(Int32.max)) ?? compressionMinimumBytes
        makesEntityTags = try reader.boolean("etag") ?? makesEntityTags
    }

    /// The files themselves are looked at when the listener is made ready.
    static func tls(_ value: JSONValue) throws(HTTPConfigurationError) -> TLSServerSettings {
        var reader = try HTTPConfigurationReader(value, path: "tls.")
        guard let certificate = try reader.string("cert_file") else { throw HTTPConfigurationError("tls.cert_file is missing") }
        guard let key = try reader.string("key_file") else { throw HTTPConfigurationError("tls.key_file is missing") }
        var settings = TLSServerSettings(certificateFile: certificate, privateKeyFile: key)
        if let version = reader.take("min_version") {
            // Unquoted in YAML it is a number.
            guard let known = TLSServerSettings.Version(rawValue: version.string ?? version.number.map { "\($0)" } ?? "") else {
                throw reader.wrong("min_version", "\"1.2\" or \"1.3\"")
            }
            settings.minimumVersion = known
        }
        settings.clientAuthorityFile = try reader.string("client_ca_file")
        settings.passwordVariable = try reader.string("key_password_env")
        try reader.finish()
        return settings
    }

    /// In the order of calling: ascending priority, equal ones as they stand in the list (§8.3).
    private static func middleware(_ value: JSONValue) throws(HTTPConfigurationError) -> [FunctionID] {
        guard let entries = value.array else { throw HTTPConfigurationError("middleware must be a list") }
        var steps: [(priority: Int, function: FunctionID)] = []
        for (index, entry) in entries.enumerated() {
            var reader = try HTTPConfigurationReader(entry, path: "middleware[\(index)].")
            guard let function = try reader.function("function_id") else {
                throw HTTPConfigurationError("middleware[\(index)].function_id is missing")
            }
            // The reference skips other phases in silence, which would switch a guard off.
            _ = try reader.choice("phase", ["preHandler"])
            let priority = try reader.integer("priority", Int(Int32.min)...Int(Int32.max)) ?? 0
            try reader.finish()
            steps.append((priority, function))
        }
        // `sort` is not documented to be stable.
        return steps.enumerated().sorted { ($0.element.priority, $0.offset) < ($1.element.priority, $1.offset) }.map(\.element.function)
    }

    /// nil for null and the empty text: no request ids.
    private static func headerName(_ value: JSONValue, _ reader: inout HTTPConfigurationReader) throws(HTTPConfigurationError) -> String? {
        if value.isNull || value == "" { return nil }
        guard var name = value.string?.lowercased(), name.withUTF8({ isFreeName(UnsafeRawBufferPointer($0)) }) else {
            throw reader.wrong("request_id_header", "a header name, or null for none")
        }
        return name
    }

    private static func isFreeName(_ name: UnsafeRawBufferPointer) -> Bool {
        ResponseHeaders.isToken(name) && !ResponseHeaders.belongsToFraming(name)
    }

    /// A path without slash at its end; empty for the root.
    private static func path(
        _ value: JSONValue, _ key: String, _ reader: inout HTTPConfigurationReader
    ) throws(HTTPConfigurationError) -> String {
        guard let text = value.string, text.isEmpty || text.hasPrefix("/"),
            text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: "?") && $0 != UInt8(ascii: "#") })
        else { throw reader.wrong(key, "a path that starts with a slash") }
        return text.hasSuffix("/") ? String(text.dropLast()) : text
    }
}
