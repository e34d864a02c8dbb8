import IIIProtocol

/// A path that the gateway answers itself: opt-in, before any route, without middleware
/// (docs/reference/http.md#paths-of-the-gateways-own).
enum OwnEndpoint: Equatable {
    /// The process lives.
    case liveness
    /// Requests can be served: link up, routes complete, not draining.
    case readiness
    case openAPI

    /// What other methods are told with 405.
    static var methods: RouteMethodSet {
        var methods = RouteMethodSet()
        methods.insert(.get)
        return methods
    }
}

/// The own endpoints of one configuration, by raw path without the leading slash.
struct OwnEndpoints {
    private let paths: [(path: [UInt8], endpoint: OwnEndpoint)]

    init(healthPathPrefix: String?, openAPIPath: String?) {
        var paths: [(path: [UInt8], endpoint: OwnEndpoint)] = []
        func add(_ path: String, _ endpoint: OwnEndpoint) { paths.append((Array(path.utf8.dropFirst()), endpoint)) }
        if let healthPathPrefix {
            add(healthPathPrefix + "/healthz", .liveness)
            add(healthPathPrefix + "/readyz", .readiness)
        }
        if let openAPIPath { add(openAPIPath, .openAPI) }
        self.paths = paths
    }

    @inline(__always)
    func endpoint(at path: UnsafeRawBufferPointer) -> OwnEndpoint? {
        guard !paths.isEmpty else { return nil }
        return paths.first { $0.path.count == path.count && path.elementsEqual($0.path) }?.endpoint
    }

    /// Whether a trigger's route can never be reached for GET because an own endpoint has its path.
    func shadows(_ route: Route) -> Bool {
        var key = route.pattern.key
        return (route.method == .get || route.method == .head) && key.withUTF8 { endpoint(at: UnsafeRawBufferPointer($0)) } != nil
    }
}
