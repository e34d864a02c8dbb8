import NIOHTTP1

/// The seven methods that routes can have (docs/reference/http.md#routes). Anything else is never routed.
package enum RouteMethod: Int, CaseIterable, Sendable {
    case get, head, post, put, delete, patch, options

    /// Reads a registration's method in any letter case.
    package init?(name: String) {
        let upper = name.uppercased()
        guard let method = Self.allCases.first(where: { $0.name == upper }) else { return nil }
        self = method
    }

    init?(_ method: HTTPMethod) {
        switch method {
        case .GET: self = .get
        case .HEAD: self = .head
        case .POST: self = .post
        case .PUT: self = .put
        case .DELETE: self = .delete
        case .PATCH: self = .patch
        case .OPTIONS: self = .options
        default: return nil
        }
    }

    /// The name on the wire, upper case.
    package var name: String {
        switch self {
        case .get: "GET"
        case .head: "HEAD"
        case .post: "POST"
        case .put: "PUT"
        case .delete: "DELETE"
        case .patch: "PATCH"
        case .options: "OPTIONS"
        }
    }
}

/// A set of methods, written as the `allow` header wants it.
package struct RouteMethodSet: Sendable, Equatable {
    private var bits: UInt8 = 0

    package var isEmpty: Bool { bits == 0 }

    package func contains(_ method: RouteMethod) -> Bool { bits & (1 << UInt8(method.rawValue)) != 0 }

    package mutating func insert(_ method: RouteMethod) { bits |= 1 << UInt8(method.rawValue) }

    /// `GET,HEAD` style: comma, no space; GET brings HEAD along.
    package var allowHeader: String {
        var set = self
        if set.contains(.get) { set.insert(.head) }
        return RouteMethod.allCases.filter(set.contains).map(\.name).joined(separator: ",")
    }
}
