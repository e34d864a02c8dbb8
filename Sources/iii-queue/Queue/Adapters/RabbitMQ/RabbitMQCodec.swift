import IIIAMQP
import IIIProtocol
import IIIWorker

/// A message of a queue as a message on the broker, and back. Pure.
///
/// Named queues and topics look as the reference writes them: the payload itself with headers, or an object around it. What the reference
/// has no place for is in headers of ours, which it passes over.
enum RabbitMQCodec {
    enum Header {
        static let copy = AMQPPublisher.copyHeader
        static let function = "function_id"
        static let namespace = "namespace"
        static let traceparent = "traceparent"
        static let baggage = "baggage"
        /// Attempts so far: of named queues, of topics.
        static let attempt = "x-attempt"
        static let topicAttempts = "x-iii-attempts"
        static let job = "x-iii-job-id"
        static let maxAttempts = "x-iii-max-attempts"
        static let createdAt = "x-iii-created-at"
        static let expiresAt = "x-iii-expires-at"
        static let backoff = "x-iii-backoff-ms"
        static let group = "x-iii-group"
        static let metadata = "x-iii-metadata"
        static let crashes = "x-iii-crashes"
        static let failures = "x-iii-failures"
        static let failedAt = "x-iii-failed-at"
        /// Of messages that wait: until when, since when in this queue, and where they go then.
        static let due = "x-iii-due"
        static let entered = "x-iii-entered"
        static let destination = "x-iii-destination"
    }

    /// Failures beyond this are left out, the oldest first: they travel in one frame with everything else.
    static let maximumFailureBytes = 48 << 10

    // MARK: Names of copies

    /// The name of the copy that follows `copy` wherever it goes next: whoever does the same step twice publishes the same copy twice.
    static func successor(of copy: String?, unique: () -> String) -> String {
        guard let copy else { return unique() }
        guard let mark = copy.lastIndex(of: "#"), let number = Int(copy[copy.index(after: mark)...]) else { return copy + "#1" }
        return "\(copy[..<mark])#\(number + 1)"
    }

    // MARK: Writing

    /// A message as it stands in its main queue.
    static func encode(_ message: QueueMessage, _ progress: MessageProgress, for queue: QueueKey, copy: String) -> AMQPMessage {
        var headers: [String: AMQPValue] = [Header.copy: .text(copy), Header.createdAt: .integer(message.createdAt)]
        headers[Header.maxAttempts] = .integer(message.maxAttempts)
        headers[Header.backoff] = .integer(message.backoffMilliseconds)
        headers[Header.traceparent] = message.traceparent.map { .text($0) }
        headers[Header.baggage] = message.baggage.map { .text($0) }
        headers[Header.metadata] = message.metadata.map { .text(String(decoding: $0, as: UTF8.self)) }
        headers[Header.group] = message.group.map { .text($0) }
        headers[Header.expiresAt] = message.expiresAt.map { .integer($0) }
        if progress.crashes > 0 { headers[Header.crashes] = .integer(progress.crashes) }
        if !progress.failures.isEmpty { headers[Header.failures] = .text(failures(progress)) }
        switch queue {
        case .named:
            headers[Header.function] = .text(message.target.id)
            headers[Header.namespace] = message.target.namespace.map { .text($0) }
            if progress.attempts > 0 { headers[Header.attempt] = .integer(progress.attempts) }
            return AMQPMessage(message.payload, messageID: message.id, headers: headers)
        case .subscription(let subscription):
            headers[Header.job] = .text(message.id)
            headers[Header.topicAttempts] = .integer(progress.attempts)
            return AMQPMessage(
                envelope(
                    id: message.id, topic: subscription.topic, payload: message.payload, attempts: progress.attempts,
                    maxAttempts: message.maxAttempts, createdAt: message.createdAt, message.traceparent, message.baggage),
                messageID: message.id, headers: headers)
        }
    }

    /// What was published to a topic, for all its subscriptions.
    static func encode(_ publication: TopicMessage, id: String, copy: String) -> AMQPMessage {
        var headers: [String: AMQPValue] = [
            Header.copy: .text(copy), Header.job: .text(id), Header.topicAttempts: .integer(0),
            Header.createdAt: .integer(publication.createdAt),
        ]
        headers[Header.traceparent] = publication.traceparent.map { .text($0) }
        headers[Header.baggage] = publication.baggage.map { .text($0) }
        return AMQPMessage(
            envelope(
                id: id, topic: publication.topic, payload: publication.payload, attempts: 0, maxAttempts: 3,
                createdAt: publication.createdAt, publication.traceparent, publication.baggage), messageID: id, headers: headers)
    }

    private static func envelope(
        id: String, topic: String, payload: [UInt8], attempts: Int, maxAttempts: Int, createdAt: Int, _ traceparent: String?,
        _ baggage: String?
    ) -> [UInt8] {
        var body = JSONObjectText()
        body.set("id", .string(id))
        body.set("topic", .string(topic))
        body.set("data", raw: payload)
        body.set("attempts_made", JSONValue(attempts))
        body.set("max_attempts", JSONValue(maxAttempts))
        body.set("created_at", JSONValue(createdAt))
        body.set("traceparent", JSONValue(traceparent))
        body.set("baggage", JSONValue(baggage))
        return body.finish()
    }

    private static func failures(_ progress: MessageProgress) -> String {
        var rest = progress.failures[...]
        while true {
            let text = FailureText.encode(Array(rest))
            if text.utf8.count <= maximumFailureBytes || rest.count <= 1 { return text }
            rest = rest.dropFirst()
        }
    }

    /// A dead message as it stands among the dead letters.
    static func encodeDead(
        _ message: QueueMessage, _ progress: MessageProgress, for queue: QueueKey, copy: String, failedAt: Int
    ) -> AMQPMessage {
        var dead = encode(message, progress, for: queue, copy: copy)
        dead.headers[Header.failedAt] = .integer(failedAt)
        guard case .subscription = queue else { return dead }
        var body = JSONObjectText()
        body.set("job", raw: dead.body)
        body.set("error", .string(progress.failures.last?.text ?? "unknown"))
        body.set("exhausted_at", JSONValue(failedAt))
        dead.body = body.finish()
        return dead
    }

    // MARK: Reading

    /// What stands in a main queue; throws why it cannot be delivered. `now` for messages that say nothing of when they were made.
    static func decode(
        _ raw: AMQPMessage, of queue: QueueKey, _ options: QueueOptions, now: Int, unique: () -> String
    ) throws(AMQPError) -> (message: QueueMessage, progress: MessageProgress) {
        var progress = MessageProgress()
        progress.crashes = raw.headers[Header.crashes]?.integer ?? 0
        progress.failures = raw.headers[Header.failures]?.text.map(FailureText.decode) ?? []
        let target: TargetFunction
        var (payload, id) = (raw.body, raw.messageID)
        var createdAt = raw.headers[Header.createdAt]?.integer
        var (traceparent, baggage) = (raw.headers[Header.traceparent]?.text, raw.headers[Header.baggage]?.text)
        switch queue {
        case .named:
            guard let function = raw.headers[Header.function]?.text, !function.isEmpty else {
                throw AMQPError(.invalid, "the header 'function_id' is missing")
            }
            guard raw.body.withUnsafeBytes({ JSONText.isValid($0) }) else { throw AMQPError(.invalid, "the body is no JSON") }
            target = TargetFunction(function, namespace: raw.headers[Header.namespace]?.text)
            progress.attempts = raw.headers[Header.attempt]?.integer ?? 0
        case .subscription(let subscription):
            target = TargetFunction(subscription.function, namespace: subscription.namespace)
            let members = try envelope(raw.body)
            payload = members.payload
            id = raw.headers[Header.job]?.text ?? members.json["id"]?.string ?? id
            createdAt = createdAt ?? members.json["created_at"]?.integer.flatMap { Int(exactly: $0) }
            progress.attempts = raw.headers[Header.topicAttempts]?.integer ?? Int(members.json["attempts_made"]?.integer ?? 0)
            traceparent = traceparent ?? members.json["traceparent"]?.string
            baggage = baggage ?? members.json["baggage"]?.string
        }
        var message = QueueMessage(
            id: id ?? unique(), target: target, payload: payload, group: group(raw, payload, options), createdAt: createdAt ?? now,
            // A topic's copies are made by the broker: how often each subscription tries is its own.
            maxAttempts: isNamed(queue) ? raw.headers[Header.maxAttempts]?.integer ?? options.maxAttempts : options.maxAttempts,
            backoffMilliseconds: isNamed(queue)
                ? raw.headers[Header.backoff]?.integer ?? options.backoffMilliseconds
                : options.backoffMilliseconds)
        message.traceparent = traceparent
        message.baggage = baggage
        message.metadata = raw.headers[Header.metadata]?.text.map { Array($0.utf8) }
        message.expiresAt = raw.headers[Header.expiresAt]?.integer
        return (message, progress)
    }

    private static func isNamed(_ queue: QueueKey) -> Bool { if case .named = queue { true } else { false } }

    private static func envelope(_ body: [UInt8]) throws(AMQPError) -> (payload: [UInt8], json: [String: JSONValue]) {
        let found: ([UInt8], [String: JSONValue])? = body.withUnsafeBytes { bytes in
            guard JSONText.isValid(bytes), let members = JSONMembers(bytes), let data = members.ranges["data"] else { return nil }
            var json: [String: JSONValue] = [:]
            for key in ["id", "attempts_made", "created_at", "traceparent", "baggage"] { json[key] = members[key] }
            return (Array(bytes[data]), json)
        }
        guard let found else { throw AMQPError(.invalid, "the body is no message of a topic") }
        return found
    }

    /// The group as whoever published it has found it; else, from another engine, as its payload has it.
    private static func group(_ raw: AMQPMessage, _ payload: [UInt8], _ options: QueueOptions) -> String? {
        if options.isSerial { return "*" }
        if let group = raw.headers[Header.group]?.text { return group }
        guard let field = options.groupField else { return nil }
        let member = payload.withUnsafeBytes { bytes in JSONMembers(bytes)?.ranges[field].map { Array(bytes[$0]) } }
        return member.flatMap { try? JSONValue(parsing: $0) }?.text ?? "*"
    }

    /// What stands among the dead letters. Never throws: what cannot be read is shown as it is.
    static func decodeDead(_ raw: AMQPMessage, of queue: QueueKey, _ options: QueueOptions) -> (stored: StoredMessage, failedAt: Int) {
        var live = raw
        var failedAt = raw.headers[Header.failedAt]?.integer
        var error: String?
        if case .subscription = queue {
            raw.body.withUnsafeBytes { bytes in
                guard JSONText.isValid(bytes), let members = JSONMembers(bytes), let job = members.ranges["job"] else { return }
                live.body = Array(bytes[job])
                error = members["error"]?.string
                failedAt = failedAt ?? members["exhausted_at"]?.integer.flatMap { Int(exactly: $0) }
            }
        }
        // The same name every time, for what has none.
        let fallback = { "dlq-" + hash(raw.body) }
        var (message, progress): (QueueMessage, MessageProgress)
        do throws(AMQPError) {
            (message, progress) = try decode(live, of: queue, options, now: failedAt ?? 0, unique: fallback)
        } catch let problem {
            let isJSON = raw.body.withUnsafeBytes { JSONText.isValid($0) }
            message = QueueMessage(
                id: raw.messageID ?? fallback(), target: TargetFunction(raw.headers[Header.function]?.text ?? ""),
                payload: isJSON ? raw.body : JSONValue.string(String(decoding: raw.body, as: UTF8.self)).bytes, createdAt: failedAt ?? 0)
            progress = MessageProgress()
            error = "undecodable: \(problem.message)"
        }
        if progress.failures.isEmpty {
            let text = error ?? "Function \(message.target.id) exhausted retries"
            let parts = text.split(separator: ":", maxSplits: 1)
            progress.add(
                DeliveryFailure(
                    at: failedAt ?? 0, code: parts.count == 2 ? String(parts[0]) : "exhausted",
                    message: parts.count == 2 ? String(parts[1].drop { $0 == " " }) : text))
        }
        return (StoredMessage(sequence: 0, rank: 0, message: message, progress: progress), failedAt ?? 0)
    }

    /// FNV-1a, 64 bits.
    private static func hash(_ bytes: [UInt8]) -> String {
        let value = bytes.reduce(0xcbf2_9ce4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
        let text = String(value, radix: 16)
        return String(repeating: "0", count: 16 - text.count) + text
    }

    // MARK: Waiting

    /// Where a message goes that has to wait until `due`, with what says where it goes then.
    static func delayed(
        _ message: AMQPMessage, until due: Int, then destination: String, now: Int, _ topology: RabbitMQTopology
    ) -> (AMQPMessage, AMQPPublisher.Address) {
        var message = message
        guard let level = DelayLadder.level(remaining: due - now) else {
            for header in [Header.due, Header.entered, Header.destination] { message.headers[header] = nil }
            return (message, AMQPPublisher.Address(exchange: "", key: destination))
        }
        message.headers[Header.due] = .integer(due)
        message.headers[Header.entered] = .integer(now)
        message.headers[Header.destination] = .text(destination)
        return (message, AMQPPublisher.Address(exchange: "", key: topology.delay(level)))
    }
}
