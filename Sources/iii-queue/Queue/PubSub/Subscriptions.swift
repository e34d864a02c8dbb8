import IIIWorker

/// Who hears which topic, in the order in which the subscriptions came. Pure.
///
/// A subscription is a trigger: two triggers of one function on one topic are two subscriptions, and each ends by itself.
struct Subscriptions {
    struct Subscription {
        let target: TriggerTarget
        let condition: TriggerCondition?
    }

    /// What the bus has to be told.
    enum Change: Equatable {
        case none
        case topicAppeared(String)
        case topicEnded(String)
    }

    private var topics: [String: [(trigger: String, subscription: Subscription)]] = [:]

    var topicCount: Int { topics.count }

    func of(_ topic: String) -> [Subscription] { topics[topic]?.map(\.subscription) ?? [] }

    /// A trigger that subscribes its topic already is changed in its place.
    mutating func add(_ trigger: String, to topic: String, _ subscription: Subscription) -> Change {
        guard let index = topics[topic]?.firstIndex(where: { $0.trigger == trigger }) else {
            topics[topic, default: []].append((trigger, subscription))
            return topics[topic]?.count == 1 ? .topicAppeared(topic) : .none
        }
        topics[topic]?[index].subscription = subscription
        return .none
    }

    /// Removes this trigger's subscription and nobody else's.
    mutating func remove(_ trigger: String, from topic: String) -> Change {
        guard let index = topics[topic]?.firstIndex(where: { $0.trigger == trigger }) else { return .none }
        topics[topic]?.remove(at: index)
        guard topics[topic]?.isEmpty == true else { return .none }
        topics[topic] = nil
        return .topicEnded(topic)
    }
}
