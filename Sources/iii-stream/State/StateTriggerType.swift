import IIIItems
import IIIProtocol
import IIIWorker

/// The trigger type `state`: which changes a function is told, and what; docs/reference/state.md#triggers.
enum StateTriggerType {
    static let declaration = TriggerTypeDeclaration(
        id: "state", description: "A value of the state was created, updated or deleted",
        triggerRequestFormat: [
            "type": "object",
            "properties": [
                "scope": ["type": ["string", "null"], "description": "Only changes in this scope"],
                "key": ["type": ["string", "null"], "description": "Only changes of this key"],
                "condition_function_id": ["type": ["string", "null"], "description": "Asked first; false skips the call"],
            ],
        ],
        callRequestFormat: [
            "type": "object", "required": ["type", "event_type", "scope", "key", "old_value", "new_value"],
            "properties": [
                "type": ["const": "state"], "event_type": ["enum": ["state:created", "state:updated", "state:deleted"]],
                "scope": ["type": "string"], "key": ["type": "string"], "old_value": [:], "new_value": [:],
            ],
        ])

    /// What a trigger wants of the changes in its scope: those of one key, or all.
    struct Filter: Sendable {
        let scope: ItemName?
        let key: ItemName?

        /// Throws what is wrong with a trigger's config.
        init(_ config: JSONValue) throws(InvocationError) {
            guard config.object != nil || config.isNull else { throw Self.refusal("a map is expected") }
            scope = try Self.name("scope", config)
            key = try Self.name("key", config)
        }

        private static func name(_ member: String, _ config: JSONValue) throws(InvocationError) -> ItemName? {
            switch config[member] {
            case nil, .null: return nil
            case .string(let text): return ItemName(text)
            default: throw refusal("'\(member)' must be a string")
            }
        }

        private static func refusal(_ reason: String) -> InvocationError {
            InvocationError(.triggerRegistrationFailed, "Failed to parse trigger config: \(reason)")
        }
    }
}

/// What happened to a value.
struct StateEvent {
    enum Kind: String { case created = "state:created", updated = "state:updated", deleted = "state:deleted" }

    let kind: Kind
    let address: ItemAddress
    let old: [UInt8]?
    let new: [UInt8]?
    /// Its time was over.
    var isExpiry = false

    /// The payload for a function.
    var payload: [UInt8] {
        var text = JSONObjectText()
        text.set("type", "state")
        text.set("event_type", .string(kind.rawValue))
        text.set("scope", .string(address.group.name.text))
        text.set("key", .string(address.key.text))
        text.set("old_value", raw: old)
        text.set("new_value", raw: new)
        if isExpiry { text.set("reason", "expired") }
        return text.finish()
    }
}
