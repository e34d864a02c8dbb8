import IIIProtocol
import IIIWorker
import NIOCore
import NIOHTTP1

// One exchange from body to response: admission, condition, handler (http.md §6).
extension HTTPConnection {
    // MARK: Body

    func sendContinueIfExpected() {
        guard let facts, facts.expectsContinue, facts.hasBody, !hasSentContinue, receivedBytes == 0, phase != .streaming else { return }
        hasSentContinue = true
        output.writeStaticString(ResponseWriter.continueLine)
        scheduleFlush()
    }

    func bodyReceived(_ bytes: ByteBuffer) {
        receivedBytes += bytes.readableBytes
        if phase == .answered {
            // The response is out: a moderate rest is discarded so that keep-alive survives, an endless one is cut.
            if receivedBytes > settings.configuration.bodyLimit { beginClosing() } else { settings.idleTimers.start(timer) }
        } else if let limit = currentBodyLimit, receivedBytes > limit {
            bodyLimitExceeded()
        } else {
            makeUpload().received(bytes)
        }
    }

    /// `body_limit` for what is buffered, `stream_body_limit` for what goes through the channel.
    private var currentBodyLimit: Int? {
        facts?.isJSON == true ? settings.configuration.bodyLimit : settings.configuration.streamBodyLimit
    }

    private func bodyLimitExceeded() {
        if phase != .streaming { return fail(.payloadTooLarge, closes: true) }
        cutResponse()
    }

    func endReceived() {
        hasRequestEnded = true
        upload?.completed()
        bodyTimer?.cancel()
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
            } else if settings.configuration.rejectsInvalidJSON {
                fail(.badRequest("the body is not valid JSON"))
                return
            }
        }
        admit()
    }

    // MARK: Invocation

    func admit() {
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
        if isGuarded { callMiddleware(of: .global, at: 0) } else { callCondition() }
    }

    func callCondition() {
        guard let route = request?.match.route else { return }
        guard let condition = route.condition else {
            conditionHolds(route)
            return
        }
        guard let request else { return }
        let exchange = exchange
        call = gateway.link.invoke(
            condition, namespace: route.namespace, traceparent: facts?.traceparent, baggage: facts?.baggage, metadata: nil,
            writeData: { RequestWriter.writeConditionPayload(request, to: &$0) },
            completion: { [self] outcome in conditionCompleted(outcome, exchange) })
    }

    private func conditionCompleted(_ outcome: CallOutcome, _ number: UInt64) {
        guard number == exchange, phase == .calling else { return }
        call = nil
        switch outcome {
        case .failure(let error): functionFailed(error, "condition")
        case .result(let text):
            if let text, ASCII.trimmed(text).elementsEqual("false".utf8) {
                fail(.conditionNotMet)
            } else if let route = request?.match.route {
                conditionHolds(route)
            }
        }
    }

    private func conditionHolds(_ route: Route) {
        if route.middleware.isEmpty { callHandler() } else { callMiddleware(of: .route, at: 0) }
    }

    func callHandler() {
        guard let request else { return }
        let route = request.match.route
        let exchange = exchange
        guard let slot else { return }
        gateway.references.advance(token: gateway.slots.makeToken(slot), deadline: gateway.referenceDeadline())
        let references = gateway.references
        call = gateway.link.invoke(
            route.functionID, namespace: route.namespace, traceparent: facts?.traceparent, baggage: facts?.baggage,
            metadata: route.metadata,
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
            } else if request?.isUnmatched == true, download == nil {
                fail(.notFound)
            } else if isDownloadLost {
                fail(.streamLost)
            } else if download != nil {
                phase = .waiting
            } else {
                phase = .grace
                settings.graceTimers.start(timer)
            }
        }
    }

    func respond(result text: UnsafeRawBufferPointer) {
        respond(withResult: text, "handler") { settings.writer.writeResult($0, form, to: &$1) }
    }

    /// Sends what a function returned; `write` returns the status, or nil when it cannot be sent.
    func respond(
        withResult text: UnsafeRawBufferPointer, _ stage: String, _ write: (UnsafeRawBufferPointer, inout ByteBuffer) -> Int?
    ) {
        prepareResponse()
        if let status = write(text, &output) { responseWritten(status) } else { resultRejected(stage) }
    }

    private func resultRejected(_ stage: String) {
        let errorID = gateway.makeErrorID()
        gateway.logger.error(
            "\(stage) returned a status that cannot be final",
            metadata: ["error_id": "\(errorID)", "route": "\(request?.match.route.description ?? "")"])
        fail(.invalidResponse(errorID: errorID))
    }

    func functionFailed(_ error: InvocationError, _ stage: String) {
        switch error.code {
        case ErrorCode.disconnected.rawValue: fail(.coreUnavailable)
        case ErrorCode.timeout.rawValue: fail(.deadlineExceeded)
        default:
            let errorID = gateway.makeErrorID()
            gateway.logger.error(
                "function failed",
                metadata: [
                    "stage": "\(stage)", "route": "\(request?.match.route.description ?? "")", "error_id": "\(errorID)",
                    "request_id": "\(form.requestID?.text ?? "")",
                    "exception.type": "\(error.code)", "exception.message": "\(error.message)",
                    "exception.stacktrace": "\(error.stacktrace ?? "")",
                ])
            fail(.failure(error, errorID: errorID, settings.configuration))
        }
    }

    /// Nobody waits for the answer any more: the link need not keep its completion, and with it this connection.
    func abandonCall() {
        guard let call else { return }
        self.call = nil
        gateway.link.abandon(call)
    }

    func requestTimeExpired() { fail(.deadlineExceeded, closes: phase == .collecting) }

    func graceTimeExpired() { respond(204) { settings.writer.writeNoContent(form, to: &$0) } }

    // MARK: Response

    func fail(_ error: GatewayError, closes: Bool = false) {
        if closes { form.closes = true }
        respond(error.status) { settings.writer.writeError(error, form, to: &$0) }
    }

    func respond(_ status: Int, _ write: (inout ByteBuffer) -> Void) {
        prepareResponse()
        write(&output)
        responseWritten(status)
    }

    func prepareResponse() {
        gateway.date.update(now: HTTPDate.now().seconds)
        responseStart = output.writerIndex
        if gateway.isDraining { form.closes = true }
        guard !hasRequestEnded, let facts else { return }
        // Nobody knows whether a client that still waits for `100 Continue` will send its body after all.
        if facts.expectsContinue, facts.hasBody, !hasSentContinue { form.closes = true }
        if let length = facts.contentLength, length - receivedBytes > settings.configuration.bodyLimit { form.closes = true }
    }

    func responseWritten(_ status: Int) {
        let wasQueued = phase == .queued
        if accessRecord != nil { logAccess(status, byteCount: form.isStreamed ? streamedBytes : output.writerIndex - responseStart) }
        phase = .answered
        isGuarded = false
        exchange &+= 1
        abandonCall()
        request = nil
        receivedBytes = 0
        timer.cancel()
        bodyTimer?.cancel()
        releaseChannels()
        scheduleFlush()
        if wasQueued { gateway.withdraw(self) } else { givePlaceBack() }
        if hasRequestEnded {
            finishExchange()
        } else if form.closes {
            beginClosing()
        } else {
            settings.idleTimers.start(timer)
            // What came of the body while it was held back is discarded like the rest.
            processWaitingParts()
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
