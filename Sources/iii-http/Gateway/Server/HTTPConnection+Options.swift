import IIIProtocol
import NIOCore
import NIOHTTP1

// What the configuration adds to a request and its response: ids, negotiation, log, own endpoints, the 404 function.
extension HTTPConnection {
    /// Notes what the response will depend on.
    func noteOptions(_ head: HTTPRequestHead) {
        if settings.negotiates { form.negotiation = negotiation(head) }
        if let log = settings.accessLog, log.takesNext {
            let forwarded = settings.configuration.trustsProxy ? head.headers.first(name: "x-forwarded-host") : nil
            let host = forwarded.flatMap { HostField.isValid($0) ? $0 : nil }
            accessRecord = AccessRecord(
                method: head.method, uri: head.uri, startedAt: gateway.eventLoop.now, remoteAddress: remoteAddress(head),
                host: host ?? head.headers.first(name: "host") ?? "")
        }
    }

    private func negotiation(_ head: HTTPRequestHead) -> ResponseWriter.Negotiation {
        let accepted = head.headers["accept-encoding"].joined(separator: ",")
        let isReading = head.method == .GET || head.method == .HEAD
        return ResponseWriter.Negotiation(
            acceptsGzip: AcceptEncoding.prefersGzip(accepted),
            knownEntityTags: isReading ? head.headers["if-none-match"].joined(separator: ",") : nil)
    }

    func logAccess(_ status: Int, byteCount: Int) {
        guard let record = accessRecord else { return }
        accessRecord = nil
        settings.accessLog?.write(
            record, route: request.flatMap { $0.isUnmatched ? nil : $0.match.route }, status: status, byteCount: byteCount,
            requestID: form.requestID?.text, now: gateway.eventLoop.now)
    }

    /// The payload members of `extended_request`.
    func extensions(_ head: HTTPRequestHead) -> RequestExtensions? {
        guard settings.configuration.extendsRequest else { return nil }
        return RequestExtensions(remoteAddress: remoteAddress(head), requestID: form.requestID?.text)
    }

    /// The peer; behind a trusted proxy the last address it names, because only that one is the proxy's own observation. What
    /// is no address, an obfuscated name or worse, is not taken.
    private func remoteAddress(_ head: HTTPRequestHead) -> String {
        if settings.configuration.trustsProxy, let last = head.headers["x-forwarded-for"].last,
            let address = ForwardedAddress.last(of: last)
        {
            return address
        }
        return context?.channel.remoteAddress?.ipAddress ?? ""
    }

    /// The request as `not_found_function` gets it: its `path` is the raw one. nil when there is no such function.
    func fallbackRequest(_ head: HTTPRequestHead, _ target: RequestTarget) -> RoutedRequest? {
        guard let function = settings.notFoundFunction, let method = RouteMethod(head.method) else { return nil }
        let bytes = Array(head.uri.utf8)
        let path = "/" + String(decoding: bytes[target.path], as: UTF8.self)
        let route = Route(triggerID: "", method: method, pattern: RoutePattern(literal: path), functionID: function)
        return RoutedRequest(
            head: head, target: target, match: RouteMatch(route: route, captures: []), extensions: extensions(head), isUnmatched: true)
    }
}
