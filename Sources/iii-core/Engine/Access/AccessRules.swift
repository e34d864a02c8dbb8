import IIIProtocol
import IIISettings
import NIOCore

/// The access rules of one listener, as its entry has them. A listener without `rbac` and middleware has none.
package struct AccessRules: Sendable, Equatable {
    /// The `rbac` map: its connections are *restricted*.
    package struct Restrictions: Sendable, Equatable {
        /// nil: everybody is let in, as if it had returned nothing that restricts.
        package var authentication: FunctionID?
        package var exposed: [ExposureFilter] = []
        package var onFunction: FunctionID?
        package var onTrigger: FunctionID?
        package var onTriggerType: FunctionID?
        /// How long the auth function, and each hook, may take; then the answer is no. Default 10 s.
        package var timeout = TimeAmount.seconds(10)

        package init() {}
    }

    /// Called in place of every function that is not the engine's.
    package var middleware: FunctionID?
    package var restrictions: Restrictions?

    package init(middleware: FunctionID? = nil, restrictions: Restrictions? = nil) {
        self.middleware = middleware
        self.restrictions = restrictions
    }

    /// From a checked `iii-worker-manager` entry; nil when it has no rules.
    package init?(_ values: SettingValues) {
        middleware = values[WorkerManagerSettings.middlewareFunction].map { FunctionID(own: $0) }
        if let rbac = values[WorkerManagerSettings.rbac] {
            var restrictions = Restrictions()
            restrictions.authentication = rbac[RBACSettings.authentication].map { FunctionID(own: $0) }
            restrictions.exposed = rbac[RBACSettings.exposed].compactMap { ExposureFilter($0) }
            restrictions.onFunction = rbac[RBACSettings.onFunction].map { FunctionID(own: $0) }
            restrictions.onTrigger = rbac[RBACSettings.onTrigger].map { FunctionID(own: $0) }
            restrictions.onTriggerType = rbac[RBACSettings.onTriggerType].map { FunctionID(own: $0) }
            restrictions.timeout = TimeAmount(rbac[RBACSettings.timeout])
            self.restrictions = restrictions
        }
        if middleware == nil, restrictions == nil { return nil }
    }

    /// The functions that decide. Nobody who is restricted may serve one of them.
    package func isDecided(by id: String) -> Bool {
        [middleware, restrictions?.authentication, restrictions?.onFunction, restrictions?.onTrigger, restrictions?.onTriggerType]
            .contains { $0?.text == id }
    }

    var hasHooks: Bool {
        restrictions.map { $0.onFunction != nil || $0.onTrigger != nil || $0.onTriggerType != nil } ?? false
    }
}
