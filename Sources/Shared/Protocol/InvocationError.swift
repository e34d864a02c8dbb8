/// The error body of a failed invocation (docs/reference/worker-protocol.md#messages): what a caller of any language receives.
public struct InvocationError: Error, Sendable, Equatable, CustomStringConvertible {
    /// Stable; those of the engine are in docs/reference/errors.md#wire-codes, handlers may have their own.
    public var code: String
    /// One sentence for people.
    public var message: String
    /// Of the handler that failed, where its SDK sends one.
    public var stacktrace: String?
    /// More about it, for programs (docs/reference/worker-protocol.md#calls).
    public var details = Details()

    /// Members beyond the baseline's; absent unless somebody has set them.
    public struct Details: Sendable, Equatable {
        /// Of `invocation_stopped`: whether the callee's connection was closed or broke.
        public var reason: String?
        /// Set by a handler: a queue is not to try again.
        public var isFinal = false
        /// Set by a handler: a queue is to try again after this pause, in milliseconds.
        public var retryAfter: Int?

        /// None of them.
        public init() {}
    }

    /// An error with a code of your own.
    public init(code: String, message: String, stacktrace: String? = nil) {
        self.code = code
        self.message = message
        self.stacktrace = stacktrace
    }

    /// An error with a code of the engine.
    public init(_ entry: ErrorCode, _ message: String) {
        self.init(code: entry.rawValue, message: message)
    }

    /// From a decoded error body; nil unless `code` and `message` are strings.
    public init?(json: JSONValue) {
        guard let code = json["code"]?.string, let message = json["message"]?.string else { return nil }
        self.init(code: code, message: message, stacktrace: json["stacktrace"]?.string)
        details.reason = json["reason"]?.string
        details.isFinal = json["no_retry"]?.bool ?? false
        details.retryAfter = json["retry_after_ms"]?.integer.flatMap { $0 >= 0 ? Int(exactly: $0) : nil }
    }

    /// As it stands in an `invocationresult`.
    public var json: JSONValue {
        var members: [String: JSONValue] = ["code": .string(code), "message": .string(message)]
        if let stacktrace { members["stacktrace"] = .string(stacktrace) }
        if let reason = details.reason { members["reason"] = .string(reason) }
        if details.isFinal { members["no_retry"] = true }
        if let retryAfter = details.retryAfter { members["retry_after_ms"] = JSONValue(retryAfter) }
        return .object(members)
    }

    public var description: String { "\(code): \(message)" }
}

/// How a call ended. The bytes are raw JSON and valid during the callback only; nil means the function returned nothing.
public enum CallOutcome {
    case result(UnsafeRawBufferPointer?)
    case failure(InvocationError)
}

/// The catalogue of error codes that the engine and this library put on the wire (docs/reference/errors.md#wire-codes).
public enum ErrorCode: String, Sendable, CaseIterable {
    /// No live worker serves the id.
    case functionNotFound = "function_not_found"
    /// The callee's connection ended during the call.
    case invocationStopped = "invocation_stopped"
    /// The callee's connection was closing while the call was sent.
    case channelSendFailed = "channel_send_failed"
    /// Ours: the function exists, but the built-in that executes it is away for longer than calls are held.
    case functionUnavailable = "function_unavailable"
    /// A built-in function could not read its input.
    case deserializationError = "deserialization_error"
    /// The queue provider refused or is missing.
    case enqueueError = "enqueue_error"
    /// The message is too large for the recipient's SDK.
    case payloadTooLarge = "payload_too_large"
    /// Ours: the frame named a caller and an id, but could not be decoded.
    case invalidMessage = "invalid_message"
    /// Ours: the caller has as many calls in flight as the listener allows (`max_in_flight`).
    case tooManyInFlight = "too_many_in_flight"
    /// Ours: so much waits for the worker that serves the function that one more message could cost it its connection. Try again.
    case workerOverloaded = "worker_overloaded"
    /// Ours: the worker owns as many channels as the listener allows (`max_channels_per_worker`).
    case tooManyChannels = "too_many_channels"
    case invocationFailed = "invocation_failed"
    // Topics and queues (docs/reference/pubsub.md).
    case topicNotSet = "topic_not_set"
    case topicRequired = "topic_required"
    case queueNotSet = "queue_not_set"
    case messageIDNotSet = "message_id_not_set"
    case publishFailed = "publish_failed"
    case redriveFailed = "redrive_failed"
    case redriveMessageFailed = "redrive_message_failed"
    case discardMessageFailed = "discard_message_failed"
    case deadLettersFailed = "dlq_messages_failed"
    case deadLetterCountsFailed = "dlq_topics_failed"
    case topicStatsFailed = "topic_stats_failed"
    /// A function of ours that looks after queues could not do it.
    case queueFailed = "queue_failed"
    case triggerRegistrationFailed = "trigger_registration_failed"
    case triggerTypeNotFound = "trigger_type_not_found"
    case invalidArguments = "INVALID_ARGUMENTS"
    case notFound = "NOT_FOUND"
    /// Ours: a run of this job is under way, and its `concurrency_policy` allows no second one.
    case jobRunning = "job_running"
    // HTTP-invoked functions (docs/reference/worker-protocol.md#http-functions).
    case urlValidationFailed = "url_validation_failed"
    case secretNotFound = "secret_not_found"
    case tokenNotFound = "token_not_found"
    case apiKeyNotFound = "api_key_not_found"
    /// No complete response head came.
    case httpRequestFailed = "http_request_failed"
    /// The response's body did not come whole, or is larger than allowed.
    case httpResponseFailed = "http_response_failed"
    /// The remote answered with an error of its own.
    case httpError = "http_error"
    /// A successful response whose body is not JSON.
    case invalidResponse = "invalid_response"
    case authError = "AUTH_ERROR"
    /// The access rules of the worker's listener do not allow it.
    case forbidden = "FORBIDDEN"
    case functionNamespaceConflict = "FUNCTION_NAMESPACE_CONFLICT"
    // State.
    /// The store could not do what was asked; the message has its reason.
    case setError = "SET_ERROR"
    case getError = "GET_ERROR"
    case deleteError = "DELETE_ERROR"
    case updateError = "UPDATE_ERROR"
    case listError = "LIST_ERROR"
    case listGroupsError = "LIST_GROUPS_ERROR"
    /// Ours: a value is larger than `max_value_bytes`.
    case valueTooLarge = "VALUE_TOO_LARGE"
    /// Ours: what is there is not what the call demanded; nothing was stored.
    case conflict = "CONFLICT"
    /// Ours: a name, a list of operations or a group is larger than it may be.
    case limitExceeded = "LIMIT_EXCEEDED"
    // Streams.
    case streamSetError = "STREAM_SET_ERROR"
    case streamGetError = "STREAM_GET_ERROR"
    case streamDeleteError = "STREAM_DELETE_ERROR"
    case streamUpdateError = "STREAM_UPDATE_ERROR"
    case streamGetGroupError = "STREAM_GET_GROUP_ERROR"
    case streamListGroupsError = "STREAM_LIST_GROUPS_ERROR"
    case streamListAllError = "STREAM_LIST_ALL_ERROR"
    case streamSendError = "STREAM_SEND_ERROR"
    /// A stream provider's result has not the shape it should have.
    case jsonError = "JSON_ERROR"
    /// Traces are not kept here.
    case memoryExporterNotEnabled = "memory_exporter_not_enabled"
    /// Client side only: no answer within the deadline.
    case timeout = "TIMEOUT"
    /// Client side only: the link to the engine is down or broke during the call.
    case disconnected = "DISCONNECTED"
}
