import IIIProtocol

/// One call of a function that the core answers itself.
package struct BuiltinCall {
    /// The calling worker; nil for calls the engine makes.
    package let caller: Worker?
    /// The decoded payload; `null` and missing read as an empty object (docs/reference/engine.md).
    package let input: JSONValue
    /// The payload as it was sent, for what is passed on; empty when there was none.
    package let text: [UInt8]
    /// Length of that text, in bytes.
    package var length: Int { text.count }
    /// Must be called exactly once, now or later, on the loop.
    package let reply: (Result<[UInt8]?, InvocationError>) -> Void

    package func succeed(_ value: JSONValue) { reply(.success(value.bytes)) }
    package func fail(_ code: ErrorCode, _ message: String) { reply(.failure(InvocationError(code, message))) }
}

/// A function of the core: `engine::*` for everyone, `core::*` for privileged workers only.
package struct BuiltinFunction {
    package let id: String
    package let description: String
    /// Invisible and not callable for workers without a built-in's secret (docs/reference/core-workers.md#what-privilege-means).
    package let isPrivilegedOnly: Bool
    /// Only answers: of no use to a caller that has left.
    package var isQuery: Bool { id.hasSuffix("::list") || id.hasSuffix("::info") }
    package let handler: (BuiltinCall) -> Void

    package init(_ id: String, _ description: String, isPrivilegedOnly: Bool = false, handler: @escaping (BuiltinCall) -> Void) {
        self.id = id
        self.description = description
        self.isPrivilegedOnly = isPrivilegedOnly
        self.handler = handler
    }
}
