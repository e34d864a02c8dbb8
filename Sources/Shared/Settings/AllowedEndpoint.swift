/// One entry of `security.url_allowlist`: a glob over the host, or with `://` globs over scheme, host, port and path.
///
/// Each part is matched on its own, so `*` never reaches from the host into the path. Without a port the pattern means the
/// scheme's own; without a path, every path. Hosts compare in lower case; IPv6 addresses stand without brackets.
package struct AllowedEndpoint: Sendable {
    private struct Origin: Sendable {
        let scheme: GlobPattern
        let port: GlobPattern?
        let path: GlobPattern?
    }

    private let host: GlobPattern
    private let origin: Origin?

    package init(_ text: String) throws(GlobPattern.Invalid) {
        guard let separator = text.firstRange(of: "://") else {
            host = try GlobPattern(text.lowercased())
            origin = nil
            return
        }
        let rest = text[separator.upperBound...]
        let pathStart = rest.firstIndex(of: "/") ?? rest.endIndex
        var authority = rest[..<pathStart]
        var port: GlobPattern?
        if let colon = authority.lastIndex(of: ":"), !authority[colon...].contains("]") {
            port = try GlobPattern(authority[authority.index(after: colon)...])
            authority = authority[..<colon]
        }
        host = try GlobPattern(authority.lowercased())
        origin = Origin(
            scheme: try GlobPattern(text[..<separator.lowerBound].lowercased()), port: port,
            path: pathStart == rest.endIndex ? nil : try GlobPattern(rest[pathStart...]))
    }

    package func permits(scheme: String, host name: String, port: Int, isDefaultPort: Bool, path: String) -> Bool {
        guard host.matches(name) else { return false }
        guard let origin else { return true }
        return origin.scheme.matches(scheme) && (origin.port?.matches(String(port)) ?? isDefaultPort)
            && (origin.path?.matches(path) ?? true)
    }
}
