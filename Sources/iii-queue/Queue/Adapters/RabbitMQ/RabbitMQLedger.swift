import IIIAMQP
import IIIProtocol

/// What a queue store remembers beside messages, as small messages in a queue of its own that nobody consumes: each says what a key stands for
/// from then on, the newest counts. Runs on the thread of a connection.
struct RabbitMQLedger: Sendable {
    let queue: String

    private struct Line {
        let key: String
        let at: Int
        /// nil where the key stands for nothing any more.
        let value: [UInt8]?
        let tag: UInt64
    }

    /// What every key stands for. Removes what is out of date.
    func read(_ session: AMQPJobs.Session) throws(AMQPError) -> [String: [UInt8]] {
        let (broker, channel) = (session.broker, AMQPJobs.Session.channel)
        var newest: [String: Line] = [:]
        var stale: [UInt64] = []
        while let delivery = try broker.get(queue, on: channel) {
            guard let line = Self.line(delivery) else { continue }
            if let known = newest[line.key] {
                stale.append(min(known, line).tag)
                newest[line.key] = max(known, line)
            } else {
                newest[line.key] = line
            }
        }
        for tag in stale.sorted() { try broker.acknowledge(tag, on: channel) }
        // Nothing older is left that would come back to life.
        for line in newest.values where line.value == nil { try broker.acknowledge(line.tag, on: channel) }
        try broker.giveBackAll(on: channel)
        return newest.compactMapValues(\.value)
    }

    private func min(_ a: Line, _ b: Line) -> Line { (a.at, a.tag) < (b.at, b.tag) ? a : b }
    private func max(_ a: Line, _ b: Line) -> Line { (a.at, a.tag) < (b.at, b.tag) ? b : a }

    /// From now on `key` stands for `value`, one JSON value; nil for nothing any more.
    func write(_ key: String, _ value: [UInt8]?, at: Int, copy: String, _ session: AMQPJobs.Session) throws(AMQPError) {
        var body = JSONObjectText()
        body.set("key", .string(key))
        body.set("at", JSONValue(at))
        body.set("value", raw: value)
        let message = AMQPMessage(body.finish(), headers: [RabbitMQCodec.Header.copy: .text(copy)])
        guard try session.publish([(message, AMQPPublisher.Address(exchange: "", key: queue))]).isEmpty else {
            throw AMQPError(.unroutable, "queue '\(queue)' is gone")
        }
    }

    private static func line(_ delivery: AMQPDelivery) -> Line? {
        delivery.message.body.withUnsafeBytes { bytes in
            guard JSONText.isValid(bytes), let members = JSONMembers(bytes), let key = members["key"]?.string,
                let at = members["at"]?.integer, let range = members.ranges["value"]
            else { return nil }
            let value = Array(bytes[range])
            return Line(key: key, at: Int(at), value: value == Array("null".utf8) ? nil : value, tag: delivery.tag)
        }
    }

    // MARK: What is remembered

    static func key(_ binding: String, instance: String) -> String { "binding:\(instance):\(binding)" }
    static func key(_ queue: QueueKey) -> String {
        switch queue {
        case .named(let name): "queue:\(name)"
        case .subscription(let it): (["subscription:" + it.topic, it.function] + (it.namespace.map { [$0] } ?? [])).joined(separator: "\0")
        }
    }

    private static func queue(_ key: String) -> QueueKey? {
        if key.hasPrefix("queue:") { return .named(String(key.dropFirst(6))) }
        guard key.hasPrefix("subscription:") else { return nil }
        let parts = key.dropFirst(13).split(separator: "\0", omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 2 || parts.count == 3 else { return nil }
        return .subscription(.init(topic: parts[0], function: parts[1], namespace: parts.count == 3 ? parts[2] : nil))
    }

    static func encode(_ binding: StoredBinding) -> [UInt8] {
        var text = JSONObjectText()
        text.set("id", .string(binding.id))
        text.set("topic", .string(binding.subscription.topic))
        text.set("function", .string(binding.subscription.function))
        text.set("namespace", JSONValue(binding.subscription.namespace))
        text.set("config", raw: binding.config)
        text.set("metadata", raw: binding.metadata)
        text.set("seen_at", JSONValue(binding.seenAt))
        return text.finish()
    }

    static func encode(_ record: QueueRecord) -> [UInt8]? {
        guard record != QueueRecord() else { return nil }
        var text = JSONObjectText()
        text.set("paused", .bool(record.isPaused))
        text.set("definition", raw: record.definition)
        return text.finish()
    }

    /// Bindings of other instances are theirs: what the broker routes to their queues it routes without us.
    static func state(_ lines: [String: [UInt8]], instance: String) -> StoredState {
        var state = StoredState()
        let prefix = key("", instance: instance)
        for (key, value) in lines.sorted(by: { $0.key < $1.key }) {
            value.withUnsafeBytes { bytes in
                guard let members = JSONMembers(bytes) else { return }
                func raw(_ name: String) -> [UInt8]? {
                    members.ranges[name].map { Array(bytes[$0]) }.flatMap { $0 == Array("null".utf8) ? nil : $0 }
                }
                if key.hasPrefix(prefix) {
                    guard let id = members["id"]?.string, let topic = members["topic"]?.string, let function = members["function"]?.string
                    else { return }
                    state.bindings.append(
                        StoredBinding(
                            id: id,
                            subscription: .init(topic: topic, function: function, namespace: members["namespace"]?.string),
                            config: raw("config") ?? Array("{}".utf8), metadata: raw("metadata"),
                            seenAt: Int(members["seen_at"]?.integer ?? 0)))
                } else if let queue = queue(key) {
                    var record = QueueRecord()
                    record.isPaused = members["paused"]?.bool ?? false
                    record.definition = raw("definition")
                    state.records[queue] = record
                }
            }
        }
        return state
    }
}
