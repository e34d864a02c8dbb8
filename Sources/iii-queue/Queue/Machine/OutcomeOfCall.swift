import IIIWorker

extension DeliveryOutcome {
    /// Errors that the engine answers for calls which it has not made: trying again is right, and no attempt was used up.
    private static let transient: Set<String> = Set(
        [ErrorCode.channelSendFailed, .workerOverloaded, .tooManyInFlight, .functionUnavailable].map(\.rawValue))

    /// What a call of `function` that ended like this means; nil when the engine was lost meanwhile. `timeout` in milliseconds.
    static func of(_ outcome: OutboundCalls.Outcome, function: String, timeout: Int) -> DeliveryOutcome? {
        switch outcome {
        case .completed(let bytes): return .succeeded(result: bytes.map { Array($0) })
        case .skipped: return .skipped
        case .failed(let error): return of(error, function, timeout)
        case .conditionFailed(let error):
            // A condition that is missing is an error of the subscription, not a function that may come.
            guard case .failed(_, let text, let stacktrace, let retryAfter, let isFinal)? = of(error, "", timeout) else {
                return of(error, "", timeout)
            }
            return .failed(
                code: "Condition function error", message: "\(error.code): \(text)", stacktrace: stacktrace, retryAfter: retryAfter,
                isFinal: isFinal)
        }
    }

    private static func of(_ error: InvocationError, _ function: String, _ timeout: Int) -> DeliveryOutcome? {
        switch error.code {
        case ErrorCode.disconnected.rawValue: return nil
        // The engine's own text: a handler may well report that some function it had called was not found.
        case ErrorCode.functionNotFound.rawValue where error.message == "Function \(function) not found": return .functionMissing
        case ErrorCode.invocationStopped.rawValue where error.details.reason == "connection_closed": return .workerEnded(isClean: true)
        case ErrorCode.invocationStopped.rawValue where error.details.reason == "connection_lost": return .workerEnded(isClean: false)
        case ErrorCode.timeout.rawValue: return .failed(code: "timeout", message: "no answer within \(timeout) ms")
        case let code where transient.contains(code): return .undelivered
        default:
            var (retryAfter, isFinal) = (error.details.retryAfter, error.details.isFinal || error.code == "no_retry")
            // What SDKs let through of a handler's error is its text.
            if error.message.hasPrefix("no_retry:") { isFinal = true }
            if error.message.hasPrefix("retry_after_ms:") {
                retryAfter = Int(error.message.dropFirst(15).drop { $0 == " " }.prefix { $0.isNumber }) ?? retryAfter
            }
            return .failed(
                code: error.code, message: error.message, stacktrace: error.stacktrace, retryAfter: retryAfter, isFinal: isFinal)
        }
    }
}
