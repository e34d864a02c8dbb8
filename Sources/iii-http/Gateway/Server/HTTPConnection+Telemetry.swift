import IIITelemetry
import NIOCore
import NIOHTTP1

// What is counted and traced of a request (docs/reference/metrics.md#iii-http).
extension HTTPConnection {
    /// A span for what has a route; the calls of everything else belong where the request does.
    func beginSpan(_ head: HTTPRequestHead, _ facts: RequestFacts) {
        guard let request, !request.isUnmatched else { return }
        let route = request.match.route
        let span = gateway.telemetry.span(route.description, .server, parent: facts.trace)
        self.span = span
        guard span.isRecording else { return }
        let (path, query) = Self.split(head.uri)
        let host = head.headers.first(name: "host") ?? ""
        let scheme = head.headers.first(name: "x-forwarded-proto") ?? (gateway.tls.endpoint == nil ? "http" : "https")
        span.set("http.request.method", .string(head.method.rawValue))
        span.set("http.route", .string(route.pattern.registered))
        span.set("url.path", .string(path))
        span.set("url.query", .string(query))
        span.set("url.scheme", .string(scheme))
        span.set("url.full", .string("\(scheme)://\(host)\(head.uri)"))
        span.set("server.address", .string(host))
        span.set("user_agent.original", .string(head.headers.first(name: "user-agent") ?? ""))
        span.set("http.request.header.content_type", .string(head.headers.first(name: "content-type") ?? ""))
        span.set("http.request.body.size", TelemetryValue(facts.contentLength ?? 0))
        span.set("iii.function.kind", route.functionID.text.hasPrefix("engine::") ? "internal" : "user")
    }

    func endTelemetry(_ status: Int) {
        guard let began else { return }
        self.began = nil
        let route = request.flatMap { $0.isUnmatched ? nil : $0.match.route }
        gateway.metrics.ended(route, method: began.method, status: status, after: gateway.eventLoop.now - began.at)
        guard let span else { return }
        self.span = nil
        span.set("http.response.status_code", TelemetryValue(status))
        span.end(status < 400 ? .ok : .error(""))
    }

    private static func split(_ uri: String) -> (path: String, query: String) {
        let parts = uri.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        return (String(parts[0]), parts.count > 1 ? String(parts[1]) : "")
    }
}
