import IIIItems
import IIIProtocol
import IIIWorker

/// The trigger types of streams; docs/reference/streams.md#triggers.
enum StreamTriggerTypes {
    static let stream = TriggerTypeDeclaration(
        id: "stream", description: "An item of a stream was created, updated or deleted, or something was sent",
        triggerRequestFormat: [
            "type": "object", "required": ["stream_name"],
            "properties": [
                "stream_name": ["type": "string"], "group_id": ["type": ["string", "null"]], "item_id": ["type": ["string", "null"]],
                "condition_function_id": ["type": ["string", "null"]],
            ],
        ])
    static let join = TriggerTypeDeclaration(
        id: "stream:join", description: "A client wants to join a group or item", triggerRequestFormat: clientFormat)
    static let leave = TriggerTypeDeclaration(
        id: "stream:leave", description: "A client has left a group or item", triggerRequestFormat: clientFormat)

    private static let clientFormat: JSONValue = [
        "type": "object",
        "properties": ["stream_name": ["type": ["string", "null"]], "condition_function_id": ["type": ["string", "null"]]],
    ]

    /// What a `stream` trigger wants of its stream.
    struct Filter: Sendable {
        let stream: ItemName
        let group: ItemName?
        let item: ItemName?

        init(_ config: JSONValue) throws(InvocationError) {
            guard config.object != nil else { throw StreamTriggerTypes.refusal("a map is expected") }
            guard let stream = try StreamTriggerTypes.name("stream_name", config) else {
                throw InvocationError(.triggerRegistrationFailed, "stream trigger requires stream_name")
            }
            self.stream = stream
            group = try StreamTriggerTypes.name("group_id", config)
            item = try StreamTriggerTypes.name("item_id", config)
        }

        func fits(_ group: ItemName, _ id: ItemName?) -> Bool {
            (self.group == nil || self.group == group) && (item == nil || item == id)
        }
    }

    /// Absent, null and empty mean any.
    static func name(_ member: String, _ config: JSONValue) throws(InvocationError) -> ItemName? {
        switch config[member] {
        case nil, .null: return nil
        case .string(let text): return text.isEmpty ? nil : ItemName(text)
        default: throw refusal("'\(member)' must be a string")
        }
    }

    static func refusal(_ reason: String) -> InvocationError {
        InvocationError(.triggerRegistrationFailed, "Failed to deserialize stream trigger: \(reason)")
    }
}
