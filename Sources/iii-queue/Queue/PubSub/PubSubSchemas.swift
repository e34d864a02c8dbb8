import IIIWorker

/// What listings show of the function and the trigger type.
enum PubSubSchemas {
    static let publish: JSONValue = [
        "type": "object", "title": "PubSubInput", "required": ["topic", "data"],
        "properties": ["topic": ["type": "string"], "data": ["description": "Any JSON value; may be null."]],
    ]

    static let subscribe = TriggerTypeDeclaration(
        id: "subscribe", description: "Messages published to a topic",
        triggerRequestFormat: [
            "type": "object", "title": "SubscribeTriggerConfig", "required": ["topic"],
            "properties": ["topic": ["type": "string"], "condition_function_id": ["type": ["string", "null"]]],
        ])
}
