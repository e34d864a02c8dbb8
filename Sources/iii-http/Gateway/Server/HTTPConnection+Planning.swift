import IIIProtocol
import NIOCore
import NIOHTTP1

/// An answer that needs no function.
enum PlannedAnswer {
    case endpoint(OwnEndpoint)
    case options(requestedHeaders: String?, allowed: RouteMethodSet)
}

// From a request's head to the plan of its exchange: framing, own endpoints, route (docs/reference/http.md#routes).
extension HTTPConnection {
    func planNext() {
        guard var head = machine.handle({ $0.takeHead() }) else { return }
        let settings = gateway.settings
        self.settings = settings
        requestCount += 1
        began = (gateway.eventLoop.now, RouteMethod(head.method)?.name ?? GatewayMetrics.otherMethod)
        gateway.metrics.began()
        let most = settings.configuration.maximumRequestsPerConnection
        let closes = !head.isKeepAlive || head.method == .CONNECT || (most > 0 && requestCount >= most)
        var plan = RequestPlan()
        plan.isHead = head.method == .HEAD
        plan.isHTTP10 = head.version.minor == 0
        form = ResponseWriter.Form(isHead: plan.isHead, isHTTP10: plan.isHTTP10)
        do {
            let facts = try RequestFacts(head, requestIDName: settings.requestIDName)
            // The decoder stops after a request that asks for an upgrade, so this connection cannot carry another.
            plan.closes = closes || facts.hasUpgrade
            form.origin = facts.origin
            form.requestID = settings.requestIDName.isEmpty ? nil : gateway.requestIDs.next(given: facts.requestID)
            self.facts = facts
            if facts.hasPadding { head.headers = RequestFacts.unpadded(head.headers) }
            if settings.hasOptions { noteOptions(head) }
            complete(&plan, head, facts)
            beginSpan(head, facts)
        } catch {
            facts = nil
            plan.verdict = .refuse(error, closes: true)
        }
        machine.handle { $0.begin(plan) }
    }

    /// The route that the request waited for is back, or gone for good.
    func planAgain() {
        guard let head = request?.head, let facts else {
            return machine.handle { $0.begin(RequestPlan(verdict: .refuse(.notFound, closes: true))) }
        }
        request = nil
        var plan = RequestPlan()
        plan.isHead = form.isHead
        plan.isHTTP10 = form.isHTTP10
        plan.closes = machine.exchange.isLast
        complete(&plan, head, facts)
        machine.handle { $0.begin(plan) }
    }

    private func complete(_ plan: inout RequestPlan, _ head: HTTPRequestHead, _ facts: RequestFacts) {
        let configuration = settings.configuration
        plan.isJSON = facts.isJSON
        plan.rejectsInvalidJSON = configuration.rejectsInvalidJSON
        plan.hasBody = facts.hasBody
        plan.contentLength = facts.contentLength
        plan.expectsContinue = facts.expectsContinue
        plan.bodyLimit = facts.isJSON ? configuration.bodyLimit : configuration.streamBodyLimit
        plan.discardLimit = configuration.bodyLimit
        plan.limitsBodyTime = configuration.bodyTimeout > .zero
        plan.limitsStallTime = configuration.writeStallTimeout > .zero
        plan.verdict = route(head, facts)
        guard plan.verdict == .invoke || plan.verdict == .hold, let request else { return }
        plan.globalMiddlewareCount = request.isUnmatched ? 0 : settings.globalMiddleware.count
        plan.routeMiddlewareCount = request.match.route.middleware.count
        plan.hasCondition = request.match.route.condition != nil
        plan.isUnmatched = request.isUnmatched
        if request.isUnmatched { form.defaultStatus = 404 }
    }

    private func route(_ head: HTTPRequestHead, _ facts: RequestFacts) -> RequestPlan.Verdict {
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
        if let own, head.method == .GET || head.method == .HEAD {
            plannedAnswer = .endpoint(own)
            return .answer
        }
        guard let match else { return unmatched(head, facts, target, allowed) }
        request = RoutedRequest(head: head, target: target, match: match, extensions: extensions(head))
        guard gateway.link.isConnected else { return .refuse(.coreUnavailable, closes: false) }
        guard gateway.hasMemory() else {
            gateway.memory.refusals += 1
            return .refuse(.buffersFull, closes: false)
        }
        return match.route.departure == nil ? .invoke : .hold
    }

    /// OPTIONS, a method that the path does not have, or a path that nothing has.
    private func unmatched(
        _ head: HTTPRequestHead, _ facts: RequestFacts, _ target: RequestTarget, _ allowed: RouteMethodSet
    ) -> RequestPlan.Verdict {
        if head.method == .OPTIONS {
            plannedAnswer = .options(requestedHeaders: facts.requestedHeaders, allowed: allowed)
            return .answer
        }
        guard allowed.isEmpty else { return .refuse(.methodNotAllowed(allowed), closes: false) }
        guard let fallback = fallbackRequest(head, target) else { return .refuse(.notFound, closes: false) }
        request = fallback
        return gateway.link.isConnected ? .invoke : .refuse(.coreUnavailable, closes: false)
    }
}
