import IIIProtocol

extension InvocationError {
    /// `TIMEOUT`: made locally, no answer came within the caller's limit.
    public static let timeoutCode = ErrorCode.timeout.rawValue
    /// `DISCONNECTED`: made locally, the link to the engine was down or broke during the call.
    public static let disconnectedCode = ErrorCode.disconnected.rawValue
}

/// What becomes of a call once it is sent (protocol.md §2.3).
public enum CallAction: Sendable, Hashable {
    /// Exactly one answer comes back.
    case synchronous
    /// Nothing comes back.
    case void
    /// The answer `{"messageReceiptId"}` means that the queue has accepted it.
    case enqueue(queue: String)
}

/// A kind of event that this worker provides.
public struct TriggerTypeDeclaration: Sendable {
    public var id: String
    public var description: String
    /// JSON Schema of a trigger's `config`.
    public var triggerRequestFormat: JSONValue?
    /// JSON Schema of the payload delivered to functions.
    public var callRequestFormat: JSONValue?

    public init(id: String, description: String, triggerRequestFormat: JSONValue? = nil, callRequestFormat: JSONValue? = nil) {
        self.id = id
        self.description = description
        self.triggerRequestFormat = triggerRequestFormat
        self.callRequestFormat = callRequestFormat
    }
}

/// A trigger of a type this worker provides, as the engine announced it.
public struct TriggerBinding: Sendable {
    public let id: String
    public let triggerType: String
    public let functionID: FunctionID
    public let config: JSONValue
    /// Raw JSON, to be delivered as the metadata sidecar of every fire.
    public let metadata: [UInt8]?
    public let namespace: String?

    public init(
        id: String, triggerType: String, functionID: FunctionID, config: JSONValue, metadata: [UInt8]? = nil, namespace: String? = nil
    ) {
        self.id = id
        self.triggerType = triggerType
        self.functionID = functionID
        self.config = config
        self.metadata = metadata
        self.namespace = namespace
    }
}
