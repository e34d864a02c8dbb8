import IIIProtocol
import NIOCore
import NIOHTTP1

// From a request's head to the point where its body is wanted: framing, own endpoints, route, limits, guards (http.md §5, §6).
extension HTTPConnection {
    func begin(_ head: HTTPRequestHead) {
        exchange &+= 1
        hasRequestEnded = false
        hasSentContinue = false
        receivedBytes = 0
        streamedBytes = 0
        timer.cancel()
        let settings = gateway.settings
        self.settings = settings
        requestCount += 1
        let most = settings.configuration.maximumRequestsPerConnection
        let closes = !head.isKeepAlive || head.method == .CONNECT || (most > 0 && requestCount >= most)
        do {
            let facts = try RequestFacts(head, requestIDName: settings.requestIDName)
            // The decoder stops after a request that asks for an upgrade, so this connection cannot carry another.
            form = ResponseWriter.Form(
                isHead: head.method == .HEAD, isHTTP10: head.version.minor == 0, closes: closes || facts.hasUpgrade, origin: facts.origin,
                requestID: settings.requestIDName.isEmpty ? nil : gateway.requestIDs.next(given: facts.requestID))
            self.facts = facts
            if settings.hasOptions { noteOptions(head) }
            route(head, facts)
        } catch {
            form = ResponseWriter.Form(isHead: head.method == .HEAD, isHTTP10: head.version.minor == 0)
            fail(error, closes: true)
        }
    }

    private func route(_ head: HTTPRequestHead, _ facts: RequestFacts) {
        let settings = settings
        let ignoresSlash = settings.configuration.ignoresTrailingSlash
        var uri = head.uri
        let (target, own, match, allowed) = uri.withUTF8 { text -> (RequestTarget, OwnEndpoint?, RouteMatch?, RouteMethodSet) in
            let bytes = UnsafeRawBufferPointer(text)
            let target = RequestTarget(bytes)
            let path = UnsafeRawBufferPointer(rebasing: bytes[target.path])
            if let own = settings.ownEndpoints.endpoint(at: path) { return (target, own, nil, OwnEndpoint.methods) }
            let isAnsweredHere = head.method == .OPTIONS && (facts.isPreflight || target.isAsterisk)
            let match =
                isAnsweredHere ? nil : RouteMethod(head.method).flatMap { gateway.routes.match($0, path, ignoringSlash: ignoresSlash) }
            let allowed =
                match == nil && !target.isAsterisk ? gateway.routes.methods(for: path, ignoringSlash: ignoresSlash) : RouteMethodSet()
            return (target, nil, match, allowed)
        }
        if let own, head.method == .GET || head.method == .HEAD { return answer(own) }
        guard let match else { return answerUnmatched(head, facts, target, allowed) }
        begin(RoutedRequest(head: head, target: target, match: match, extensions: extensions(head)), facts)
    }

    /// OPTIONS, a method that the path does not have, or a path that nothing has.
    private func answerUnmatched(_ head: HTTPRequestHead, _ facts: RequestFacts, _ target: RequestTarget, _ allowed: RouteMethodSet) {
        if head.method == .OPTIONS {
            respond(200) { settings.writer.writeOptions(form, requestedHeaders: facts.requestedHeaders, allow: allowed, to: &$0) }
        } else if !allowed.isEmpty {
            fail(.methodNotAllowed(allowed))
        } else if let request = fallbackRequest(head, target) {
            form.defaultStatus = 404
            begin(request, facts)
        } else {
            fail(.notFound)
        }
    }

    private func begin(_ request: RoutedRequest, _ facts: RequestFacts) {
        self.request = request
        guard gateway.link.isConnected else {
            fail(.coreUnavailable)
            return
        }
        let limit = facts.isJSON ? settings.configuration.bodyLimit : settings.configuration.streamBodyLimit
        if let length = facts.contentLength, let limit, length > limit {
            fail(.payloadTooLarge, closes: true)
            return
        }
        settings.requestTimers.start(timer)
        if settings.globalMiddleware.isEmpty || request.isUnmatched { takeBody() } else { beginGuarded() }
    }

    /// Global middleware has passed: the client may send its body.
    func takeBody() {
        guard let isJSON = facts?.isJSON else { return }
        // Only JSON is part of the payload; other bodies are asked for when the function opens their channel (§7.2).
        if isJSON {
            givePlaceBack()
            phase = .collecting
            sendContinueIfExpected()
        } else if holdsPlace {
            callCondition()
        } else {
            admit()
        }
    }
}
