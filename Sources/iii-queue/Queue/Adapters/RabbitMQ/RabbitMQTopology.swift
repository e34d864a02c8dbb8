import IIIAMQP

/// The names and arguments of everything this adapter has on a broker (docs/reference/queue.md#rabbitmq).
///
/// Classic queues have the reference's names and arguments, so that both can work on one broker. A queue cannot be declared again with
/// other arguments: quorum queues have names of their own.
struct RabbitMQTopology: Sendable, Equatable {
    let prefix: String
    let isQuorum: Bool

    /// What belongs to one queue.
    struct Names: Sendable, Equatable {
        let main: String
        let dead: String
        /// Where messages wait whose function is missing; subscriptions have none, they wait as a whole.
        let held: String?
        /// Where one publishes to: of a topic, shared by all its subscriptions.
        let exchange: String
        let deadExchange: String?
        /// Of the bindings.
        let key: String
        /// Of consumers, as the reference names them.
        let consumerTag: String
    }

    /// Longest name that the protocol can carry.
    static let maximumName = 255

    private var root: String { isQuorum ? prefix + ".quorum" : prefix }

    func names(_ queue: QueueKey) -> Names {
        switch queue {
        case .named(let name):
            let base = "\(root).__fn_queue::\(name)"
            return Names(
                main: base + ".queue", dead: base + "::dlq.queue", held: base + "::held.queue", exchange: base,
                deadExchange: base + "::dlq",
                key: name, consumerTag: "fn-queue-\(name)")
        case .subscription(let subscription):
            var owner = subscription.function
            if let namespace = subscription.namespace { owner = "\(Self.escaped(owner))@\(Self.escaped(namespace))" }
            let base = "\(root).\(subscription.topic).\(owner)"
            return Names(
                main: base + ".queue", dead: base + ".dlq", held: nil, exchange: exchange(ofTopic: subscription.topic), deadExchange: nil,
                key: "", consumerTag: "iii-\(subscription.function)")
        }
    }

    func exchange(ofTopic topic: String) -> String { "\(root).\(topic).exchange" }

    private static func escaped(_ part: String) -> String {
        part.replacing("\\", with: "\\\\").replacing("@", with: "\\@")
    }

    /// Where messages wait for a time, by the level of the ladder.
    func delay(_ level: DelayLadder.Level) -> String { "\(root).delay.\(level.hold)ms" }
    /// Delayed messages whose queue is gone.
    var undeliverable: String { "\(root).undeliverable" }
    /// Bindings, pauses and definitions.
    func ledger(_ entry: String) -> String { "\(root).\(entry).records" }

    // MARK: Declaring

    private func arguments(_ own: [String: AMQPValue] = [:]) -> [String: AMQPValue] {
        isQuorum ? own.merging(["x-queue-type": .text("quorum")]) { $1 } : own
    }

    /// Arguments of queues that move messages to and fro: from 4.0 on the broker would drop what was given back 20 times. Earlier ones take
    /// the number -1 for none at all.
    private func patient(_ own: [String: AMQPValue] = [:], _ brokerVersion: String) -> [String: AMQPValue] {
        var arguments = arguments(own)
        if isQuorum, let major = Int(brokerVersion.prefix { $0 != "." }), major >= 4 { arguments["x-delivery-limit"] = .integer(-1) }
        return arguments
    }

    /// Everything of one queue, with what is bound to what; a subscription is bound to its topic only with `isBound`.
    func declare(
        _ queue: QueueKey, isSerial: Bool, isBound: Bool, _ session: AMQPJobs.Session
    ) throws(AMQPError) {
        let (names, broker, channel) = (names(queue), session.broker, AMQPJobs.Session.channel)
        for name in [names.main, names.dead, names.held, names.exchange, names.deadExchange].compactMap({ $0 })
        where name.utf8.count > Self.maximumName {
            throw AMQPError(.invalid, "the name '\(name.prefix(60))…' has more than \(Self.maximumName) bytes, which RabbitMQ cannot carry")
        }
        var own: [String: AMQPValue] = [:]
        if let deadExchange = names.deadExchange { own["x-dead-letter-exchange"] = .text(deadExchange) }
        // Classic queues have the reference's arguments and are consumed exclusively instead.
        if isQuorum, isSerial { own["x-single-active-consumer"] = .boolean(true) }
        if let deadExchange = names.deadExchange {
            try broker.declareExchange(deadExchange, type: "direct", on: channel)
        }
        try broker.declareQueue(names.dead, arguments: arguments(), on: channel)
        if let deadExchange = names.deadExchange { try broker.bind(names.dead, to: deadExchange, key: names.key, on: channel) }
        if let held = names.held { try broker.declareQueue(held, arguments: patient([:], broker.brokerVersion), on: channel) }
        try broker.declareQueue(names.main, arguments: patient(own, broker.brokerVersion), on: channel)
        switch queue {
        case .named:
            try broker.declareExchange(names.exchange, type: "direct", on: channel)
            try broker.bind(names.main, to: names.exchange, key: names.key, on: channel)
        case .subscription where isBound:
            try broker.declareExchange(names.exchange, type: "fanout", on: channel)
            try broker.bind(names.main, to: names.exchange, key: names.key, on: channel)
        case .subscription: break
        }
    }

    /// What all queues share.
    func declareShared(ledger: String, _ session: AMQPJobs.Session) throws(AMQPError) {
        let (broker, channel) = (session.broker, AMQPJobs.Session.channel)
        for level in DelayLadder.levels {
            try broker.declareQueue(delay(level), arguments: patient([:], broker.brokerVersion), on: channel)
        }
        try broker.declareQueue(undeliverable, arguments: arguments(), on: channel)
        try broker.declareQueue(ledger, arguments: patient([:], broker.brokerVersion), on: channel)
    }
}
