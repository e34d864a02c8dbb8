import IIIProtocol
import IIIWorker

/// What a caller asks for beside the payload.
struct EnqueueRequest {
    var queue: String
    var target: TargetFunction
    /// One JSON value.
    var payload: [UInt8]
    /// The receipt, where the engine has made one.
    var receipt: String?
    var traceparent: String?
    var baggage: String?
    var metadata: [UInt8]?
    var delay: Int?
    /// Milliseconds since 1970, as the clock on the wall has it.
    var runAt: Int?
    var priority: Int?
    var deduplicationKey: String?
    var group: String?
    var ttl: Int?
}

/// Turns a request into the message that is stored, or says why it cannot be. Pure.
struct Acceptance {
    let queue: String
    let options: QueueOptions

    /// `now` and `wallNow` in milliseconds; `id` is the receipt of a message that brings none.
    func message(_ request: EnqueueRequest, now: Int, wallNow: Int, id: String) throws(InvocationError) -> NewMessage {
        guard request.payload.count <= options.maxPayloadBytes else {
            throw refusal(
                "Queue '\(queue)' takes payloads of up to \(options.maxPayloadBytes) bytes (max_payload_bytes), this one has "
                    + "\(request.payload.count)")
        }
        var message = QueueMessage(
            id: request.receipt ?? id, target: request.target, payload: request.payload, createdAt: now, maxAttempts: options.maxAttempts,
            backoffMilliseconds: options.backoffMilliseconds)
        message.metadata = request.metadata
        message.traceparent = request.traceparent
        message.baggage = request.baggage
        message.group = try group(request)
        message.priority = try priority(request)
        message.deduplicationKey = try deduplicationKey(request)
        var due: Int?
        if let delay = request.delay ?? request.runAt.map({ max(0, $0 - wallNow) }) ?? (options.delay > 0 ? options.delay : nil), delay > 0
        {
            guard delay <= QueueOptions.maximumDelay else {
                throw refusal("Queue '\(queue)': a message can be delayed by 365 days at the most")
            }
            due = now + delay
        }
        if let ttl = request.ttl ?? (options.maxAge > 0 ? options.maxAge : nil) { message.expiresAt = (due ?? now) + ttl }
        return NewMessage(
            .named(queue), message, due: due, deduplicationWindow: message.deduplicationKey == nil ? 0 : options.deduplicationWindow,
            maxDepth: options.maxDepth)
    }

    private func refusal(_ text: String) -> InvocationError { InvocationError(.enqueueError, text) }

    private func member(_ name: String, of payload: [UInt8]) -> [UInt8]? {
        payload.withUnsafeBytes { bytes in JSONMembers(bytes)?.ranges[name].map { Array(bytes[$0]) } }
    }

    /// Canonical JSON: `1` and `"1"` are different groups, `1` and ` 1` are not.
    private func group(_ request: EnqueueRequest) throws(InvocationError) -> String? {
        guard let field = options.groupField else { return nil }
        if let group = request.group { return JSONValue.string(group).text }
        guard let raw = member(field, of: request.payload), let value = try? JSONValue(parsing: raw) else {
            throw refusal("FIFO queue '\(queue)' requires field '\(field)' in data, but it was not found")
        }
        guard !value.isNull else { throw refusal("FIFO queue '\(queue)': field '\(field)' must not be null") }
        return value.text
    }

    private func priority(_ request: EnqueueRequest) throws(InvocationError) -> Int {
        if let priority = request.priority { return min(priority, options.maxPriority) }
        guard let field = options.priorityField, let raw = member(field, of: request.payload), let value = try? JSONValue(parsing: raw),
            !value.isNull
        else { return 0 }
        guard let number = value.integer, number >= 0 else {
            throw refusal("Queue '\(queue)': field '\(field)' must be a whole number from 0 on, because it is the priority")
        }
        return min(Int(clamping: number), options.maxPriority)
    }

    private func deduplicationKey(_ request: EnqueueRequest) throws(InvocationError) -> String? {
        if let key = request.deduplicationKey { return "id:" + key }
        guard let field = options.deduplicationField else { return nil }
        guard let raw = member(field, of: request.payload), let value = try? JSONValue(parsing: raw), !value.isNull else {
            throw refusal("Queue '\(queue)' requires field '\(field)' in data, because it is the idempotency key")
        }
        return value.string.map { "id:" + $0 } ?? "json:" + value.text
    }
}
