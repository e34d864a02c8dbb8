import IIIProtocol
import IIIWorker

/// The trigger type `http` as it is announced to the core (docs/reference/http.md#routes).
enum HTTPTriggerType {
    static let declaration = TriggerTypeDeclaration(
        id: "http", description: "HTTP API trigger", triggerRequestFormat: triggerSchema, callRequestFormat: callSchema)

    private static let triggerSchema: JSONValue = [
        "type": "object",
        "properties": [
            "api_path": ["type": "string"],
            "http_method": ["enum": ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", nil], "default": "GET"],
            "condition_function_id": ["type": ["string", "null"]],
            "middleware_function_ids": ["type": "array", "items": ["type": "string"]],
        ],
        "required": ["api_path"],
    ]

    private static let texts: JSONValue = ["type": "object", "additionalProperties": ["type": "string"]]

    private static let callSchema: JSONValue = [
        "type": "object",
        "properties": [
            "query_params": texts, "path_params": texts, "headers": texts, "path": ["type": "string"], "method": ["type": "string"],
            "body": [:],
        ],
        "required": ["query_params", "path_params", "headers", "path", "method", "body"],
    ]
}
