import IIIProtocol

/// What an auth function granted one connection (docs/reference/access.md#the-auth-function).
package struct AccessGrant: Sendable, Equatable {
    package var allowed = FunctionNames()
    package var forbidden = FunctionNames()
    /// Grants within one namespace each; if there are any, the connection may declare one of these namespaces only.
    package var namespaces: [String: FunctionNames] = [:]
    /// nil: every one.
    package var triggerTypes: Set<String>?
    package var mayRegisterTriggerTypes = true
    package var mayRegisterFunctions = true
    /// The ids of functions it registers begin with this and `::`.
    package var prefix: String?
    /// Handed to hooks and middleware.
    package var context: JSONValue = [:]

    /// Without an auth function.
    package init() {}

    /// From an auth function's result. Absent and null members have their defaults; anything that is not what it should be throws
    /// `AUTH_ERROR` with the member's name: a misunderstood grant must not be a wide one.
    package init(result: JSONValue?) throws(InvocationError) {
        guard let result, !result.isNull else { throw InvocationError(.authError, "auth function returned no result") }
        guard result.object != nil else { throw InvocationError(.authError, "the auth function's result is not an object") }
        func member<Value>(_ key: String, _ expected: String, _ read: (JSONValue) -> Value?) throws(InvocationError) -> Value? {
            guard let value = result[key], !value.isNull else { return nil }
            guard let found = read(value) else {
                throw InvocationError(.authError, "the auth function's result has a '\(key)' that is not \(expected)")
            }
            return found
        }
        func texts(_ value: JSONValue) -> [String]? {
            let texts = value.array?.compactMap(\.string)
            return texts?.count == value.array?.count ? texts : nil
        }
        allowed = FunctionNames(try member("allowed_functions", "a list of texts", texts) ?? [])
        forbidden = FunctionNames(try member("forbidden_functions", "a list of texts", texts) ?? [])
        triggerTypes = try member("allowed_trigger_types", "a list of texts", texts).map { Set($0) }
        mayRegisterTriggerTypes = try member("allow_trigger_type_registration", "true or false", \.bool) ?? false
        mayRegisterFunctions = try member("allow_function_registration", "true or false", \.bool) ?? true
        prefix = try member("function_registration_prefix", "a text with something in it") { value in
            value.string.flatMap { $0.isEmpty ? nil : $0 }
        }
        context = try member("context", "") { $0 } ?? [:]
        namespaces =
            try member("namespaces", "a map of lists of texts") { value in
                let lists = value.object?.compactMapValues(texts)
                return lists?.count == value.object?.count ? lists?.mapValues { FunctionNames($0, bareWildcards: true) } : nil
            } ?? [:]
    }
}
