import IIIProtocol

extension InvocationError {
    /// `TIMEOUT`: made locally, no answer came within the caller's limit.
    public static let timeoutCode = ErrorCode.timeout.rawValue
    /// `DISCONNECTED`: made locally, the link to the engine was down or broke during the call.
    public static let disconnectedCode = ErrorCode.disconnected.rawValue
}

/// What becomes of a call once it is sent (docs/reference/worker-protocol.md#void-and-enqueue).
public enum CallAction: Sendable, Hashable {
    /// Exactly one answer comes back.
    case synchronous
    /// Nothing comes back.
    case void
    /// The answer `{"messageReceiptId"}` means that the queue has accepted it.
    case enqueue(queue: String)
}
