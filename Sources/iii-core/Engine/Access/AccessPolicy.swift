import IIIProtocol

/// What one connection may call, see, bind and register: the rules of its listener and what its auth function granted. Every place
/// that decides about access asks this type (docs/reference/access.md). Pure.
package struct AccessPolicy: Sendable, Equatable {
    package let rules: AccessRules
    package let grant: AccessGrant

    package init(rules: AccessRules, grant: AccessGrant = AccessGrant()) {
        self.rules = rules
        self.grant = grant
    }

    /// Why a function may not be called.
    package enum Denial: Sendable, Equatable {
        case forbidden
        case notExposed

        package func error(for key: FunctionKey) -> InvocationError {
            let cure =
                switch self {
                case .forbidden: "remove from rbac.forbidden_functions"
                case .notExposed: "add to rbac.expose_functions"
                }
            let place = key.namespace == FunctionKey.defaultNamespace ? "" : " in namespace '\(key.namespace)'"
            return InvocationError(.forbidden, "function '\(key.id)' not allowed\(place) (\(cure))")
        }
    }

    /// What SDKs call on their own: without these no worker could work.
    package static let infrastructure: Set<String> = [
        "engine::channels::create", "engine::workers::register", "engine::log::info", "engine::log::warn", "engine::log::error",
        "engine::log::debug", "engine::log::trace", "engine::baggage::get", "engine::baggage::set", "engine::baggage::get_all",
    ]

    package var isRestricted: Bool { rules.restrictions != nil }

    // MARK: Calling, seeing, binding

    /// Why this function may not be called, nor listed, nor be what a trigger calls; nil when it may.
    package func denial(of key: FunctionKey, metadata: () -> JSONValue?) -> Denial? {
        if grant.forbidden.contains(key.id) { return .forbidden }
        let isDefault = key.namespace == FunctionKey.defaultNamespace
        if isDefault, grant.allowed.contains(key.id) || Self.infrastructure.contains(key.id) { return nil }
        if grant.namespaces[key.namespace]?.contains(key.id) == true { return nil }
        guard let restrictions = rules.restrictions else { return nil }
        return restrictions.exposed.contains { $0.admits(key, metadata: metadata) } ? nil : .notExposed
    }

    /// Whether its calls of `id` go to the middleware instead.
    package func isDiverted(_ id: String) -> Bool { rules.middleware != nil && !id.hasPrefix("engine::") }

    package func mayUseTriggerType(_ id: String) -> Bool { grant.triggerTypes?.contains(id) ?? true }

    // MARK: Registering

    /// The id under which a function that its worker calls `id` is registered and bound.
    package func prefixed(_ id: String) -> String { grant.prefix.map { "\($0)::\(id)" } ?? id }

    /// Why it may not register this function id (the prefix is in it); nil when it may.
    package func objection(toFunction id: String, isRemote: Bool, authenticates: Bool) -> String? {
        guard grant.mayRegisterFunctions else { return "this connection may not register functions" }
        guard isRestricted else { return nil }
        if id.hasPrefix("engine::") || id.hasPrefix("iii::") { return "ids of the engine are not for connections with access rules" }
        // `auth` names environment variables of the engine, and where their values are sent.
        if isRemote, authenticates { return "an HTTP function with 'auth' reads secrets of the engine; it may not be registered here" }
        return nil
    }

    package var objectionToTriggerTypes: String? {
        grant.mayRegisterTriggerTypes ? nil : "this connection may not register trigger types"
    }

    /// Kinds of events that the engine's own workers provide, whether or not they are there at the moment.
    private static let builtinTriggerTypes: Set<String> = [
        "http", "cron", "durable:subscriber", "subscribe", "queue", "state", "stream", "stream:join", "stream:leave", "log",
        "configuration",
    ]

    /// Why it may not provide this trigger type: whoever provides one is told of everybody's triggers.
    package func objection(toTriggerType id: String) -> String? {
        if let objectionToTriggerTypes { return objectionToTriggerTypes }
        guard isRestricted else { return nil }
        return id.hasPrefix("engine::") || Self.builtinTriggerTypes.contains(id)
            ? "the core or a built-in provides this trigger type" : nil
    }
}
