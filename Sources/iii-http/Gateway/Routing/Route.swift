import IIIProtocol
import IIIWorker
import NIOCore

/// One registered `http` trigger, with everything a request needs already in wire form. Immutable.
///
/// In-flight requests hold the route they matched, so removal or replacement never disturbs them
/// (docs/reference/http.md#changes-while-it-runs).
package final class Route: Sendable {
    package let triggerID: String
    package let method: RouteMethod
    package let pattern: RoutePattern
    package let functionID: FunctionID
    package let condition: FunctionID?
    /// Called in this order between condition and handler (docs/reference/http.md#middleware-and-conditions).
    package let middleware: [FunctionID]
    /// Raw JSON, delivered beside the payload (docs/reference/worker-protocol.md#metadata-sidecar).
    package let metadata: [UInt8]?
    /// Where the ids of handler, condition and middleware are looked up; nil means `default`
    /// (docs/reference/worker-protocol.md#namespaces).
    package let namespace: String?
    /// Its worker is gone, and until then remembered as one that may come back; nil for a live route.
    package let departure: NIODeadline?

    let metrics: RouteMetrics
    /// `"<name>":` for every parameter of the pattern.
    let parameterKeys: [[UInt8]]
    /// `,"path":…,"method":…` for requests of the route's own method, and for HEAD served by a GET route.
    private let ownPathMembers: [UInt8]
    private let headPathMembers: [UInt8]
    private let ownTriggerMember: [UInt8]
    private let headTriggerMember: [UInt8]

    package init(
        triggerID: String, method: RouteMethod, pattern: RoutePattern, functionID: FunctionID, condition: FunctionID? = nil,
        middleware: [FunctionID] = [], metadata: [UInt8]? = nil, namespace: String? = nil, departure: NIODeadline? = nil
    ) {
        self.triggerID = triggerID
        self.method = method
        self.pattern = pattern
        self.functionID = functionID
        self.condition = condition
        self.middleware = middleware
        self.metadata = metadata
        self.namespace = namespace
        self.departure = departure
        metrics = RouteMetrics(route: pattern.registered, method: method.name)
        parameterKeys = pattern.parameterNames.map { JSONText.string($0) + [UInt8(ascii: ":")] }
        let path = String(decoding: JSONText.string(pattern.registered), as: UTF8.self)
        func members(_ method: RouteMethod) -> [UInt8] { Array(",\"path\":\(path),\"method\":\"\(method.name)\"".utf8) }
        func trigger(_ method: RouteMethod) -> [UInt8] {
            Array(",\"trigger\":{\"type\":\"http\",\"path\":\(path),\"method\":\"\(method.name)\"}".utf8)
        }
        ownPathMembers = members(method)
        headPathMembers = method == .get ? members(.head) : ownPathMembers
        ownTriggerMember = trigger(method)
        headTriggerMember = method == .get ? trigger(.head) : ownTriggerMember
    }

    /// The same route without its worker.
    func departed(until deadline: NIODeadline) -> Route {
        Route(
            triggerID: triggerID, method: method, pattern: pattern, functionID: functionID, condition: condition, middleware: middleware,
            metadata: metadata, namespace: namespace, departure: deadline)
    }

    func pathMembers(isHead: Bool) -> [UInt8] { isHead ? headPathMembers : ownPathMembers }

    func triggerMember(isHead: Bool) -> [UInt8] { isHead ? headTriggerMember : ownTriggerMember }

    /// `GET /users/:id`, for messages; the path as registered.
    package var description: String { "\(method.name) \(pattern.registered)" }
}

/// What matching a path found: the route and where its parameters stand in the path.
package struct RouteMatch {
    package let route: Route
    /// Byte ranges in the matched path, in order of `pattern.parameterNames`.
    package let captures: [Range<Int>]
}
