import IIIProtocol
import IIITelemetry
import IIIWorker
import NIOCore

// Calls of functions and what their outcomes say (docs/reference/http.md#middleware-and-conditions).
extension HTTPConnection {
    func call(_ callee: Callee, _ number: UInt64) {
        guard let request else { return }
        let route = request.match.route
        let function: FunctionID
        switch callee {
        case .globalMiddleware(let index): function = settings.globalMiddleware[index]
        case .routeMiddleware(let index): function = route.middleware[index]
        case .condition: function = route.condition ?? route.functionID
        case .handler: function = route.functionID
        }
        if callee == .handler, let slot {
            gateway.references.advance(token: gateway.slots.makeToken(slot), deadline: gateway.referenceDeadline())
        }
        let references = gateway.references
        let started = gateway.link.invoke(
            function, namespace: route.namespace, trace: span?.context ?? facts?.trace ?? .none,
            metadata: callee == .handler ? route.metadata : nil,
            writeData: { buffer in
                switch callee {
                case .globalMiddleware, .routeMiddleware: RequestWriter.writeMiddlewarePayload(request, to: &buffer)
                case .condition: RequestWriter.writeConditionPayload(request, to: &buffer)
                case .handler: RequestWriter.writeHandlerPayload(request, references: references, to: &buffer)
                }
            },
            completion: { [self] outcome in callEnded(number, outcome) })
        // A call that has failed at once has brought its outcome already.
        call = started
    }

    /// Nobody waits for the answer any more: the link need not keep its completion, and with it this connection.
    func abandonCall() {
        guard let call else { return }
        self.call = nil
        gateway.link.abandon(call)
    }

    private func callEnded(_ number: UInt64, _ outcome: CallOutcome) {
        guard let callee = machine.handle({ $0.callEnded(number) }) else { return }
        call = nil
        switch outcome {
        case .failure(let error): callFailed(failure(error, callee))
        case .result(let text):
            switch callee {
            case .handler: handlerReturned(text)
            case .condition: guardAnswered(!(text.map { ASCII.trimmed($0).elementsEqual("false".utf8) } ?? false))
            case .globalMiddleware(let index): middlewareReturned(text, settings.globalMiddleware, index)
            case .routeMiddleware(let index): middlewareReturned(text, request?.match.route.middleware ?? [], index)
            }
        }
        perform()
    }

    private func handlerReturned(_ text: UnsafeRawBufferPointer?) {
        guard let text, !text.elementsEqual("null".utf8) else { return machine.handle { $0.handlerReturnedNothing() } }
        if machine.handle({ $0.holdsResult() }) {
            heldResult = Array(text)
        } else if machine.handle({ $0.deliver() }) {
            deliver(text, "handler") { settings.writer.writeResult($0, form, to: &$1) }
        }
    }

    private func callFailed(_ error: GatewayError) { machine.handle { $0.callFailed(error) } }

    private func guardAnswered(_ proceeds: Bool) { machine.handle { $0.guardAnswered(proceeds) } }

    private func delivered(_ error: GatewayError?) { machine.handle { $0.delivered(error) } }

    func deliverHeldResult() {
        guard let heldResult else { return delivered(.streamLost) }
        heldResult.withUnsafeBytes { text in deliver(text, "handler") { settings.writer.writeResult($0, form, to: &$1) } }
    }

    /// Writes what a function returned; `write` returns nil when it cannot be sent.
    private func deliver(
        _ text: UnsafeRawBufferPointer, _ stage: String, _ write: (UnsafeRawBufferPointer, inout ByteBuffer) -> ResponseWriter.Written?
    ) {
        var written: ResponseWriter.Written?
        let isWritten = respond(closes: machine.exchange.isLast) { output in
            written = write(text, &output)
            return written?.status
        }
        if isWritten {
            if written?.ignoresStatus == true {
                gateway.logger.warning(
                    .responseInvalid, "\(stage) returned a status_code that is no integer; it counts as absent",
                    metadata: ["route": "\(request?.match.route.description ?? "")"])
            }
            return delivered(nil)
        }
        let errorID = gateway.makeErrorID()
        gateway.logger.error(
            .responseInvalid, "\(stage) returned a status that cannot be sent",
            metadata: ["error_id": "\(errorID)", "route": "\(request?.match.route.description ?? "")"])
        delivered(.invalidResponse(errorID: errorID))
    }

    private func middlewareReturned(_ text: UnsafeRawBufferPointer?, _ functions: [FunctionID], _ index: Int) {
        switch MiddlewareDecision(text) {
        case .proceed: guardAnswered(true)
        case .respond(let range):
            guard machine.handle({ $0.deliver() }) else { return }
            let response = range.flatMap { range in text.map { UnsafeRawBufferPointer(rebasing: $0[range]) } } ?? ResponseWriter.empty
            deliver(response, "middleware") { settings.writer.writeMiddlewareResponse($0, form, to: &$1) }
        case .unknown: middlewareWasUnclear(index < functions.count ? functions[index].text : "")
        }
    }

    /// The baseline lets the request pass, so that a buggy guard opens its route; `middleware_mode: strict` does not.
    private func middlewareWasUnclear(_ name: String) {
        guard settings.configuration.isMiddlewareStrict else {
            gateway.logger.warning(
                .middlewareUnclear, "middleware returned neither continue nor respond; the request goes on",
                metadata: ["function_id": "\(name)"])
            return guardAnswered(true)
        }
        let errorID = gateway.makeErrorID()
        gateway.logger.error(
            .middlewareUnclear, "middleware returned neither continue nor respond; the request was refused (middleware_mode: strict)",
            metadata: ["function_id": "\(name)", "error_id": "\(errorID)"])
        callFailed(.invalidResponse(errorID: errorID))
    }

    private func failure(_ error: InvocationError, _ callee: Callee) -> GatewayError {
        switch error.code {
        case ErrorCode.disconnected.rawValue: return .coreUnavailable
        case ErrorCode.timeout.rawValue: return .deadlineExceeded
        // The core found the request too large for the function's worker.
        case ErrorCode.payloadTooLarge.rawValue where callee == .handler || callee == .condition: return .payloadTooLarge
        case ErrorCode.functionNotFound.rawValue where callee == .handler:
            if let request, let absence = gateway.absence(of: request.match.route) { return absence }
        case ErrorCode.invalidArguments.rawValue where callee == .handler || callee == .condition:
            gateway.logger.info(
                "function refused its arguments",
                metadata: [
                    "stage": "\(callee.stage)", "route": "\(request?.match.route.description ?? "")",
                    "request_id": "\(form.requestID?.text ?? "")", "exception.message": "\(error.message)",
                ])
            return .refusedArguments(error, settings.configuration)
        default: break
        }
        let errorID = gateway.makeErrorID()
        gateway.logger.error(
            .functionFailed, "function failed",
            metadata: [
                "stage": "\(callee.stage)", "route": "\(request?.match.route.description ?? "")", "error_id": "\(errorID)",
                "request_id": "\(form.requestID?.text ?? "")",
                "exception.type": "\(error.code)", "exception.message": "\(error.message)",
                "exception.stacktrace": "\(error.stacktrace ?? "")",
            ])
        return .failure(error, errorID: errorID, settings.configuration)
    }
}

extension Callee {
    /// For log lines.
    var stage: String {
        switch self {
        case .globalMiddleware, .routeMiddleware: "middleware"
        case .condition: "condition"
        case .handler: "handler"
        }
    }
}

/// What a middleware's return value asks for (docs/reference/http.md#middleware-and-conditions).
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
