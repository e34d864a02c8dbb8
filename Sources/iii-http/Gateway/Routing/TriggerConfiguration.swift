import IIIProtocol
import IIIWorker

/// What a registered `http` trigger asks for (docs/reference/http.md#routes).
package enum TriggerConfiguration: Sendable {
    case route(Route)
    /// A method outside the seven: accepted and never routed.
    case unsupportedMethod(String)

    /// Each one is a call before every request's handler.
    package static let maximumMiddleware = 64

    /// Reads a binding. Throws the text that its worker is to see.
    package init(_ binding: TriggerBinding) throws(InvocationError) {
        guard let path = binding.config["api_path"]?.string else { throw Self.refusal("api_path is required for http triggers") }
        let middleware = try (binding.config["middleware_function_ids"]?.array ?? []).compactMap(\.string).map(Self.guardFunction)
        guard middleware.count <= Self.maximumMiddleware else {
            throw Self.refusal("middleware_function_ids has more than \(Self.maximumMiddleware) members")
        }
        let methodName = binding.config["http_method"]?.string ?? "GET"
        guard let method = RouteMethod(name: methodName) else {
            self = .unsupportedMethod(methodName.uppercased())
            return
        }
        let pattern: RoutePattern
        do { pattern = try RoutePattern(path) } catch { throw Self.refusal(error.message) }
        self = .route(
            Route(
                triggerID: binding.id, method: method, pattern: pattern, functionID: binding.target.functionID,
                condition: try TriggerCondition(config: binding.config)?.functionID,
                middleware: middleware, metadata: binding.target.metadata, namespace: binding.target.namespace))
    }

    /// Conditions and middleware are called with the gateway's privileges, which are not for users.
    private static func guardFunction(_ id: String) throws(InvocationError) -> FunctionID {
        do throws(InvocationError) { return try FunctionID(id) } catch { throw refusal(error.message) }
    }

    package static func refusal(_ message: String) -> InvocationError {
        InvocationError(code: "trigger_registration_failed", message: message)
    }
}
