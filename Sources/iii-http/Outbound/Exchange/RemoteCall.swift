import IIICrypto
import IIIProtocol
import IIITelemetry
import NIOCore

/// One call of an HTTP-invoked function, and the request it becomes (docs/reference/worker-protocol.md#http-functions).
package struct RemoteCall: Sendable {
    package var endpoint: RemoteEndpoint
    package var invocationID: UUIDBits
    /// JSON text of the payload.
    package var payload: [UInt8]
    package var trace: TraceContext

    package init(endpoint: RemoteEndpoint, invocationID: UUIDBits, payload: [UInt8], trace: TraceContext = .none) {
        self.endpoint = endpoint
        self.invocationID = invocationID
        self.payload = payload
        self.trace = trace
    }

    /// The body every method carries, GET included: the payload without the access keys of channels.
    package var body: [UInt8] { ChannelKeyRedaction.redacted(payload) }

    /// The request's headers: what the engine says, replaced by what was configured under the same name, and last what
    /// authenticates the request, which nothing replaces. `timestamp`: Unix seconds.
    package func headers(for body: [UInt8], timestamp: Int64) -> [(name: String, value: String)] {
        var list = HeaderList()
        list.set("Content-Type", "application/json")
        list.set("x-iii-Function-Path", endpoint.functionID)
        list.set("x-iii-Invocation-ID", invocationID.text)
        list.set("x-iii-Timestamp", String(timestamp))
        // Callers choose these; what could break out of its line is left out.
        for (name, value) in [("traceparent", trace.traceparent), ("baggage", trace.baggage), ("tracestate", trace.tracestate)] {
            if let value, RemoteEndpoint.isHeaderValue(value) { list.set(name, value) }
        }
        for header in endpoint.headers { list.set(header.name, header.value) }
        switch endpoint.authentication {
        case .hmac(let secret):
            list.set("x-iii-Timestamp", String(timestamp))
            list.set("x-iii-Signature", Self.signature(secret: secret, timestamp: timestamp, body: body))
        case .bearer(let token): list.set("Authorization", "Bearer \(token)")
        case .apiKey(let header, let value): list.set(header, value)
        case nil: break
        }
        return list.headers
    }

    /// `sha256=` and the lower-case hex of HMAC-SHA256 over `<timestamp>:<base64 of the body>`
    /// (docs/reference/worker-protocol.md#http-functions).
    package static func signature(secret: [UInt8], timestamp: Int64, body: [UInt8]) -> String {
        let message = Array("\(timestamp):\(base64(body))".utf8)
        return "sha256=" + SecureBytes.hex(HMACSHA256(key: secret).authenticate(message))
    }
}

/// Headers in the order they were first set, one of each name.
private struct HeaderList {
    private(set) var headers: [(name: String, value: String)] = []

    mutating func set(_ name: String, _ value: String) {
        if let index = headers.firstIndex(where: { $0.name.lowercased() == name.lowercased() }) {
            headers[index] = (name, value)
        } else {
            headers.append((name, value))
        }
    }
}
