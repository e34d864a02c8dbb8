import IIIProtocol

/// What a handler that runs as a task gets of its call.
public struct IncomingPayload: Sendable {
    /// The payload's JSON text.
    public let bytes: [UInt8]
    /// W3C trace context of the engine's call, if any.
    public let traceparent: String?
    /// W3C `baggage` of the call, if any.
    public let baggage: String?
    /// The metadata sidecar as raw JSON, if any.
    public let metadata: [UInt8]?

    init(_ call: IncomingCall) {
        bytes = call.payload
        traceparent = call.traceparent
        baggage = call.baggage
        metadata = call.metadata
    }

    /// The decoded payload. Decoded on every use: keep it.
    public var json: JSONValue { (try? JSONValue(parsing: bytes)) ?? .null }
}

extension InvocationError {
    /// The error a caller gets for what a handler threw: an `InvocationError` as it is, anything else as `invocation_failed`.
    public init(thrown error: any Error) {
        self = error as? InvocationError ?? InvocationError(.invocationFailed, "\(error)")
    }
}
