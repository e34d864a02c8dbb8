import IIICrypto
import NIOCore
import NIOHTTP1

/// The server's side of one opening handshake (RFC 6455 §4.2), from the first byte to the upgrade or the refusal: a value without
/// I/O and clock.
///
/// Only a request that is complete, and so has no body, is decided on; until then one deadline runs. While the owner decides, the
/// client is not read. Whatever else is asked for gets one plain answer, and the connection ends.
struct WebSocketHandshake {
    private enum State {
        /// No complete head yet. Exits: completing, over.
        case reading
        /// A sound upgrade whose end has not been seen. Exits: deciding, over.
        case completing(UpgradeRequest, key: String)
        /// The owner decides. Exits: over.
        case deciding(key: String, offered: [String])
        /// Upgraded, refused, or gone. Final.
        case over
    }

    enum Action {
        case none
        /// The head is no upgrade of ours: the owner answers it.
        case answer(HTTPRequestHead)
        /// Ask the owner; its own deadline runs from here.
        case decide(UpgradeRequest)
        /// Answer 101 with these headers and hand the channel over.
        case upgrade(HTTPHeaders)
        case respond(HTTPAnswer)
        case drop
    }

    private var state = State.reading

    var isDeciding: Bool {
        if case .deciding = state { return true }
        return false
    }

    // MARK: Events

    /// - Parameter objection: of the origin's rules; called for sound upgrades only, with the host the client named.
    mutating func headReceived(
        _ head: HTTPRequestHead, remoteAddress: SocketAddress?, objection: (HostName, _ origin: String?) -> HTTPAnswer?
    ) -> Action {
        guard case .reading = state else { return .none }
        switch Self.inspect(head) {
        case .plain:
            state = .over
            return .answer(head)
        case .broken(let answer): return refuse(answer)
        case .sound(let key, let host):
            let origins = head.headers["origin"]
            guard origins.count <= 1 else { return refuse(HTTPAnswer(.badRequest, "more than one origin header\n")) }
            if let answer = objection(host, origins.first) { return refuse(answer) }
            state = .completing(UpgradeRequest(head, remoteAddress: remoteAddress), key: key)
            return .none
        }
    }

    mutating func endReceived() -> Action {
        guard case .completing(let request, let key) = state else { return .none }
        state = .deciding(key: key, offered: request.offeredProtocols)
        return .decide(request)
    }

    mutating func accepted(subprotocol: String?) -> Action {
        guard case .deciding(let key, let offered) = state else { return .none }
        if let subprotocol, !offered.contains(subprotocol) {
            return refuse(HTTPAnswer(.internalServerError, "the sub-protocol that was chosen is none that the client offers\n"))
        }
        state = .over
        var headers = HTTPHeaders([
            ("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-accept", webSocketAccept(forKey: key)),
        ])
        if let subprotocol { headers.add(name: "sec-websocket-protocol", value: subprotocol) }
        return .upgrade(headers)
    }

    mutating func refused(_ answer: HTTPAnswer) -> Action {
        guard case .deciding = state else { return .none }
        return refuse(answer)
    }

    /// The request could not be parsed.
    mutating func failed() -> Action {
        switch state {
        case .reading: return refuse(HTTPAnswer(.badRequest))
        case .completing, .deciding:
            state = .over
            return .drop
        case .over: return .none
        }
    }

    /// The deadline of the phase has passed.
    mutating func timeExpired() -> Action {
        switch state {
        case .reading, .completing, .over:
            state = .over
            return .drop
        case .deciding: return refuse(HTTPAnswer(.serviceUnavailable, "the decision on this connection took too long\n"))
        }
    }

    private mutating func refuse(_ answer: HTTPAnswer) -> Action {
        state = .over
        return .respond(answer)
    }

    // MARK: Rules of the head

    private enum Inspection {
        case plain
        case broken(HTTPAnswer)
        case sound(key: String, HostName)
    }

    private static func inspect(_ head: HTTPRequestHead) -> Inspection {
        func broken(_ text: String) -> Inspection { .broken(HTTPAnswer(.badRequest, text + "\n")) }
        let headers = head.headers
        let hosts = headers["host"]
        let isModern = head.version.major == 1 && head.version.minor >= 1
        guard hosts.count == 1 || (hosts.isEmpty && !isModern) else {
            return broken(hosts.isEmpty ? "missing host header" : "more than one host header")
        }
        let host = hosts.first.flatMap { HostName(header: $0) }
        if host == nil, !hosts.isEmpty { return broken("the host header is not a host name with an optional port") }
        guard headers[canonicalForm: "upgrade"].contains(where: { $0.lowercased() == "websocket" }) else { return .plain }
        guard head.method == .GET else { return .plain }
        // RFC 9110 §7.8: an upgrade in HTTP/1.0 is to be ignored.
        guard isModern, let host else { return broken("a WebSocket upgrade needs HTTP/1.1") }
        guard headers[canonicalForm: "connection"].contains(where: { $0.lowercased() == "upgrade" }) else {
            return broken("a WebSocket upgrade needs the header Connection: Upgrade")
        }
        guard headers["transfer-encoding"].isEmpty, headers["content-length"].allSatisfy({ $0 == "0" }) else {
            return broken("a WebSocket upgrade has no body")
        }
        let versions = headers["sec-websocket-version"]
        guard versions == ["13"] else {
            let status: HTTPResponseStatus = versions.isEmpty ? .badRequest : .upgradeRequired
            return .broken(
                HTTPAnswer(
                    status, "this port speaks WebSocket version 13\n",
                    headers: [("sec-websocket-version", "13")] + (status == .upgradeRequired ? [("upgrade", "websocket")] : [])))
        }
        let keys = headers["sec-websocket-key"]
        guard keys.count == 1, let key = keys.first, isKey(key) else {
            return broken("Sec-WebSocket-Key must be 16 bytes in base64")
        }
        return .sound(key: key, host)
    }

    /// 16 bytes in base64: 22 letters and two signs of padding.
    private static func isKey(_ key: String) -> Bool {
        let bytes = Array(key.utf8)
        guard bytes.count == 24, bytes[22] == UInt8(ascii: "="), bytes[23] == UInt8(ascii: "=") else { return false }
        return bytes[..<22].allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
            default: byte == UInt8(ascii: "+") || byte == UInt8(ascii: "/")
            }
        }
    }
}
