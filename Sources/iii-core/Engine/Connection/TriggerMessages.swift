import IIIProtocol

/// The messages that tell a provider of a trigger (docs/reference/worker-protocol.md#messages).
enum TriggerMessages {
    /// `type`: what the provider calls it.
    static func register(_ trigger: TriggerRecord, type: String) -> [UInt8] {
        var object = JSONObjectText()
        object.set("type", "registertrigger")
        object.set("id", .string(trigger.id))
        object.set("trigger_type", .string(type))
        object.set("function_id", .string(trigger.functionID.text))
        object.set("config", raw: trigger.config)
        if let metadata = trigger.metadata { object.set("metadata", raw: metadata) }
        if trigger.namespace != FunctionKey.defaultNamespace { object.set("namespace", .string(trigger.namespace)) }
        return object.finish()
    }

    /// `reason` is ours (additive): durable providers keep a binding whose registrant has only lost its connection.
    static func unregister(_ trigger: TriggerRecord, type: String, _ reason: UnregistrationReason) -> [UInt8] {
        let message: JSONValue = [
            "type": "unregistertrigger", "id": .string(trigger.id), "trigger_type": .string(type),
            "reason": .string(reason.rawValue),
        ]
        return message.bytes
    }
}
