import IIIProtocol
import IIITelemetry

/// What a handler that runs as a task gets of its call.
public struct IncomingPayload: Sendable {
    /// The payload's JSON text.
    public let bytes: [UInt8]
    /// The trace this call belongs to; also `TraceContext.current` while the handler runs.
    public let trace: TraceContext
    /// The metadata sidecar as raw JSON, if any.
    public let metadata: [UInt8]?

    init(_ call: IncomingCall) {
        bytes = call.payload
        trace = call.trace
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
