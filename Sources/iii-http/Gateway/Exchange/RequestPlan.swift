/// What the routing of a request decides about its exchange, in numbers: nothing of it changes any more.
struct RequestPlan: Equatable {
    enum Verdict: Equatable {
        /// Answered at once with an error.
        case refuse(GatewayError, closes: Bool)
        /// Answered at once by the gateway itself.
        case answer
        case invoke
        /// Its route has lost its worker, which may be restarting.
        case hold
    }

    var verdict = Verdict.answer
    /// The connection ends with this response whatever it is.
    var closes = false
    var isHead = false
    var isHTTP10 = false
    /// The body belongs to the payload and is collected first.
    var isJSON = false
    var rejectsInvalidJSON = false
    var hasBody = false
    var contentLength: Int?
    var expectsContinue = false
    /// Largest body in bytes that may come.
    var bodyLimit: Int?
    /// How much of a body that nobody wants is read over to keep the connection.
    var discardLimit = 0
    var globalMiddlewareCount = 0
    var routeMiddlewareCount = 0
    var hasCondition = false
    /// Handled by `not_found_function`: returning nothing means 404.
    var isUnmatched = false
    /// Whether `body_timeout_ms` and `write_stall_timeout_ms` are on.
    var limitsBodyTime = true
    var limitsStallTime = true
}
