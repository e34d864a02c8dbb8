import IIIProtocol
import IIIWorker

/// What brings messages in (docs/reference/queue.md#putting-messages-in).
extension Queue {
    func registerEnqueuing(on link: WorkerLink) {
        link.registerFunction("engine::queue::enqueue", description: "Takes the messages of the enqueue action") { [self] call in
            answer(call) { () throws(InvocationError) in try enqueueAction(call) }
        }
        link.registerFunction(
            "iii::queue::enqueue", description: "Puts a message into a queue, with options", requestFormat: QueueSchemas.enqueue
        ) { [self] call in answer(call) { () throws(InvocationError) in try enqueueFunction(call) } }
        link.registerFunction(
            "iii::durable::publish", description: "Publishes to the durable subscribers of a topic", requestFormat: QueueSchemas.publish
        ) { [self] call in answer(call) { () throws(InvocationError) in try publish(call) } }
    }

    /// For functions that answer later by themselves, unless they throw.
    func answer(_ call: IncomingCall, _ body: () throws(InvocationError) -> Void) {
        do throws(InvocationError) { try body() } catch { call.fail(error) }
    }

    private func enqueueAction(_ call: IncomingCall) throws(InvocationError) {
        let input = try FunctionInput(call.payload, function: "engine::queue::enqueue")
        var request = EnqueueRequest(
            queue: try input.text("queue"),
            target: TargetFunction(try input.text("function_id"), namespace: try input.optionalText("namespace")),
            payload: input.raw("data") ?? Array("null".utf8))
        request.receipt = try input.optionalText("messageReceiptId")
        request.traceparent = try input.optionalText("traceparent")
        request.baggage = try input.optionalText("baggage")
        enqueue(request, call) { ["messageReceiptId": .string($0.id)] }
    }

    private static let enqueueMembers: Set<String> = [
        "queue", "function_id", "data", "namespace", "delay_ms", "run_at", "priority", "dedupe_id", "group", "ttl_ms", "metadata",
        "_caller_worker_id",
    ]

    private func enqueueFunction(_ call: IncomingCall) throws(InvocationError) {
        let input = try FunctionInput(call.payload, function: "iii::queue::enqueue")
        try input.allow(only: Self.enqueueMembers)
        guard let data = input.raw("data") else { throw input.invalid("missing field `data`") }
        var request = EnqueueRequest(
            queue: try input.text("queue"),
            target: TargetFunction(try input.text("function_id"), namespace: try input.optionalText("namespace")), payload: data)
        request.traceparent = call.trace.traceparent
        request.baggage = call.trace.baggage
        request.metadata = input["metadata"] == nil ? nil : input.raw("metadata")
        request.delay = try input.integer("delay_ms", in: 0...Int64(QueueOptions.maximumDelay))
        request.runAt = try input.integer("run_at", in: 0...253_402_300_799_999)
        request.priority = try input.integer("priority", in: 0...255)
        request.deduplicationKey = try input.optionalText("dedupe_id")
        request.group = try input.optionalText("group")
        request.ttl = try input.integer("ttl_ms", in: 1...Int64(QueueOptions.maximumDelay))
        enqueue(request, call) { answer in
            answer.isDuplicate ? ["messageReceiptId": .string(answer.id), "duplicate": true] : ["messageReceiptId": .string(answer.id)]
        }
    }

    private func enqueue(_ request: EnqueueRequest, _ call: IncomingCall, _ result: @escaping (EnqueueAnswer) -> JSONValue) {
        let span = enqueueSpan(
            request.queue, request.target.id, parent: TraceContext(traceparent: request.traceparent, baggage: request.baggage))
        var request = request
        if span.isRecording { request.traceparent = span.context.traceparent }
        let message: NewMessage
        do throws(InvocationError) {
            guard let options = options(ofNamed: request.queue) else {
                throw InvocationError(.enqueueError, "Queue '\(request.queue)' not found")
            }
            // It is called later, with this process' privileges.
            do throws(InvocationError) {
                _ = try TriggerTarget(function: request.target.id)
            } catch { throw InvocationError(.enqueueError, error.message) }
            message = try Acceptance(queue: request.queue, options: options).message(
                request, now: clock.now, wallNow: clock.wallNow, id: newID())
            if let missing = abilities?.missing(for: message) { throw InvocationError(.enqueueError, missing) }
        } catch {
            span.fail(error)
            return call.fail(error)
        }
        accept([message]) { outcome in
            switch outcome {
            case .success(let answers):
                span.end(.ok)
                if let first = answers.first { call.reply(result(first)) }
            case .failure(let error):
                span.fail(Self.enqueueError(error))
                call.fail(Self.enqueueError(error))
            }
        }
    }

    static func enqueueError(_ error: QueueStoreError) -> InvocationError {
        InvocationError(.enqueueError, error.message + (error.isRetryable ? "; try again later" : ""))
    }

    private func publish(_ call: IncomingCall) throws(InvocationError) {
        let input = try Publication(call.payload, function: "iii::durable::publish")
        guard let store else { throw InvocationError(.publishFailed, "iii-queue is starting; try again later") }
        for subscription in subscribers.subscriptions(to: input.topic) {
            let limit = options(.subscription(subscription)).maxPayloadBytes
            guard input.data.count <= limit else {
                throw InvocationError(
                    .publishFailed, "a payload may have \(limit) bytes (max_payload_bytes), this one has \(input.data.count)")
            }
        }
        let span = publishSpan(input.topic, parent: call.trace)
        let publication = TopicMessage(
            topic: input.topic, payload: input.data, traceparent: span.context.traceparent, baggage: call.trace.baggage,
            createdAt: clock.now)
        var copies: [NewMessage] = []
        store.publish(publication) { [self] in
            entered(copies)
            copies = subscribers.subscriptions(to: input.topic).map { copy(publication, for: $0) }
            entering(copies)
            return copies
        } completion: { [self] result in
            entered(copies)
            switch result {
            case .success(let count):
                if count == 0 { unheard += 1 }
                accepted(copies)
                span.end(.ok)
                call.reply(nil)
            case .failure(let error):
                let failure = InvocationError(.publishFailed, error.message + (error.isRetryable ? "; try again later" : ""))
                span.fail(failure)
                call.fail(failure)
            }
        }
    }

    private func copy(_ publication: TopicMessage, for subscription: QueueKey.Subscription) -> NewMessage {
        let options = options(.subscription(subscription))
        var message = QueueMessage(
            id: newID(), target: TargetFunction(subscription.function, namespace: subscription.namespace), payload: publication.payload,
            // One group: strictly one after the other.
            group: options.isSerial ? "*" : nil, createdAt: publication.createdAt, maxAttempts: options.maxAttempts,
            backoffMilliseconds: options.backoffMilliseconds)
        message.traceparent = publication.traceparent
        message.baggage = publication.baggage
        return NewMessage(.subscription(subscription), message, due: options.delay > 0 ? publication.createdAt + options.delay : nil)
    }
}
