/// Which web pages may open a WebSocket here: a value without I/O.
///
/// Browsers let any page connect anywhere, and say only in `Origin` whose page it is. Without that header nobody's browser is
/// involved: allowed. With it: the host name the page itself was loaded from (any port; all names of this machine are one), or an
/// entry of `allowed_origins`. What arrives on a loopback address must also name it so: a stranger's domain that resolves to
/// 127.0.0.1 (DNS rebinding) would pass for the same host.
package struct OriginPolicy: Sendable, Equatable {
    package enum Objection: Sendable, Equatable {
        case origin(String)
        case host(String)
    }

    private var allowed: Set<String> = []
    private var allowedHosts: Set<HostName> = []
    private var allowsAny = false

    /// `origins`: `https://app.example.com`, `http://127.0.0.1:5173`, `null`, or `*` for any. What is no origin allows nothing.
    package init(allowedOrigins origins: [String] = []) {
        for origin in origins {
            if origin == "*" { allowsAny = true }
            guard let normal = Self.normalised(origin) else { continue }
            allowed.insert(normal)
            if let host = Self.host(of: origin) { allowedHosts.insert(host) }
        }
    }

    /// - Parameters:
    ///   - origin: of the request; nil = none.
    ///   - bindsLoopback: the listener is reachable from this machine only.
    ///   - arrivesOnLoopback: so is the address that the client has connected to.
    package func objection(host: HostName, origin: String?, bindsLoopback: Bool, arrivesOnLoopback: Bool) -> Objection? {
        if allowsAny { return nil }
        // A proxy before a public port has honest names of its own, and no browser speaks without an origin.
        if bindsLoopback || (arrivesOnLoopback && origin != nil), host.isPublicName, !allowedHosts.contains(host) {
            return .host(host.name)
        }
        guard let origin else { return nil }
        if let page = Self.host(of: origin), page == host || (page.isLoopback && host.isLoopback) { return nil }
        if let normal = Self.normalised(origin), allowed.contains(normal) { return nil }
        return .origin(origin)
    }

    /// Whether a text may stand in `allowed_origins`.
    package static func isOrigin(_ text: String) -> Bool { text == "*" || normalised(text) != nil }

    /// Lower case, without the port that the scheme implies and a slash at the end; nil if it is no origin.
    private static func normalised(_ origin: String) -> String? {
        if origin == "null" { return origin }
        guard let end = origin.firstRange(of: "://"), let host = host(of: origin) else { return nil }
        let scheme = origin[..<end.lowerBound].lowercased()
        let authority = authority(of: origin)
        // The colons of an IPv6 address stand before its bracket.
        let behind = authority.lastIndex(of: "]").map { authority[authority.index(after: $0)...] } ?? authority
        let written = behind.lastIndex(of: ":").map { String(behind[behind.index(after: $0)...]) } ?? ""
        let port = !written.isEmpty ? written : scheme == "https" ? "443" : scheme == "http" ? "80" : ""
        return "\(scheme)://\(host.name):\(port)"
    }

    private static func authority(of origin: String) -> Substring {
        guard let start = origin.firstRange(of: "://")?.upperBound else { return "" }
        let rest = origin[start...]
        return rest.hasSuffix("/") ? rest.dropLast() : rest
    }

    private static func host(of origin: String) -> HostName? { HostName(header: String(authority(of: origin))) }
}
