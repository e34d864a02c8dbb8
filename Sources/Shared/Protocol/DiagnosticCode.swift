/// The stable name of a WARN or ERROR line, written as its field `code`.
///
/// Messages may be reworded; a code never changes its meaning, so alerts and searches may rely on it. Each has its row in
/// docs/reference/errors.md (cause, whose fault, cure); a test holds the two together.
public enum DiagnosticCode: String, Sendable, CaseIterable {
    // Starting and configuration.
    case startFailed = "start_failed"
    case configurationInvalid = "configuration_invalid"
    case configurationSuspicious = "configuration_suspicious"
    case listensPublicly = "listens_publicly"
    case acceptFailed = "accept_failed"
    case descriptorLimitLow = "descriptor_limit_low"
    case descriptorsExhausted = "descriptors_exhausted"
    case connectionLimitReached = "connection_limit_reached"
    case originRefused = "origin_refused"
    case certificateUnusable = "certificate_unusable"
    case certificateSuspicious = "certificate_suspicious"

    // Registrations.
    case functionMoved = "function_moved"
    case registrationRefused = "registration_refused"
    case httpFunctionRefused = "http_function_refused"
    case httpFunctionsMissing = "http_functions_missing"
    case triggerParked = "trigger_parked"
    case triggerRefused = "trigger_refused"
    case functionMissing = "function_missing"
    case routeUnreachable = "route_unreachable"
    case methodUnsupported = "method_unsupported"

    // Connections.
    case engineUnreachable = "engine_unreachable"
    case engineError = "engine_error"
    case messageUndecodable = "message_undecodable"
    case messageTooLarge = "message_too_large"
    case slowWorkerDropped = "slow_worker_dropped"
    case silentWorkerDropped = "silent_worker_dropped"

    // HTTP.
    case functionFailed = "function_failed"
    case responseInvalid = "response_invalid"
    case middlewareUnclear = "middleware_unclear"
    case streamsUnavailable = "streams_unavailable"
    case openAPIStale = "openapi_stale"

    // The fleet.
    case childFailed = "child_failed"
    case childUnresponsive = "child_unresponsive"
    case reloadRefused = "reload_refused"
    case supervision = "supervision"
}
