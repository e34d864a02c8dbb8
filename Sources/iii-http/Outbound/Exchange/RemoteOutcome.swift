import IIIHTTPClient
import IIIProtocol

/// What a call's caller gets: JSON text, nothing, or an error (docs/reference/worker-protocol.md#http-functions).
package enum RemoteResult: Sendable, Equatable {
    case value([UInt8])
    case none
    case failure(InvocationError)

    /// Baseline 0.11.6: only 2xx is success. From 0.23 one thing is taken over: a 3xx whose body is JSON without `error` gives that
    /// value. A redirect proper has no such body and stays `http_error`; it is never followed.
    package init(_ outcome: TransferOutcome) {
        switch outcome {
        case .failed(let failure): self = .failure(Self.error(failure))
        case .response(let status, let reason, let body, _):
            switch status {
            case 200..<300: self = Self.success(body)
            default: self = Self.nonSuccess(status, reason, body)
            }
        }
    }

    private static func success(_ body: [UInt8]) -> RemoteResult {
        // White space is no value any more than nothing is.
        guard body.contains(where: { $0 != 0x20 && $0 != 0x09 && $0 != 0x0A && $0 != 0x0D }) else { return .none }
        do throws(JSONError) {
            try check(body)
            return .value(body)
        } catch {
            return .failure(InvocationError(.invalidResponse, "The response's body is not JSON: \(error)"))
        }
    }

    /// Where the text stops being JSON.
    private static func check(_ body: [UInt8]) throws(JSONError) {
        guard !body.withUnsafeBytes(JSONText.isValid) else { return }
        _ = try JSONValue(parsing: body)
    }

    private static func nonSuccess(_ status: Int, _ reason: String, _ body: [UInt8]) -> RemoteResult {
        let value = body.isEmpty ? nil : try? JSONValue(parsing: body)
        guard let error = value?["error"], !error.isNull else {
            if value != nil, (300..<400).contains(status) { return .value(body) }
            let phrase = reason.isEmpty ? StatusPhrase.standard(status) : reason
            return .failure(InvocationError(.httpError, "HTTP \(status)\(phrase.isEmpty ? "" : " \(phrase)")"))
        }
        return .failure(
            InvocationError(
                code: error["code"]?.string ?? ErrorCode.httpError.rawValue, message: error["message"]?.string ?? "HTTP request failed"))
    }

    private static func error(_ failure: TransferFailure) -> InvocationError {
        switch failure.stage {
        case .request: InvocationError(.httpRequestFailed, failure.message)
        case .response: InvocationError(.httpResponseFailed, failure.message)
        case .address: URLPolicy.privateAddress
        }
    }

    /// The result, or `payload_too_large` if it does not fit a message to the core of `maximum` bytes. Nil: no limit is known.
    package func fitting(_ maximum: Int?) -> RemoteResult {
        guard let maximum, size > maximum else { return self }
        return .failure(InvocationError(.payloadTooLarge, "The response has \(size) bytes; a message to the engine takes \(maximum)"))
    }

    private var size: Int {
        switch self {
        case .value(let bytes): bytes.count
        case .none: 0
        case .failure(let error): error.json.bytes.count
        }
    }
}

/// Reason phrases of RFC 9110 and registered extensions, for servers that send none.
enum StatusPhrase {
    static func standard(_ status: Int) -> String { phrases[status] ?? "" }

    private static let phrases: [Int: String] = [
        300: "Multiple Choices", 301: "Moved Permanently", 302: "Found", 303: "See Other", 304: "Not Modified", 305: "Use Proxy",
        307: "Temporary Redirect", 308: "Permanent Redirect", 400: "Bad Request", 401: "Unauthorized", 402: "Payment Required",
        403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 406: "Not Acceptable", 407: "Proxy Authentication Required",
        408: "Request Timeout", 409: "Conflict", 410: "Gone", 411: "Length Required", 412: "Precondition Failed",
        413: "Payload Too Large", 414: "URI Too Long", 415: "Unsupported Media Type", 416: "Range Not Satisfiable",
        417: "Expectation Failed", 418: "I'm a teapot", 421: "Misdirected Request", 422: "Unprocessable Entity", 423: "Locked",
        424: "Failed Dependency", 425: "Too Early", 426: "Upgrade Required", 428: "Precondition Required", 429: "Too Many Requests",
        431: "Request Header Fields Too Large", 451: "Unavailable For Legal Reasons", 500: "Internal Server Error",
        501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
        505: "HTTP Version Not Supported", 506: "Variant Also Negotiates", 507: "Insufficient Storage", 508: "Loop Detected",
        510: "Not Extended", 511: "Network Authentication Required",
    ]
}
