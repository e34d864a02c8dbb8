/// Where a Redis server is and who one is there: `redis://[user[:password]@]host[:port][/database]`, `rediss://` for TLS,
/// `unix:///path[?db=N]` for a local socket.
public struct RedisURL: Sendable, Equatable {
    /// What is connected to.
    public enum Address: Sendable, Equatable {
        case host(String, port: Int)
        case unixSocket(String)
    }

    /// Host and port (default 6379), or a local socket.
    public var address: Address
    /// `rediss://`: the certificate is checked against host and authorities.
    public var isTLS = false
    /// nil = the server's default user.
    public var user: String?
    /// nil = no AUTH.
    public var password: String?
    /// Selected at every connection; 0 to 1,000,000.
    public var database = 0

    /// Throws an error that names what is wrong, without the password.
    public init(_ text: String) throws(RedisError) {
        guard let schemeEnd = text.firstRange(ofText: "://") else {
            throw Self.invalid("it must begin with redis://, rediss:// or unix://")
        }
        let scheme = text[..<schemeEnd.lowerBound].lowercased()
        var rest = text[schemeEnd.upperBound...]
        var query: Substring = ""
        if let mark = rest.firstIndex(of: "?") {
            query = rest[rest.index(after: mark)...]
            rest = rest[..<mark]
        }
        if let at = rest.lastIndex(of: "@") {
            let parts = rest[..<at].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            if parts.count == 2 {
                user = parts[0].isEmpty ? nil : try Self.decoded(parts[0])
                password = try Self.decoded(parts[1])
            } else {
                // As redis-cli has it: a single word is the password.
                password = try Self.decoded(parts[0])
            }
            rest = rest[rest.index(after: at)...]
        }
        switch scheme {
        case "unix", "redis+unix", "redis+socket":
            guard rest.hasPrefix("/") else { throw Self.invalid("unix:// is followed by an absolute path") }
            address = .unixSocket(try Self.decoded(rest))
        case "redis", "rediss":
            isTLS = scheme == "rediss"
            if let slash = rest.firstIndex(of: "/") {
                let path = rest[rest.index(after: slash)...]
                if !path.isEmpty { database = try Self.number(path, "the database", 0...1_000_000) }
                rest = rest[..<slash]
            }
            address = try Self.hostAndPort(rest)
        default: throw Self.invalid("'\(scheme)://' is not known; use redis://, rediss:// or unix://")
        }
        for item in query.split(separator: "&") {
            let pair = item.split(separator: "=", maxSplits: 1)
            guard pair.count == 2, pair[0] == "db" else { throw Self.invalid("'?\(pair.first ?? "")' is not known; only db is") }
            database = try Self.number(pair[1], "db", 0...1_000_000)
        }
    }

    /// As it may be shown: without user and password.
    public var displayText: String {
        switch address {
        case .host(let host, let port): "\(isTLS ? "rediss" : "redis")://\(host.contains(":") ? "[\(host)]" : host):\(port)/\(database)"
        case .unixSocket(let path): "unix://\(path)?db=\(database)"
        }
    }

    private static func hostAndPort(_ text: Substring) throws(RedisError) -> Address {
        var host = text
        var port: Substring?
        if text.hasPrefix("["), let end = text.firstIndex(of: "]") {
            host = text[text.index(after: text.startIndex)..<end]
            let behind = text[text.index(after: end)...]
            guard behind.isEmpty || behind.hasPrefix(":") else { throw invalid("']' is followed by something else than a port") }
            port = behind.isEmpty ? nil : behind.dropFirst()
        } else if let colon = text.lastIndex(of: ":") {
            host = text[..<colon]
            port = text[text.index(after: colon)...]
        }
        guard !host.isEmpty else { throw invalid("the host is missing") }
        return .host(try decoded(host), port: try port.map { text throws(RedisError) in try number(text, "the port", 1...65_535) } ?? 6379)
    }

    private static func number(_ text: Substring, _ what: String, _ range: ClosedRange<Int>) throws(RedisError) -> Int {
        guard let value = Int(text), range.contains(value) else {
            throw invalid("\(what) must be a number from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    private static func decoded(_ text: Substring) throws(RedisError) -> String {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            guard byte == 0x25 else {
                bytes.append(byte)
                continue
            }
            guard rest.count >= 2, let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16) else {
                throw invalid("a '%' must be followed by two hexadecimal digits")
            }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func invalid(_ reason: String) -> RedisError { RedisError(.invalid, "the URL of Redis is wrong: \(reason)") }
}

extension String {
    fileprivate func firstRange(ofText other: String) -> Range<String.Index>? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(other) { return start..<index(start, offsetBy: other.count) }
            start = index(after: start)
        }
        return nil
    }
}
