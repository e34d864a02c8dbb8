import NIOCore

/// Reads addresses out of `x-forwarded-for`, as proxies write them: bare, with a port, in brackets.
enum ForwardedAddress {
    /// The address of the last member, without port and brackets and in its usual form; nil when that is no address: names such as
    /// `unknown` and obfuscated ones are nobody's observation.
    static func last(of field: String) -> String? {
        guard let member = field.split(separator: ",", omittingEmptySubsequences: false).last else { return nil }
        return address(String(trimmed(member)))
    }

    static func address(_ text: String) -> String? {
        var host = Substring(text)
        if host.first == "[" {
            guard let end = host.firstIndex(of: "]"), isPort(host[host.index(after: end)...]) else { return nil }
            host = host[host.index(after: host.startIndex)..<end]
            return host.contains(":") ? canonical(host) : nil
        }
        // One colon stands before a port; more make it an IPv6 address, which without brackets has none.
        if let colon = host.firstIndex(of: ":"), colon == host.lastIndex(of: ":") {
            guard isPort(host[colon...]) else { return nil }
            host = host[..<colon]
        }
        return canonical(host)
    }

    private static func canonical(_ text: Substring) -> String? {
        guard text.utf8.count <= 45, !text.contains("%") else { return nil }
        return try? SocketAddress(ipAddress: String(text), port: 0).ipAddress
    }

    /// Nothing, or a colon and up to five digits.
    private static func isPort(_ text: Substring) -> Bool {
        guard let first = text.first else { return true }
        let digits = text.dropFirst()
        return first == ":" && (1...5).contains(digits.count) && digits.utf8.allSatisfy { $0 &- 0x30 < 10 }
    }

    private static func trimmed(_ text: Substring) -> Substring {
        var text = text.drop { $0 == " " || $0 == "\t" }
        while let last = text.last, last == " " || last == "\t" { text.removeLast() }
        return text
    }
}
