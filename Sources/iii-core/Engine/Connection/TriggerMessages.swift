import IIIProtocol

/// The messages that tell a provider of a trigger (docs/reference/worker-protocol.md#messages).
enum TriggerMessages {
    static func register(_ trigger: TriggerRecord) -> [UInt8] {
        var object = JSONObjectText()
        object.set("type", "registertrigger")
        object.set("id", .string(trigger.id))
        object.set("trigger_type", .string(trigger.type))
        object.set("function_id", .string(trigger.functionID.text))
        object.set("config", raw: trigger.config)
        if let metadata = trigger.metadata { object.set("metadata", raw: metadata) }
        if trigger.namespace != FunctionKey.defaultNamespace { object.set("namespace", .string(trigger.namespace)) }
        return object.finish()
    }

    /// `reason` is ours (additive): durable providers keep a binding whose registrant has only lost its connection.
    static func unregister(_ trigger: TriggerRecord, _ reason: UnregistrationReason) -> [UInt8] {
        let message: JSONValue = [
            "type": "unregistertrigger", "id": .string(trigger.id), "trigger_type": .string(trigger.type),
            "reason": .string(reason.rawValue),
        ]
        return message.bytes
    }
}
