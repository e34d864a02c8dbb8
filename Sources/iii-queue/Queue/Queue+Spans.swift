import IIIProtocol
import IIITelemetry
import IIIWorker

/// What traces show of queues (docs/reference/queue.md#spans).
extension Queue {
    private func describe(_ span: TraceSpan, _ queue: String, _ operation: String) {
        span.set("queue", .string(queue))
        span.set("messaging.system", "iii-queue")
        span.set("messaging.destination.name", .string(queue))
        span.set("messaging.operation.type", .string(operation))
    }

    /// Around storing a message; what is stored carries it on, so that the delivery is its child.
    func enqueueSpan(_ queue: String, _ function: String, parent: TraceContext) -> TraceSpan {
        let span = context.telemetry.span("enqueue \(function) → \(queue)", .producer, parent: parent)
        span.set("function_id", .string(function))
        describe(span, queue, "send")
        return span
    }

    func publishSpan(_ topic: String, parent: TraceContext) -> TraceSpan {
        let span = context.telemetry.span("publish \(topic)", .producer, parent: parent)
        describe(span, topic, "send")
        return span
    }

    /// Around one attempt, below what brought the message in, with a link to the attempt before.
    func deliverySpan(_ key: QueueKey, _ lease: Lease) -> TraceSpan {
        let message = lease.message.message
        let parent = TraceContext(traceparent: message.traceparent, baggage: message.baggage)
        let span =
            switch key {
            case .named(let name): context.telemetry.span("fn_queue \(name)", .consumer, parent: parent)
            case .subscription: context.telemetry.span("queue \(key)", .consumer, parent: parent)
            }
        guard span.isRecording else { return span }
        span.set("function_id", .string(message.target.id))
        span.set("messaging.message.id", .string(message.id))
        span.set("delivery_id", .integer(Int64(lease.id)))
        span.set("attempt", .integer(Int64(lease.message.progress.attempts)))
        describe(span, Self.name(key), "process")
        span.link(earlierAttempts[message.id])
        if earlierAttempts.count >= Self.maximumEarlierAttempts { earlierAttempts = [:] }
        earlierAttempts[message.id] = span.context.span
        return span
    }

    /// Beyond, links are left out.
    private static let maximumEarlierAttempts = 10_000

    func end(_ span: TraceSpan, _ outcome: OutboundCalls.Outcome) {
        switch outcome {
        case .completed: span.end(.ok)
        case .skipped:
            span.set("skipped", true)
            span.end(.ok)
        case .failed(let error), .conditionFailed(let error): span.fail(error)
        }
    }
}
