import IIIProtocol
import IIIWorker

/// How messages, queues and what is known beside them are written in Redis.
enum RedisRecord {
    // MARK: Messages

    /// What scripts do not look into: everything of a message but id, function, group and idempotency key.
    static func rest(_ message: QueueMessage) -> [UInt8] {
        var writer = Writer()
        writer.bytes.reserveCapacity(message.cost)
        writer.number(message.createdAt)
        writer.number(message.expiresAt ?? -1)
        writer.number(message.maxAttempts)
        writer.number(message.backoffMilliseconds)
        writer.number(message.priority)
        writer.text(message.traceparent)
        writer.text(message.baggage)
        writer.field(message.metadata)
        writer.field(message.payload)
        return writer.bytes
    }

    /// A function as one word: its id, and its namespace where it has one. A NUL is in neither.
    static func word(_ function: TargetFunction) -> String { function.id + (function.namespace.map { "\0" + $0 } ?? "") }

    static func function(_ word: some StringProtocol) -> TargetFunction {
        let parts = word.split(separator: "\0", maxSplits: 1, omittingEmptySubsequences: false)
        return TargetFunction(String(parts[0]), namespace: parts.count > 1 ? String(parts[1]) : nil)
    }

    /// nil for what was not written by `rest` and the scripts.
    static func message(_ id: String, _ record: [UInt8]) -> (message: QueueMessage, score: Int)? {
        var reader = Reader(record)
        var head: [Int] = []
        for _ in 0..<6 {
            guard let number = reader.decimal() else { return nil }
            head.append(number)
        }
        guard let function = reader.text(head[3]), let group = reader.text(head[4]), let key = reader.text(head[5]),
            let createdAt = reader.number(), let expiresAt = reader.number(), let maxAttempts = reader.number(),
            let backoff = reader.number(), let priority = reader.number(), let traceparent = reader.optionalText(),
            let baggage = reader.optionalText(), let metadata = reader.field(), let payload = reader.field() ?? nil
        else { return nil }
        var message = QueueMessage(
            id: id, target: Self.function(function), payload: payload, group: group.isEmpty ? nil : group, priority: priority,
            createdAt: createdAt, maxAttempts: maxAttempts, backoffMilliseconds: backoff)
        message.traceparent = traceparent
        message.baggage = baggage
        message.metadata = metadata
        message.expiresAt = expiresAt < 0 ? nil : expiresAt
        message.deduplicationKey = key.isEmpty ? nil : key
        return (message, head[0])
    }

    static func progress(_ progress: MessageProgress) -> [UInt8] {
        Array("\(progress.attempts) \(progress.crashes) ".utf8) + Array(FailureText.encode(progress.failures).utf8)
    }

    static func progress(_ bytes: [UInt8]) -> MessageProgress {
        var reader = Reader(bytes)
        var progress = MessageProgress()
        guard let attempts = reader.decimal(), let crashes = reader.decimal() else { return progress }
        progress.attempts = attempts
        progress.crashes = crashes
        for failure in FailureText.decode(String(decoding: reader.rest, as: UTF8.self)) { progress.add(failure) }
        return progress
    }

    // MARK: Queues

    static func name(_ key: QueueKey) -> String {
        switch key {
        case .named(let name): JSONValue.array([.string(name)]).text
        case .subscription(let subscription):
            JSONValue.array([.string(subscription.topic), .string(subscription.function), JSONValue(subscription.namespace)]).text
        }
    }

    static func key(_ name: some StringProtocol) -> QueueKey? {
        guard let parts = (try? JSONValue(parsing: Array(name.utf8)))?.array else { return nil }
        switch parts.count {
        case 1: return parts[0].string.map(QueueKey.named)
        case 3:
            guard let topic = parts[0].string, let function = parts[1].string else { return nil }
            return .subscription(.init(topic: topic, function: function, namespace: parts[2].string))
        default: return nil
        }
    }

    // MARK: Beside messages

    static func binding(_ binding: StoredBinding, instance: String) -> [UInt8] {
        let value: JSONValue = [
            "subscription": .string(name(.subscription(binding.subscription))),
            "config": .string(String(decoding: binding.config, as: UTF8.self)),
            "metadata": JSONValue(binding.metadata.map { String(decoding: $0, as: UTF8.self) }), "seen_at": JSONValue(binding.seenAt),
            "instance": .string(instance),
        ]
        return value.bytes
    }

    /// `instance` is the own one, whose bindings name none.
    static func binding(_ id: String, _ bytes: [UInt8], instance: String) -> StoredBinding? {
        guard let value = try? JSONValue(parsing: bytes), let name = value["subscription"]?.string,
            case .subscription(let subscription)? = key(name), let config = value["config"]?.string
        else { return nil }
        let home = value["instance"]?.string
        return StoredBinding(
            id: id, subscription: subscription, config: Array(config.utf8), metadata: value["metadata"]?.string.map { Array($0.utf8) },
            seenAt: Int(value["seen_at"]?.integer ?? 0), instance: home == instance ? nil : home)
    }

    /// Empty for one that says nothing.
    static func record(_ record: QueueRecord) -> [UInt8] {
        guard record != QueueRecord() else { return [] }
        let value: JSONValue = [
            "paused": .bool(record.isPaused), "definition": JSONValue(record.definition.map { String(decoding: $0, as: UTF8.self) }),
        ]
        return value.bytes
    }

    static func record(_ bytes: [UInt8]) -> QueueRecord {
        var record = QueueRecord()
        guard let value = try? JSONValue(parsing: bytes) else { return record }
        record.isPaused = value["paused"]?.bool ?? false
        record.definition = value["definition"]?.string.map { Array($0.utf8) }
        return record
    }

    // MARK: Bytes

    /// Numbers of eight bytes, fields behind their length; a length of -1 is nil.
    private struct Writer {
        var bytes: [UInt8] = []

        mutating func number(_ value: Int) { withUnsafeBytes(of: Int64(value).littleEndian) { bytes.append(contentsOf: $0) } }
        mutating func text(_ text: String?) {
            guard let text else { return number(-1) }
            number(text.utf8.count)
            bytes.append(contentsOf: text.utf8)
        }
        mutating func field(_ field: [UInt8]?) {
            guard let field else { return number(-1) }
            number(field.count)
            bytes.append(contentsOf: field)
        }
    }

    private struct Reader {
        private let bytes: [UInt8]
        private var position = 0

        init(_ bytes: [UInt8]) { self.bytes = bytes }

        var rest: ArraySlice<UInt8> { bytes[position...] }

        /// A number in decimal and the space behind it.
        mutating func decimal() -> Int? {
            guard let end = bytes[position...].firstIndex(of: 0x20) else { return nil }
            defer { position = end + 1 }
            return Int(String(decoding: bytes[position..<end], as: UTF8.self))
        }

        mutating func number() -> Int? {
            guard position + 8 <= bytes.count else { return nil }
            defer { position += 8 }
            return bytes.withUnsafeBytes { Int(Int64(littleEndian: $0.loadUnaligned(fromByteOffset: position, as: Int64.self))) }
        }

        mutating func text(_ count: Int) -> String? {
            guard count >= 0, count <= bytes.count - position else { return nil }
            defer { position += count }
            return String(decoding: bytes[position..<position + count], as: UTF8.self)
        }

        /// The outer nil is no field.
        mutating func field() -> [UInt8]?? {
            guard let count = number() else { return nil }
            guard count >= 0 else { return .some(nil) }
            guard count <= bytes.count - position else { return nil }
            defer { position += count }
            return .some(Array(bytes[position..<position + count]))
        }

        mutating func optionalText() -> String?? { field().map { $0.map { String(decoding: $0, as: UTF8.self) } } }
    }
}
