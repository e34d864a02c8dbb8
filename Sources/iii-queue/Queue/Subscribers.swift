import IIIWorker

/// One trigger's subscription, as it is in force.
struct Subscriber {
    let subscription: QueueKey.Subscription
    let options: QueueOptions
    let condition: TriggerCondition?
    let metadata: [UInt8]?
}

/// Who subscribes to which topic. Pure.
///
/// Several triggers of one function on one topic are one subscription with one queue: each message is handled once, as the newest of them says.
struct Subscribers {
    private var byTrigger: [String: Subscriber] = [:]
    /// Triggers in the order in which they came, by subscription.
    private var triggers: [QueueKey.Subscription: [String]] = [:]
    private var topics: [String: Set<QueueKey.Subscription>] = [:]

    var topicNames: [String] { topics.keys.sorted() }

    /// In a fixed order.
    func subscriptions(to topic: String) -> [QueueKey.Subscription] {
        (topics[topic] ?? []).sorted { ($0.function, $0.namespace ?? "") < ($1.function, $1.namespace ?? "") }
    }

    func newest(_ subscription: QueueKey.Subscription) -> Subscriber? { triggers[subscription]?.last.flatMap { byTrigger[$0] } }
    func triggers(of subscription: QueueKey.Subscription) -> [String] { triggers[subscription] ?? [] }
    func triggerCount(of topic: String) -> Int { (topics[topic] ?? []).reduce(0) { $0 + (triggers[$1]?.count ?? 0) } }

    func of(_ trigger: String) -> Subscriber? { byTrigger[trigger] }

    /// Answers what the trigger subscribed to before.
    @discardableResult
    mutating func put(_ trigger: String, _ subscriber: Subscriber) -> Subscriber? {
        let former = remove(trigger)
        byTrigger[trigger] = subscriber
        triggers[subscriber.subscription, default: []].append(trigger)
        topics[subscriber.subscription.topic, default: []].insert(subscriber.subscription)
        return former
    }

    @discardableResult
    mutating func remove(_ trigger: String) -> Subscriber? {
        guard let subscriber = byTrigger.removeValue(forKey: trigger) else { return nil }
        let subscription = subscriber.subscription
        triggers[subscription]?.removeAll { $0 == trigger }
        if triggers[subscription]?.isEmpty == true {
            triggers[subscription] = nil
            topics[subscription.topic]?.remove(subscription)
            if topics[subscription.topic]?.isEmpty == true { topics[subscription.topic] = nil }
        }
        return subscriber
    }
}
