import IIIProtocol
import NIOCore

/// The remote end of an HTTP-invoked function: its checked `invocation` with the secrets read
/// (docs/reference/worker-protocol.md#http-functions).
///
/// Made once at registration; every mistake is refused there with a reason that names the field.
package struct RemoteEndpoint: Sendable {
    package let functionID: String
    /// As registered; the policy is asked again before every call.
    package let url: String
    package let method: String
    /// Total time of a call, name resolution and body included. Default 30 s.
    package let timeout: TimeAmount
    /// Configured headers in the order of their names.
    package let headers: [(name: String, value: String)]
    package let authentication: Authentication?

    package enum Authentication: Sendable, Equatable {
        case hmac(secret: [UInt8])
        case bearer(token: String)
        case apiKey(header: String, value: String)
    }

    package static let methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    package static let defaultTimeout = TimeAmount.seconds(30)

    /// Headers that belong to the connection, not to whoever configures a request.
    private static let reservedHeaders: Set<String> = [
        "host", "content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection", "proxy-authorization", "te",
        "trailer", "upgrade", "expect",
    ]

    /// `environment` reads a variable of this process, which has the engine's environment. Throws `INVALID_ARGUMENTS`, or
    /// `secret_not_found`, `token_not_found`, `api_key_not_found`.
    package init(functionID: String, invocation: JSONValue, environment: (String) -> String?) throws(InvocationError) {
        guard let members = invocation.object else { throw Self.wrong("invocation", "an object") }
        guard Self.isHeaderValue(functionID) else {
            throw InvocationError(
                .invalidArguments, "the function id cannot be sent as a header: it holds a line break or control character")
        }
        self.functionID = functionID
        guard let url = members["url"]?.string else { throw Self.wrong("invocation.url", "a text") }
        self.url = url
        switch members["method"] ?? .null {
        case .null: method = "POST"
        case .string(let name) where Self.methods.contains(name): method = name
        default: throw Self.wrong("invocation.method", "one of \(Self.methods.joined(separator: ", "))")
        }
        switch members["timeout_ms"] ?? .null {
        case .null: timeout = Self.defaultTimeout
        case .integer(let milliseconds) where (1...Int64(Int32.max)).contains(milliseconds): timeout = .milliseconds(milliseconds)
        default: throw Self.wrong("invocation.timeout_ms", "an integer from 1 to \(Int32.max)")
        }
        headers = try Self.headers(members["headers"] ?? .null)
        authentication = try Self.authentication(members["auth"] ?? .null, environment)
    }

    private static func headers(_ value: JSONValue) throws(InvocationError) -> [(name: String, value: String)] {
        guard !value.isNull else { return [] }
        guard let members = value.object else { throw wrong("invocation.headers", "an object of texts") }
        var headers: [(name: String, value: String)] = []
        for (name, value) in members.sorted(by: { $0.key < $1.key }) {
            guard let text = value.string, isHeaderValue(text) else {
                throw wrong("invocation.headers.\(name)", "a text without line breaks and control characters")
            }
            try check(headerName: name, "invocation.headers")
            guard !headers.contains(where: { $0.name.lowercased() == name.lowercased() }) else {
                throw wrong("invocation.headers", "free of names that differ in case only (\(name))")
            }
            headers.append((name, text))
        }
        return headers
    }

    private static func authentication(
        _ value: JSONValue, _ environment: (String) -> String?
    ) throws(InvocationError) -> Authentication? {
        guard !value.isNull else { return nil }
        func secret(_ key: String, _ code: ErrorCode, _ what: String) throws(InvocationError) -> String {
            guard let name = value[key]?.string else { throw wrong("invocation.auth.\(key)", "the name of an environment variable") }
            guard let text = environment(name), !text.isEmpty else { throw InvocationError(code, "\(what) not found: \(name)") }
            guard isHeaderValue(text) || key == "secret_key" else {
                throw InvocationError(code, "\(what) cannot be sent as a header (line break or control character): \(name)")
            }
            return text
        }
        switch value["type"]?.string {
        case "hmac": return .hmac(secret: Array(try secret("secret_key", .secretNotFound, "Secret").utf8))
        case "bearer": return .bearer(token: try secret("token_key", .tokenNotFound, "Token"))
        case "api_key":
            guard let header = value["header"]?.string else { throw wrong("invocation.auth.header", "a header name") }
            try check(headerName: header, "invocation.auth.header")
            return .apiKey(header: header, value: try secret("value_key", .apiKeyNotFound, "API key"))
        default: throw wrong("invocation.auth.type", "hmac, bearer or api_key")
        }
    }

    private static func check(headerName name: String, _ field: String) throws(InvocationError) {
        guard HTTPFieldName.isToken(name) else { throw wrong(field, "a header name, not '\(name.prefix(64))'") }
        guard !reservedHeaders.contains(name.lowercased()) else {
            throw wrong(field, "free of '\(name)', which the connection sets itself")
        }
    }

    /// Anything printable; nothing that could end the line.
    package static func isHeaderValue(_ text: String) -> Bool { text.utf8.allSatisfy { ($0 >= 0x20 && $0 != 0x7F) || $0 == 0x09 } }

    private static func wrong(_ field: String, _ expected: String) -> InvocationError {
        InvocationError(.invalidArguments, "\(field) must be \(expected)")
    }
}
