import IIIProtocol

/// A kind of event that this worker provides.
public struct TriggerTypeDeclaration: Sendable {
    /// The trigger type, as triggers name it.
    public var id: String
    /// One sentence for listings.
    public var description: String
    /// JSON Schema of a trigger's `config`.
    public var triggerRequestFormat: JSONValue?
    /// JSON Schema of the payload delivered to functions.
    public var callRequestFormat: JSONValue?

    /// The formats are JSON Schemas: of a trigger's `config`, and of what a fired function gets.
    public init(id: String, description: String, triggerRequestFormat: JSONValue? = nil, callRequestFormat: JSONValue? = nil) {
        self.id = id
        self.description = description
        self.triggerRequestFormat = triggerRequestFormat
        self.callRequestFormat = callRequestFormat
    }
}

/// A trigger of a type this worker provides, as the engine announced it. Equal bindings are the same registration said twice.
public struct TriggerBinding: Sendable, Hashable {
    /// As its registrant gave it, or the engine made it.
    public let id: String
    /// The trigger type it is of.
    public let triggerType: String
    /// What it calls.
    public let target: TriggerTarget
    /// As its registrant gave it; `null` where there was none.
    public let config: JSONValue

    /// One that did not come from the engine: restored from a store, or made by a test.
    public init(id: String, triggerType: String, target: TriggerTarget, config: JSONValue) {
        self.id = id
        self.triggerType = triggerType
        self.target = target
        self.config = config
    }
}

/// Why a binding ends.
public enum UnregistrationReason: Sendable, Hashable {
    /// Its owner took it back.
    case unregistered
    /// Its owner's connection ended; the owner may come back and register it again.
    case disconnected
    /// The link was down, and the engine did not name the trigger again afterwards: either of the above happened meanwhile.
    case notReplayed

    /// From the `reason` of an `unregistertrigger` message. Engines that name none unregister.
    init(wire: String?) { self = wire == "disconnected" ? .disconnected : .unregistered }
}
