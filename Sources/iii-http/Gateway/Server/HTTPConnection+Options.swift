import IIIProtocol
import NIOCore
import NIOHTTP1

// What the configuration adds to a request and its response: ids, negotiation, log, own endpoints, the 404 function.
extension HTTPConnection {
    /// Notes what the response will depend on.
    func noteOptions(_ head: HTTPRequestHead, _ facts: RequestFacts) {
        if !settings.requestIDName.isEmpty {
            form.requestID = facts.requestID.flatMap { RequestID.isAcceptable($0) ? .given($0) : nil } ?? gateway.requestIDs.next()
        }
        if settings.writer.compression != nil, let accepted = facts.acceptedEncodings {
            form.acceptsGzip = AcceptEncoding.prefersGzip(accepted)
        }
        if settings.writer.entityTags != nil, head.method == .GET || head.method == .HEAD {
            form.knownEntityTags = facts.knownEntityTags ?? ""
        }
        if let log = settings.accessLog, log.takesNext {
            accessRecord = AccessRecord(
                method: head.method, uri: head.uri, startedAt: gateway.eventLoop.now, remoteAddress: remoteAddress(facts),
                host: (settings.configuration.trustsProxy ? facts.forwardedHost : nil) ?? facts.host ?? "")
        }
    }

    func logAccess(_ status: Int) {
        guard let record = accessRecord else { return }
        accessRecord = nil
        settings.accessLog?.write(
            record, route: request.flatMap { $0.isUnmatched ? nil : $0.match.route }, status: status,
            byteCount: form.isStreamed ? streamedBytes : output.writerIndex - responseStart, requestID: form.requestID?.text,
            now: gateway.eventLoop.now)
    }

    /// The payload members of `extended_request`.
    func extensions(_ head: HTTPRequestHead) -> RequestExtensions? {
        guard settings.configuration.extendsRequest, let facts else { return nil }
        return RequestExtensions(remoteAddress: remoteAddress(facts), requestID: form.requestID?.text)
    }

    /// The peer; behind a trusted proxy the last address it names, because only that one is the proxy's own observation.
    private func remoteAddress(_ facts: RequestFacts) -> String {
        if settings.configuration.trustsProxy, let last = facts.forwardedFor?.split(separator: ",").last {
            let address = last.drop { $0 == " " }.prefix { $0 != " " }
            if !address.isEmpty { return String(address) }
        }
        return context?.channel.remoteAddress?.ipAddress ?? ""
    }

    func answer(_ endpoint: OwnEndpoint) {
        switch endpoint {
        case .liveness: respond(200) { settings.writer.writeDocument(200, Self.alive, form, to: &$0) }
        case .readiness:
            guard let reason = gateway.unreadiness else {
                respond(200) { settings.writer.writeDocument(200, Self.ready, form, to: &$0) }
                return
            }
            let document: JSONValue = ["status": "unavailable", "reason": .string(reason)]
            respond(503) { settings.writer.writeDocument(503, document.bytes, form, to: &$0) }
        case .openAPI: respond(200) { settings.writer.writeDocument(200, gateway.openAPIDocument, form, to: &$0) }
        }
    }

    private static var alive: [UInt8] { Array(#"{"status":"ok"}"#.utf8) }
    private static var ready: [UInt8] { Array(#"{"status":"ready"}"#.utf8) }

    /// The request as `not_found_function` gets it: its `path` is the raw one (§20.13). nil when there is no such function.
    func fallbackRequest(_ head: HTTPRequestHead, _ target: RequestTarget) -> RoutedRequest? {
        guard let function = settings.notFoundFunction, let method = RouteMethod(head.method) else { return nil }
        let bytes = Array(head.uri.utf8)
        let path = "/" + String(decoding: bytes[target.path], as: UTF8.self)
        let route = Route(triggerID: "", method: method, pattern: RoutePattern(literal: path), functionID: function)
        return RoutedRequest(
            head: head, target: target, match: RouteMatch(route: route, captures: []), extensions: extensions(head), isUnmatched: true)
    }
}
