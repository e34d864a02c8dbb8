/// What a subscriber wants and what its connection has confirmed. A value without I/O.
struct RedisSubscriptions {
    /// A channel or a pattern.
    enum Topic: Hashable, Sendable {
        case channel(String)
        case pattern(String)
    }

    enum Step: Equatable {
        case nothing
        case message(Topic, channel: String, payload: [UInt8])
        /// The topic is subscribed (again): from here on nothing is missed. `hadGap`: messages may have been missed before.
        case subscribed(Topic, hadGap: Bool)
        case unexpected
    }

    private enum Progress {
        /// Never confirmed yet.
        case fresh
        case confirmed
        /// Was confirmed on an earlier connection.
        case interrupted
    }

    private var topics: [Topic: Progress] = [:]

    var wanted: [Topic] { Array(topics.keys) }
    var count: Int { topics.count }

    /// Whether it is new.
    mutating func add(_ topic: Topic) -> Bool {
        guard topics[topic] == nil else { return false }
        topics[topic] = .fresh
        return true
    }

    mutating func remove(_ topic: Topic) -> Bool { topics.removeValue(forKey: topic) != nil }

    mutating func connectionLost() {
        for (topic, progress) in topics where progress == .confirmed { topics[topic] = .interrupted }
    }

    mutating func received(_ value: RedisValue) -> Step {
        guard let parts = value.array, let kind = parts.first?.text else { return .unexpected }
        switch (kind, parts.count) {
        case ("message", 3):
            guard let channel = parts[1].text, let payload = parts[2].bytes else { return .unexpected }
            return topics[.channel(channel)] == nil ? .nothing : .message(.channel(channel), channel: channel, payload: payload)
        case ("pmessage", 4):
            guard let pattern = parts[1].text, let channel = parts[2].text, let payload = parts[3].bytes else { return .unexpected }
            return topics[.pattern(pattern)] == nil ? .nothing : .message(.pattern(pattern), channel: channel, payload: payload)
        case ("subscribe", 3), ("psubscribe", 3):
            guard let name = parts[1].text else { return .unexpected }
            let topic: Topic = kind == "subscribe" ? .channel(name) : .pattern(name)
            guard let progress = topics[topic], progress != .confirmed else { return .nothing }
            topics[topic] = .confirmed
            return .subscribed(topic, hadGap: progress == .interrupted)
        case ("unsubscribe", 3), ("punsubscribe", 3), ("pong", 2): return .nothing
        default: return .unexpected
        }
    }
}
