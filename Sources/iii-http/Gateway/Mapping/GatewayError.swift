import IIIProtocol
import IIISettings

/// Every answer that the gateway itself gives instead of a handler (docs/reference/errors.md#http-answers).
package enum GatewayError: Error, Equatable, Sendable {
    case badRequest(String)
    case targetTooLong
    case headersTooLarge
    case requestTimeout
    case notFound
    case methodNotAllowed(RouteMethodSet)
    case payloadTooLarge
    case conditionNotMet
    /// The function cannot use what the request carries, and says what of it.
    case invalidArguments(String)
    /// The client stopped sending its body.
    case bodyTimeout
    /// Handler, condition or middleware failed; code and message are the function's own unless the configuration hides them.
    case functionFailed(code: String, message: String, errorID: String, status: Int = 500)
    /// The handler answered with something that cannot be sent.
    case invalidResponse(errorID: String)
    case deadlineExceeded
    /// The handler returned nothing and its response channel broke before the first byte.
    case streamLost
    /// The concurrency limit and its queue are full.
    case overloaded
    /// `max_buffered_bytes` is reached.
    case buffersFull
    /// The route's worker is gone and was not back in time; it may be restarting.
    case workerRestarting
    /// The link to the core is down.
    case coreUnavailable

    package var status: Int {
        switch self {
        case .badRequest, .invalidArguments: 400
        case .notFound: 404
        case .methodNotAllowed: 405
        case .requestTimeout, .bodyTimeout: 408
        case .payloadTooLarge: 413
        case .targetTooLong: 414
        case .conditionNotMet: 422
        case .headersTooLarge: 431
        case .functionFailed(_, _, _, let status): status
        case .invalidResponse: 500
        case .streamLost: 502
        case .overloaded, .buffersFull, .workerRestarting, .coreUnavailable: 503
        case .deadlineExceeded: 504
        }
    }

    /// Whether the client should come back: sent as `retry-after: 1`.
    package var isRetryable: Bool { status == 503 }

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
        case .functionFailed(_, _, let errorID, _), .invalidResponse(let errorID): errorID
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
        case .invalidArguments(let message): message
        case .bodyTimeout: "Request body timeout"
        case .functionFailed(_, let message, _, _): message
        case .invalidResponse: Self.internalMessage
        case .deadlineExceeded: "Request deadline exceeded"
        case .streamLost: "The response stream was lost"
        case .overloaded: "Too many concurrent requests"
        case .buffersFull: "Too much data in flight"
        case .workerRestarting: "The worker of this route is away"
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
        case .invalidArguments: ErrorCode.invalidArguments.rawValue
        case .bodyTimeout: "BODY_TIMEOUT"
        case .functionFailed(let code, _, _, _): code
        case .invalidResponse: Self.internalCode
        case .deadlineExceeded: "DEADLINE_EXCEEDED"
        case .streamLost: "STREAM_LOST"
        case .overloaded: "OVERLOADED"
        case .buffersFull: "BUFFERS_FULL"
        case .workerRestarting: "WORKER_RESTARTING"
        case .coreUnavailable: "ENGINE_UNAVAILABLE"
        }
    }

    private static let internalMessage = "internal server error"
    private static let internalCode = "INTERNAL_ERROR"

    /// What a function says against the request that it was given: the client's fault, and for the client to mend.
    static func refusedArguments(_ error: InvocationError, _ configuration: HTTPConfiguration) -> GatewayError {
        .invalidArguments(configuration.hidesErrorMessages ? "Bad Request" : error.message)
    }

    /// The failure of a function as the configuration wants clients to see it (docs/reference/http.md#errors).
    static func failure(_ error: InvocationError, errorID: String, _ configuration: HTTPConfiguration) -> GatewayError {
        var status = 500
        if configuration.mapsErrorStatus {
            switch ErrorCode(rawValue: error.code) {
            case .functionNotFound, .invocationStopped, .channelSendFailed, .tooManyInFlight: status = 503
            case .timeout: status = 504
            default: break
            }
        }
        let isHidden = configuration.hidesErrorMessages
        return .functionFailed(
            code: isHidden ? internalCode : error.code, message: isHidden ? internalMessage : error.message, errorID: errorID,
            status: status)
    }
}
