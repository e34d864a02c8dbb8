/// What a client reads when the core answers in the place of a child that does not serve. Pure.
package enum UnavailableAnswer {
    /// Most bytes of a request that are looked at.
    package static let maximumHead = 16_384

    package enum Step: Sendable, Equatable {
        /// The head is not complete.
        case wait
        case answer([UInt8])
        /// Not HTTP (a TLS handshake, garbage): closing is the only answer such a client understands.
        case close
    }

    /// `received`: everything the client has sent so far. `name` and `state` are for the person who reads the body.
    package static func step(_ received: [UInt8], name: String, state: String, retryAfter: Duration) -> Step {
        guard let first = received.first else { return .wait }
        // Methods are upper-case words (RFC 9110 §9.1 allows more, nobody uses it); empty lines before them are allowed.
        guard (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(first) || first == 13 || first == 10 else { return .close }
        guard hasCompleteHead(received) else { return received.count < maximumHead ? .wait : .close }
        let isHead = received.drop { $0 == 13 || $0 == 10 }.starts(with: "HEAD ".utf8)
        let (seconds, rest) = retryAfter.components
        let body = #"{"error":"\#(name) is not available (\#(state))"}"# + "\n"
        let head =
            "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: \(body.utf8.count)\r\n"
            + "retry-after: \(max(1, seconds + (rest > 0 ? 1 : 0)))\r\nconnection: close\r\n\r\n"
        return .answer(Array(head.utf8) + (isHead ? [] : Array(body.utf8)))
    }

    private static func hasCompleteHead(_ bytes: [UInt8]) -> Bool {
        var lineLength = 0
        var hasLine = false
        for byte in bytes where byte != 13 {
            if byte != 10 {
                lineLength += 1
                hasLine = true
            } else {
                if hasLine, lineLength == 0 { return true }
                lineLength = 0
            }
        }
        return false
    }
}
