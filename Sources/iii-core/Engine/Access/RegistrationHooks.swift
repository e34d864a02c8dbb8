import IIIProtocol

/// What registration hooks are asked, and what their answers change (docs/reference/access.md#registration-hooks). Pure.
///
/// An answer that is an object lets the registration through, with the members that it replaces; null keeps what was there.
/// Everything else denies it.
package enum RegistrationHooks {
    /// A function as it is about to be registered.
    package struct Function: Sendable, Equatable {
        package var id: String
        package var namespace = FunctionKey.defaultNamespace
        package var description: String?
        /// Raw JSON.
        package var metadata: [UInt8]?

        package init(id: String, namespace: String = FunctionKey.defaultNamespace, description: String? = nil, metadata: [UInt8]? = nil) {
            self.id = id
            self.namespace = namespace
            self.description = description
            self.metadata = metadata
        }

        package func input(context: JSONValue) -> [UInt8] {
            var input = JSONObjectText()
            input.set("function_id", .string(id))
            input.set("description", JSONValue(description))
            input.set("metadata", raw: metadata)
            input.setNamespace(namespace)
            input.set("context", context)
            return input.finish()
        }

        /// False: denied.
        package mutating func apply(_ answer: JSONValue?) -> Bool {
            guard let answer, answer.object != nil else { return false }
            id = answer["function_id"]?.string ?? id
            description = answer["description"]?.string ?? description
            if let replaced = answer["metadata"], !replaced.isNull { metadata = replaced.bytes }
            return true
        }
    }

    /// A trigger as it is about to be registered. Not checked yet: its ids are texts.
    package struct Trigger: Sendable, Equatable {
        package var id: String
        package var type: String
        package var functionID: String
        package var namespace = FunctionKey.defaultNamespace
        /// Raw JSON.
        package var config: [UInt8]
        package var metadata: [UInt8]?

        package init(
            id: String, type: String, functionID: String, namespace: String = FunctionKey.defaultNamespace,
            config: [UInt8] = Array("null".utf8), metadata: [UInt8]? = nil
        ) {
            self.id = id
            self.type = type
            self.functionID = functionID
            self.namespace = namespace
            self.config = config
            self.metadata = metadata
        }

        package func input(context: JSONValue) -> [UInt8] {
            var input = JSONObjectText()
            input.set("trigger_id", .string(id))
            input.set("trigger_type", .string(type))
            input.set("function_id", .string(functionID))
            input.set("config", raw: config)
            input.set("metadata", raw: metadata)
            input.setNamespace(namespace)
            input.set("context", context)
            return input.finish()
        }

        package mutating func apply(_ answer: JSONValue?) -> Bool {
            guard let answer, answer.object != nil else { return false }
            id = answer["trigger_id"]?.string ?? id
            type = answer["trigger_type"]?.string ?? type
            functionID = answer["function_id"]?.string ?? functionID
            if let replaced = answer["config"], !replaced.isNull { config = replaced.bytes }
            return true
        }
    }

    package struct TriggerType: Sendable, Equatable {
        package var id: String
        package var description: String

        package init(id: String, description: String) {
            self.id = id
            self.description = description
        }

        package func input(context: JSONValue) -> [UInt8] {
            let input: JSONValue = ["trigger_type_id": .string(id), "description": .string(description), "context": context]
            return input.bytes
        }

        package mutating func apply(_ answer: JSONValue?) -> Bool {
            guard let answer, answer.object != nil else { return false }
            id = answer["trigger_type_id"]?.string ?? id
            description = answer["description"]?.string ?? description
            return true
        }
    }
}

extension JSONObjectText {
    /// Left out where it is the default, which older releases do not know.
    fileprivate mutating func setNamespace(_ namespace: String) {
        if namespace != FunctionKey.defaultNamespace { set("namespace", .string(namespace)) }
    }
}
