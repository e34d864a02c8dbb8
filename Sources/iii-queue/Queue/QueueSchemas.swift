import IIIWorker

/// What listings show of the functions and the trigger type.
enum QueueSchemas {
    static let subscriber = TriggerTypeDeclaration(
        id: Queue.subscriberType, description: "Messages published to a durable topic",
        triggerRequestFormat: [
            "type": "object", "title": "QueueTriggerConfig", "required": ["topic"],
            "properties": [
                "topic": ["type": "string"], "condition_function_id": ["type": ["string", "null"]],
                "queue_config": ["type": ["object", "null"]],
            ],
        ])

    static func event(_ event: Queue.Event) -> TriggerTypeDeclaration {
        TriggerTypeDeclaration(
            id: event.rawValue, description: event.description,
            triggerRequestFormat: [
                "type": "object", "title": "QueueEventTriggerConfig",
                "properties": ["queue": ["type": ["string", "null"]], "condition_function_id": ["type": ["string", "null"]]],
            ])
    }

    static func object(_ title: String, _ members: [(String, JSONValue)], required: [String]) -> JSONValue {
        [
            "type": "object", "title": .string(title), "required": .array(required.map(JSONValue.string)),
            "properties": .object(Dictionary(members, uniquingKeysWith: { $1 })),
        ]
    }

    static let text: JSONValue = ["type": "string"]
    static let number: JSONValue = ["type": "integer"]
    static let anything: JSONValue = .object([:])

    static let publish = object("DurablePublishInput", [("topic", text), ("data", anything)], required: ["topic", "data"])
    static let enqueue = object(
        "EnqueueInput",
        [
            ("queue", text), ("function_id", text), ("data", anything), ("delay_ms", number), ("run_at", number), ("priority", number),
            ("dedupe_id", text), ("group", text), ("ttl_ms", number), ("metadata", anything),
        ], required: ["queue", "function_id", "data"])
    static let redrive = object("RedriveInput", [("queue", text), ("limit", number), ("filter", anything)], required: ["queue"])
    static let redriven = object("RedriveResult", [("queue", text), ("redriven", number)], required: ["queue", "redriven"])
    static let message = object("MessageInput", [("queue", text), ("message_id", text)], required: ["queue", "message_id"])
    static let messageRedriven = object(
        "MessageResult", [("queue", text), ("message_id", text), ("redriven", number)], required: ["queue", "message_id", "redriven"])
}
