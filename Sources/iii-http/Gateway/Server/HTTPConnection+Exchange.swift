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
        receivedBytes = 0
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
        // Only JSON is part of the payload; other bodies are asked for when the function opens their channel (§7.2).
        if facts.isJSON {
            phase = .collecting
            sendContinueIfExpected()
        } else {
            admit()
        }
    }

    func sendContinueIfExpected() {
        guard let facts, facts.expectsContinue, facts.hasBody, !hasSentContinue, receivedBytes == 0 else { return }
        hasSentContinue = true
        output.writeStaticString(ResponseWriter.continueLine)
        scheduleFlush()
    }

    func bodyReceived(_ bytes: ByteBuffer) {
        receivedBytes += bytes.readableBytes
        if phase == .answered {
            // The response is out: a moderate rest is discarded so that keep-alive survives, an endless one is cut.
            if receivedBytes > gateway.configuration.bodyLimit { beginClosing() } else { gateway.idleTimers.start(timer) }
        } else if phase == .collecting, receivedBytes > gateway.configuration.bodyLimit {
            fail(.payloadTooLarge, closes: true)
        } else {
            makeUpload().received(bytes)
        }
    }

    func endReceived() {
        hasRequestEnded = true
        upload?.completed()
        switch phase {
        case .collecting: bodyCompleted()
        case .answered: finishExchange()
        default: break
        }
    }

    private func bodyCompleted() {
        if let body = upload?.waiting {
            if body.withUnsafeReadableBytes({ JSONText.isValid($0) }) {
                request?.body = body
            } else if gateway.configuration.rejectsInvalidJSON {
                fail(.badRequest("the body is not valid JSON"))
                return
            }
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
        guard let slot else { return }
        gateway.references.advance(token: gateway.slots.makeToken(slot), deadline: gateway.referenceDeadline())
        let references = gateway.references
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
            if let text, !text.elementsEqual("null".utf8) {
                if !hold(text) { respond(result: text) }
            } else if isDownloadLost {
                fail(.streamLost)
            } else if download != nil {
                phase = .waiting
            } else {
                phase = .grace
                gateway.graceTimers.start(timer)
            }
        }
    }

    func respond(result text: UnsafeRawBufferPointer) {
        prepareResponse()
        if gateway.writer.writeResult(text, form, to: &output) { responseWritten() } else { resultRejected() }
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

    func respond(_ write: (inout ByteBuffer) -> Void) {
        prepareResponse()
        write(&output)
        responseWritten()
    }

    func prepareResponse() {
        gateway.writer.date.update(now: HTTPDate.now().seconds)
        if gateway.isDraining { form.closes = true }
        guard !hasRequestEnded, let facts else { return }
        // Nobody knows whether a client that still waits for `100 Continue` will send its body after all.
        if facts.expectsContinue, facts.hasBody, !hasSentContinue { form.closes = true }
        if let length = facts.contentLength, length - receivedBytes > gateway.configuration.bodyLimit { form.closes = true }
    }

    func responseWritten() {
        let wasQueued = phase == .queued
        phase = .answered
        exchange &+= 1
        request = nil
        receivedBytes = 0
        timer.cancel()
        releaseChannels()
        scheduleFlush()
        if wasQueued { gateway.withdraw(self) } else { givePlaceBack() }
        if hasRequestEnded {
            finishExchange()
        } else if form.closes {
            beginClosing()
        } else {
            gateway.idleTimers.start(timer)
            resumeReading()
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
