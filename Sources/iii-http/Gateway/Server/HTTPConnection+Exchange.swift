import IIIProtocol
import IIIWorker
import NIOCore
import NIOHTTP1

// One exchange from head to response: routing, body, admission, condition, handler (http.md §6).
extension HTTPConnection {
    // MARK: Request

    func begin(_ head: HTTPRequestHead) {
        exchange &+= 1
        hasRequestEnded = false
        hasSentContinue = false
        discardedBytes = 0
        timer.cancel()
        form = ResponseWriter.Form(
            isHead: head.method == .HEAD, isHTTP10: head.version.minor == 0, closes: !head.isKeepAlive || head.method == .CONNECT)
        do {
            let facts = try RequestFacts(head)
            self.facts = facts
            form.origin = facts.origin
            // The decoder stops after a request that asks for an upgrade, so this connection cannot carry another.
            if facts.hasUpgrade { form.closes = true }
            route(head, facts)
        } catch {
            fail(error, closes: true)
        }
    }

    private func route(_ head: HTTPRequestHead, _ facts: RequestFacts) {
        var uri = head.uri
        let (target, match, allowed) = uri.withUTF8 { text in
            let bytes = UnsafeRawBufferPointer(text)
            let target = RequestTarget(bytes)
            let path = UnsafeRawBufferPointer(rebasing: bytes[target.path])
            let isAnsweredHere = head.method == .OPTIONS && (facts.isPreflight || target.isAsterisk)
            let match = isAnsweredHere ? nil : RouteMethod(head.method).flatMap { gateway.routes.match($0, path) }
            let allowed = match == nil && !target.isAsterisk ? gateway.routes.methods(for: path) : RouteMethodSet()
            return (target, match, allowed)
        }
        guard let match else {
            if head.method == .OPTIONS {
                respond { gateway.writer.writeOptions(form, requestedHeaders: facts.requestedHeaders, allow: allowed, to: &$0) }
            } else {
                fail(allowed.isEmpty ? .notFound : .methodNotAllowed(allowed))
            }
            return
        }
        guard gateway.link.isConnected else {
            fail(.coreUnavailable)
            return
        }
        if facts.isJSON, let length = facts.contentLength, length > gateway.configuration.bodyLimit {
            fail(.payloadTooLarge, closes: true)
            return
        }
        request = RoutedRequest(head: head, target: target, match: match)
        gateway.requestTimers.start(timer)
        if facts.expectsContinue, facts.hasBody {
            hasSentContinue = true
            output.writeStaticString(ResponseWriter.continueLine)
            scheduleFlush()
        }
        // Only JSON is part of the payload; other bodies belong to the request-body channel and are not waited for (§7.2).
        if facts.isJSON { phase = .collecting } else { admit() }
    }

    func bodyReceived(_ bytes: ByteBuffer) {
        guard phase == .collecting else {
            discardedBytes += bytes.readableBytes
            guard phase == .answered else { return }
            // The response is out: a moderate rest is discarded so that keep-alive survives, an endless one is cut.
            if discardedBytes > gateway.configuration.bodyLimit { beginClosing() } else { gateway.idleTimers.start(timer) }
            return
        }
        let collected = request?.body?.readableBytes ?? 0
        guard collected + bytes.readableBytes <= gateway.configuration.bodyLimit else {
            fail(.payloadTooLarge, closes: true)
            return
        }
        if collected == 0 { request?.body = bytes } else { request?.body?.writeImmutableBuffer(bytes) }
    }

    func endReceived() {
        hasRequestEnded = true
        switch phase {
        case .collecting: bodyCompleted()
        case .answered: finishExchange()
        default: break
        }
    }

    private func bodyCompleted() {
        if let body = request?.body, !body.withUnsafeReadableBytes({ JSONText.isValid($0) }) {
            if gateway.configuration.rejectsInvalidJSON {
                fail(.badRequest("the body is not valid JSON"))
                return
            }
            request?.body = nil
        }
        admit()
    }

    // MARK: Invocation

    private func admit() {
        switch gateway.acquirePlace(self) {
        case .admitted: placeGranted()
        case .queued: phase = .queued
        case .rejected: fail(.overloaded)
        }
    }

    /// The concurrency limit lets this request go on.
    func placeGranted() {
        holdsPlace = true
        phase = .calling
        guard let request else { return }
        let route = request.match.route
        guard let condition = route.condition else {
            callHandler()
            return
        }
        let exchange = exchange
        call = gateway.link.invoke(
            condition, traceparent: facts?.traceparent, baggage: facts?.baggage, metadata: nil,
            writeData: { RequestWriter.writeConditionPayload(request, to: &$0) },
            completion: { [self] outcome in conditionCompleted(outcome, exchange) })
    }

    private func conditionCompleted(_ outcome: CallOutcome, _ number: UInt64) {
        guard number == exchange, phase == .calling else { return }
        call = nil
        switch outcome {
        case .failure(let error): functionFailed(error, "condition")
        case .result(let text):
            if let text, ASCII.trimmed(text).elementsEqual("false".utf8) { fail(.conditionNotMet) } else { callHandler() }
        }
    }

    private func callHandler() {
        guard let request else { return }
        let route = request.match.route
        let exchange = exchange
        gateway.references.advance(deadline: gateway.referenceDeadline())
        let references = gateway.references
        // The payload is written during the call; the body need not be kept beside the frame that carries it.
        self.request?.body = nil
        call = gateway.link.invoke(
            route.functionID, traceparent: facts?.traceparent, baggage: facts?.baggage, metadata: route.metadata,
            writeData: { RequestWriter.writeHandlerPayload(request, references: references, to: &$0) },
            completion: { [self] outcome in handlerCompleted(outcome, exchange) })
    }

    private func handlerCompleted(_ outcome: CallOutcome, _ number: UInt64) {
        guard number == exchange, phase == .calling else { return }
        call = nil
        switch outcome {
        case .failure(let error): functionFailed(error, "handler")
        case .result(let text):
            guard let text, !text.elementsEqual("null".utf8) else {
                phase = .grace
                gateway.graceTimers.start(timer)
                return
            }
            prepareResponse()
            if gateway.writer.writeResult(text, form, to: &output) { responseWritten() } else { resultRejected() }
        }
    }

    private func resultRejected() {
        let errorID = gateway.makeErrorID()
        gateway.logger.error(
            "handler returned a status that cannot be final",
            metadata: ["error_id": "\(errorID)", "route": "\(request?.match.route.description ?? "")"])
        fail(.invalidResponse(errorID: errorID))
    }

    private func functionFailed(_ error: InvocationError, _ stage: String) {
        switch error.code {
        case ErrorCode.disconnected.rawValue: fail(.coreUnavailable)
        case ErrorCode.timeout.rawValue: fail(.deadlineExceeded)
        default:
            let errorID = gateway.makeErrorID()
            gateway.logger.error(
                "function failed",
                metadata: [
                    "stage": "\(stage)", "route": "\(request?.match.route.description ?? "")", "error_id": "\(errorID)",
                    "exception.type": "\(error.code)", "exception.message": "\(error.message)",
                    "exception.stacktrace": "\(error.stacktrace ?? "")",
                ])
            fail(.functionFailed(code: error.code, message: error.message, errorID: errorID))
        }
    }

    func requestTimeExpired() {
        abandonCall()
        fail(.deadlineExceeded, closes: phase == .collecting)
    }

    func graceTimeExpired() { respond { gateway.writer.writeNoContent(form, to: &$0) } }

    // MARK: Response

    func fail(_ error: GatewayError, closes: Bool = false) {
        if closes { form.closes = true }
        respond { gateway.writer.writeError(error, form, to: &$0) }
    }

    private func respond(_ write: (inout ByteBuffer) -> Void) {
        prepareResponse()
        write(&output)
        responseWritten()
    }

    private func prepareResponse() {
        gateway.writer.date.update(now: HTTPDate.now().seconds)
        if gateway.isDraining { form.closes = true }
        guard !hasRequestEnded, let facts else { return }
        // Nobody knows whether a client that still waits for `100 Continue` will send its body after all.
        if facts.expectsContinue, facts.hasBody, !hasSentContinue { form.closes = true }
        if let length = facts.contentLength, length - discardedBytes > gateway.configuration.bodyLimit { form.closes = true }
    }

    private func responseWritten() {
        let wasQueued = phase == .queued
        phase = .answered
        exchange &+= 1
        request = nil
        discardedBytes = 0
        timer.cancel()
        scheduleFlush()
        if wasQueued { gateway.withdraw(self) } else { givePlaceBack() }
        if hasRequestEnded {
            finishExchange()
        } else if form.closes {
            beginClosing()
        } else {
            gateway.idleTimers.start(timer)
        }
    }

    /// Request and response are both complete.
    private func finishExchange() {
        if form.closes {
            beginClosing()
        } else {
            becomeIdle()
            processWaitingParts()
        }
    }

    func givePlaceBack() {
        if holdsPlace {
            holdsPlace = false
            gateway.releasePlace()
        }
    }
}
