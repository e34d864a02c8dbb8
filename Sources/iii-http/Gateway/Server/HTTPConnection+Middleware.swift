import IIIProtocol
import IIIWorker
import NIOCore

/// The two chains of middleware around the condition (http.md §8.3).
enum MiddlewareChain {
    /// Of the configuration: before the body is read, so that whoever is turned away uploads nothing.
    case global
    /// Of the route: after the condition.
    case route
}

/// What a middleware's return value asks for (http.md §8.2).
enum MiddlewareDecision {
    case proceed
    /// The range of the `response` member; nil when it is missing.
    case respond(Range<Int>?)
    /// Neither: a bug of the middleware.
    case unknown

    init(_ text: UnsafeRawBufferPointer?) {
        var action: Range<Int>?
        var response: Range<Int>?
        if let text {
            JSONMembers.forEach(in: text) { key, value in
                switch key.count {
                case 6 where key.elementsEqual("action".utf8): action = value
                case 8 where key.elementsEqual("response".utf8): response = value
                default: break
                }
            }
        }
        guard let text, let action, let name = JSONText.decodeString(UnsafeRawBufferPointer(rebasing: text[action])) else {
            self = .unknown
            return
        }
        switch name {
        case "continue": self = .proceed
        case "respond": self = .respond(response)
        default: self = .unknown
        }
    }
}

// Middleware: strictly one call after the other, failing closed, all under the request's one deadline.
extension HTTPConnection {
    /// Holds the rest of the request back until global middleware has passed. A call of middleware occupies a place like any other.
    func beginGuarded() {
        isGuarded = true
        admit()
    }

    func callMiddleware(of chain: MiddlewareChain, at index: Int) {
        guard let request else { return }
        let route = request.match.route
        let functions = chain == .global ? settings.globalMiddleware : route.middleware
        guard index < functions.count else {
            switch chain {
            case .global: guardsPassed()
            case .route: callHandler()
            }
            return
        }
        let exchange = exchange
        call = gateway.link.invoke(
            functions[index], namespace: route.namespace, traceparent: facts?.traceparent, baggage: facts?.baggage, metadata: nil,
            writeData: { RequestWriter.writeMiddlewarePayload(request, to: &$0) },
            completion: { [self] outcome in middlewareCompleted(outcome, exchange, chain, index) })
    }

    private func guardsPassed() {
        isGuarded = false
        takeBody()
        processWaitingParts()
        if phase == .collecting { startBodyTimer() }
    }

    private func middlewareCompleted(_ outcome: CallOutcome, _ number: UInt64, _ chain: MiddlewareChain, _ index: Int) {
        guard number == exchange, phase == .calling else { return }
        call = nil
        switch outcome {
        case .failure(let error): functionFailed(error, "middleware")
        case .result(let text):
            switch MiddlewareDecision(text) {
            case .proceed: callMiddleware(of: chain, at: index + 1)
            case .respond(let range):
                let response = range.flatMap { range in text.map { UnsafeRawBufferPointer(rebasing: $0[range]) } } ?? ResponseWriter.empty
                respond(withResult: response, "middleware") { settings.writer.writeMiddlewareResponse($0, form, to: &$1) }
            case .unknown: middlewareWasUnclear(chain, index)
            }
        }
    }

    /// The baseline lets the request pass, so that a buggy guard opens its route; `middleware_mode: strict` does not (§20.22).
    private func middlewareWasUnclear(_ chain: MiddlewareChain, _ index: Int) {
        let functions = chain == .global ? settings.globalMiddleware : request?.match.route.middleware ?? []
        let name = index < functions.count ? functions[index].text : ""
        guard settings.configuration.isMiddlewareStrict else {
            gateway.logger.warning(
                "middleware returned neither continue nor respond; the request goes on", metadata: ["function_id": "\(name)"])
            callMiddleware(of: chain, at: index + 1)
            return
        }
        let errorID = gateway.makeErrorID()
        gateway.logger.error(
            "middleware returned neither continue nor respond; the request was refused (middleware_mode: strict)",
            metadata: ["function_id": "\(name)", "error_id": "\(errorID)"])
        fail(.invalidResponse(errorID: errorID))
    }
}
