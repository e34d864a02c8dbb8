import IIIProtocol

/// Every answer that the gateway itself gives instead of a handler (http.md §11).
package enum GatewayError: Error, Equatable, Sendable {
    case badRequest(String)
    case targetTooLong
    case headersTooLarge
    case requestTimeout
    case notFound
    case methodNotAllowed(RouteMethodSet)
    case payloadTooLarge
    case conditionNotMet
    /// Handler, condition or middleware failed; code and message are the function's own.
    case functionFailed(code: String, message: String, errorID: String)
    /// The handler answered with something that cannot be sent.
    case invalidResponse(errorID: String)
    case deadlineExceeded
    /// The handler returned nothing and its response channel broke before the first byte.
    case streamLost
    /// The concurrency limit and its queue are full.
    case overloaded
    /// The link to the core is down.
    case coreUnavailable

    package var status: Int {
        switch self {
        case .badRequest: 400
        case .notFound: 404
        case .methodNotAllowed: 405
        case .requestTimeout: 408
        case .payloadTooLarge: 413
        case .targetTooLong: 414
        case .conditionNotMet: 422
        case .headersTooLarge: 431
        case .functionFailed, .invalidResponse: 500
        case .streamLost: 502
        case .overloaded, .coreUnavailable: 503
        case .deadlineExceeded: 504
        }
    }

    /// Whether the client should come back: sent as `retry-after: 1`.
    package var isRetryable: Bool { self == .overloaded || self == .coreUnavailable }

    /// The JSON body in the configured form; empty where clients of the baseline expect none.
    package func body(_ format: ErrorFormat) -> [UInt8] {
        switch (self, format) {
        case (.deadlineExceeded, _): return []
        case (.notFound, .flat), (.methodNotAllowed, .flat): return []
        case (.conditionNotMet, .flat): return JSONValue.object(["error": .string(message), "skipped": true]).bytes
        case (_, .flat):
            var members: [String: JSONValue] = ["error": .string(message)]
            if let errorID { members["error_id"] = .string(errorID) }
            return JSONValue.object(members).bytes
        case (_, .envelope):
            var error: [String: JSONValue] = ["code": .string(code), "message": .string(message)]
            if let errorID { error["error_id"] = .string(errorID) }
            var members: [String: JSONValue] = ["error": .object(error)]
            if self == .conditionNotMet { members["skipped"] = true }
            return JSONValue.object(members).bytes
        }
    }

    private var errorID: String? {
        switch self {
        case .functionFailed(_, _, let errorID), .invalidResponse(let errorID): errorID
        default: nil
        }
    }

    package var message: String {
        switch self {
        case .badRequest(let reason): "Bad Request: \(reason)"
        case .targetTooLong: "URI Too Long"
        case .headersTooLarge: "Request header fields too large"
        case .requestTimeout: "Request Timeout"
        case .notFound: "Not Found"
        case .methodNotAllowed: "Method Not Allowed"
        case .payloadTooLarge: "Request body too large"
        case .conditionNotMet: "Request condition not met"
        case .functionFailed(_, let message, _): message
        case .invalidResponse: "internal server error"
        case .deadlineExceeded: "Request deadline exceeded"
        case .streamLost: "The response stream was lost"
        case .overloaded: "Too many concurrent requests"
        case .coreUnavailable: "Engine unavailable"
        }
    }

    private var code: String {
        switch self {
        case .badRequest: "BAD_REQUEST"
        case .targetTooLong: "URI_TOO_LONG"
        case .headersTooLarge: "HEADERS_TOO_LARGE"
        case .requestTimeout: "REQUEST_TIMEOUT"
        case .notFound: "NOT_FOUND"
        case .methodNotAllowed: "METHOD_NOT_ALLOWED"
        case .payloadTooLarge: "PAYLOAD_TOO_LARGE"
        case .conditionNotMet: "CONDITION_NOT_MET"
        case .functionFailed(let code, _, _): code
        case .invalidResponse: "INTERNAL_ERROR"
        case .deadlineExceeded: "DEADLINE_EXCEEDED"
        case .streamLost: "STREAM_LOST"
        case .overloaded: "OVERLOADED"
        case .coreUnavailable: "ENGINE_UNAVAILABLE"
        }
    }
}
