/// Where RabbitMQ is and who one is there: `amqp://[user[:password]@]host[:port][/vhost][?heartbeat=seconds]`, `amqps://` for TLS.
/// Special characters are percent-encoded; without a virtual host it is `/`.
package struct AMQPURL: Sendable, Equatable {
    package var isTLS = false
    package var user = "guest"
    package var password = "guest"
    /// Without them, and with a client's certificate, the broker takes the user from the certificate.
    package var namesUser = false
    package var host = "localhost"
    /// 5672, or 5671 with TLS, unless given.
    package var port: Int
    package var virtualHost = "/"
    /// Seconds; nil where the URL says nothing.
    package var heartbeat: Int?

    /// Throws an error that names what is wrong, without the password.
    package init(_ text: String) throws(AMQPError) {
        let scheme: Substring
        var rest: Substring
        if let colon = text.firstIndex(of: ":"), text[colon...].hasPrefix("://") {
            scheme = text[..<colon]
            rest = text[text.index(colon, offsetBy: 3)...]
        } else {
            throw Self.invalid("it must begin with amqp:// or amqps://")
        }
        switch scheme.lowercased() {
        case "amqp": isTLS = false
        case "amqps": isTLS = true
        default: throw Self.invalid("'\(scheme)://' is not known; use amqp:// or amqps://")
        }
        port = isTLS ? 5671 : 5672
        if let mark = rest.firstIndex(of: "?") {
            for item in rest[rest.index(after: mark)...].split(separator: "&") {
                let pair = item.split(separator: "=", maxSplits: 1)
                guard pair.count == 2, pair[0] == "heartbeat" else {
                    throw Self.invalid("'?\(pair.first ?? "")' is not known; only heartbeat is")
                }
                heartbeat = try Self.number(pair[1], "heartbeat", 0...3600)
            }
            rest = rest[..<mark]
        }
        if let at = rest.lastIndex(of: "@") {
            let parts = rest[..<at].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            user = try Self.decoded(parts[0])
            if parts.count == 2 { password = try Self.decoded(parts[1]) }
            guard !user.isEmpty else { throw Self.invalid("the user is missing in front of '@'") }
            namesUser = true
            rest = rest[rest.index(after: at)...]
        }
        if let slash = rest.firstIndex(of: "/") {
            let path = rest[rest.index(after: slash)...]
            if !path.isEmpty { virtualHost = try Self.decoded(path) }
            rest = rest[..<slash]
        }
        var host = rest
        if rest.hasPrefix("["), let end = rest.firstIndex(of: "]") {
            host = rest[rest.index(after: rest.startIndex)..<end]
            let behind = rest[rest.index(after: end)...]
            guard behind.isEmpty || behind.hasPrefix(":") else { throw Self.invalid("']' is followed by something else than a port") }
            if !behind.isEmpty { port = try Self.number(behind.dropFirst(), "the port", 1...65_535) }
        } else if let colon = rest.lastIndex(of: ":") {
            host = rest[..<colon]
            port = try Self.number(rest[rest.index(after: colon)...], "the port", 1...65_535)
        }
        guard !host.isEmpty else { throw Self.invalid("the host is missing") }
        self.host = try Self.decoded(host)
    }

    /// As it may be shown: without user and password.
    package var displayText: String {
        let path = virtualHost == "/" ? "" : "/" + virtualHost
        return "\(isTLS ? "amqps" : "amqp")://\(host.contains(":") ? "[\(host)]" : host):\(port)\(path)"
    }

    private static func number(_ text: Substring, _ what: String, _ range: ClosedRange<Int>) throws(AMQPError) -> Int {
        guard let value = Int(text), range.contains(value) else {
            throw invalid("\(what) must be a number from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    private static func decoded(_ text: Substring) throws(AMQPError) -> String {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            guard byte == 0x25 else {
                bytes.append(byte)
                continue
            }
            guard rest.count >= 2, let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16), value != 0 else {
                throw invalid("a '%' must be followed by two hexadecimal digits")
            }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func invalid(_ reason: String) -> AMQPError { AMQPError(.invalid, "the URL of RabbitMQ is wrong: \(reason)") }
}
