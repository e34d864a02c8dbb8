import IIITransport
import NIOCore
import NIOHTTP1

/// An upgrade request that passed the RFC's checks, for the owner of the listener to decide on.
package struct UpgradeRequest {
    /// As it came, not decoded.
    package var path: String
    /// Without the question mark; empty if there is none.
    package let query: String
    package let headers: HTTPHeaders
    package let remoteAddress: SocketAddress?

    package init(path: String, query: String, headers: HTTPHeaders, remoteAddress: SocketAddress?) {
        self.path = path
        self.query = query
        self.headers = headers
        self.remoteAddress = remoteAddress
    }

    init(_ head: HTTPRequestHead, remoteAddress: SocketAddress?) {
        let parts = head.uri.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        self.init(
            path: String(parts.first ?? ""), query: parts.count > 1 ? String(parts[1]) : "", headers: head.headers,
            remoteAddress: remoteAddress)
    }

    /// Headers as functions get them: lower-case names, repeated ones joined with `, `, cookies with `; `.
    package var fields: [String: String] {
        var fields: [String: String] = [:]
        for (name, value) in headers {
            let name = name.lowercased()
            fields[name] = fields[name].map { $0 + (name == "cookie" ? "; " : ", ") + value } ?? value
        }
        return fields
    }

    /// The sub-protocols that the client offers, the one it likes best first.
    package var offeredProtocols: [String] { headers[canonicalForm: "sec-websocket-protocol"].map(String.init).filter { !$0.isEmpty } }
}

/// An answer in plain HTTP; the connection ends behind it.
package struct HTTPAnswer: Sendable, Equatable {
    package var status: HTTPResponseStatus
    /// Besides `content-length`, `connection` and, with a body, `content-type`.
    package var headers: [(String, String)]
    package var body: String
    package var contentType = "text/plain; charset=utf-8"

    package init(_ status: HTTPResponseStatus, _ body: String = "", headers: [(String, String)] = []) {
        self.status = status
        self.body = body
        self.headers = headers
    }

    package static func == (left: HTTPAnswer, right: HTTPAnswer) -> Bool {
        left.status == right.status && left.body == right.body && left.headers.elementsEqual(right.headers, by: ==)
    }
}

/// What becomes of an upgrade request.
package enum UpgradeDecision {
    /// `subprotocol` must be one that the client offers.
    case accept(WebSocketConnection, subprotocol: String? = nil)
    case refuse(HTTPAnswer)

    package static func refuse(_ status: HTTPResponseStatus, body: String) -> UpgradeDecision { .refuse(HTTPAnswer(status, body)) }
}

/// The way back for a decision, which may take its time. Confined to the listener's loop.
package final class UpgradeReply {
    private var deliver: ((UpgradeDecision) -> Void)?

    init(_ deliver: @escaping (UpgradeDecision) -> Void) { self.deliver = deliver }

    /// The first decision counts. Without effect if the client has left, or time is up: a connection that was accepted then is
    /// never opened.
    package func settle(_ decision: UpgradeDecision) {
        let deliver = deliver
        self.deliver = nil
        deliver?(decision)
    }
}
