import IIIProtocol

/// Everything a worker has registered, in the order in which a reconnect must say it again
/// (docs/reference/worker-protocol.md#reconnecting): trigger types, functions, triggers. Pure: it only knows messages.
struct RegistrationLog {
    private var triggerTypes: [(id: String, message: [UInt8])] = []
    private var functions: [(id: String, message: [UInt8])] = []
    private var triggers: [(id: String, message: [UInt8])] = []

    /// The whole log as messages.
    var replay: [[UInt8]] { (triggerTypes + functions + triggers).map(\.message) }

    mutating func addTriggerType(_ type: TriggerTypeDeclaration) -> [UInt8] {
        var message = JSONObjectText()
        message.set("type", "registertriggertype")
        message.set("id", .string(type.id))
        message.set("description", .string(type.description))
        if let format = type.triggerRequestFormat { message.set("trigger_request_format", format) }
        if let format = type.callRequestFormat { message.set("call_request_format", format) }
        return Self.put(type.id, message.finish(), into: &triggerTypes)
    }

    mutating func addFunction(
        _ id: String, description: String?, requestFormat: JSONValue?, responseFormat: JSONValue?, metadata: JSONValue?
    ) -> [UInt8] {
        var message = JSONObjectText()
        message.set("type", "registerfunction")
        message.set("id", .string(id))
        if let description { message.set("description", .string(description)) }
        if let requestFormat { message.set("request_format", requestFormat) }
        if let responseFormat { message.set("response_format", responseFormat) }
        if let metadata { message.set("metadata", metadata) }
        return Self.put(id, message.finish(), into: &functions)
    }

    mutating func addTrigger(_ id: String, type: String, function: String, config: JSONValue, metadata: JSONValue?) -> [UInt8] {
        var message = JSONObjectText()
        message.set("type", "registertrigger")
        message.set("id", .string(id))
        message.set("trigger_type", .string(type))
        message.set("function_id", .string(function))
        message.set("config", config)
        if let metadata { message.set("metadata", metadata) }
        return Self.put(id, message.finish(), into: &triggers)
    }

    mutating func removeTriggerType(_ id: String) -> [UInt8]? { Self.remove(id, "unregistertriggertype", from: &triggerTypes) }
    mutating func removeFunction(_ id: String) -> [UInt8]? { Self.remove(id, "unregisterfunction", from: &functions) }
    mutating func removeTrigger(_ id: String) -> [UInt8]? { Self.remove(id, "unregistertrigger", from: &triggers) }

    var functionIDs: [String] { functions.map(\.id) }

    private static func put(_ id: String, _ message: [UInt8], into list: inout [(id: String, message: [UInt8])]) -> [UInt8] {
        if let index = list.firstIndex(where: { $0.id == id }) {
            list[index].message = message
        } else {
            list.append((id, message))
        }
        return message
    }

    /// The message that takes `id` back, or nil when it was not there.
    private static func remove(_ id: String, _ type: String, from list: inout [(id: String, message: [UInt8])]) -> [UInt8]? {
        guard let index = list.firstIndex(where: { $0.id == id }) else { return nil }
        list.remove(at: index)
        let message: JSONValue = ["type": .string(type), "id": .string(id)]
        return message.bytes
    }
}
