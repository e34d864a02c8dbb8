/// A `ws://host:port/path?query` address.
public struct WebSocketURL: Sendable, Hashable, CustomStringConvertible {
    /// A name or an address, IPv6 without brackets.
    public var host: String
    /// 1 to 65535.
    public var port: Int
    /// Path and query, at least `/`.
    public var target: String

    /// From parts that are taken as they are.
    public init(host: String, port: Int, target: String = "/") {
        self.host = host
        self.port = port
        self.target = target
    }

    /// Why a text is not an address we can dial, told to the person who wrote it.
    public struct Invalid: Error, Sendable, CustomStringConvertible {
        /// What is wrong with the text, as one sentence.
        public let description: String
    }

    /// From `ws://host[:port][/path]`, default port 80. Throws what is wrong with it.
    public init(_ text: String) throws(Invalid) {
        guard !text.hasPrefix("wss://") else {
            throw Invalid(description: "'\(Self.shown(text))': wss:// is not supported; terminate TLS in front of the engine and use ws://")
        }
        guard text.hasPrefix("ws://") else {
            throw Invalid(description: "'\(Self.shown(text))' is not a WebSocket address: it must start with ws://")
        }
        let rest = text.dropFirst(5)
        let authorityEnd = rest.firstIndex { $0 == "/" || $0 == "?" } ?? rest.endIndex
        var authority = rest[..<authorityEnd]
        var target = String(rest[authorityEnd...])
        if !target.hasPrefix("/") { target = "/" + target }
        guard !authority.contains("@") else {
            throw Invalid(description: "'\(Self.shown(text))': user and password have no place in the address of an engine")
        }
        var port = 80
        if let colon = authority.lastIndex(of: ":"), !authority[colon...].contains("]") {
            guard let number = Int(authority[authority.index(after: colon)...]), (1...65535).contains(number) else {
                throw Invalid(description: "'\(Self.shown(text))': the port must be 1-65535")
            }
            port = number
            authority = authority[..<colon]
        }
        if authority.hasPrefix("[") && authority.hasSuffix("]") { authority = authority.dropFirst().dropLast() }
        guard !authority.isEmpty else { throw Invalid(description: "'\(Self.shown(text))' has no host") }
        self.init(host: String(authority), port: port, target: target)
    }

    /// Value of the `Host` header.
    package var authority: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
    /// As it may be shown: a path or query may admit whoever knows it, as the one that user processes get does.
    public var description: String { "ws://\(authority)\(target == "/" ? "" : "/…")" }

    /// What somebody wrote as an address, without user, password, path and query.
    private static func shown(_ text: String) -> String {
        let scheme = text.firstRange(of: "://").map { text[..<$0.upperBound] } ?? ""
        let rest = text[scheme.endIndex...]
        let authority = rest.prefix { $0 != "/" && $0 != "?" }.prefix(200)
        let host = authority.lastIndex(of: "@").map { "…\(authority[$0...])" } ?? String(authority)
        return "\(scheme)\(host)\(authority.endIndex == text.endIndex ? "" : "/…")"
    }
}
