/// Which queue: one that is configured by name, or the one of a function that subscribes to a topic.
public enum QueueKey: Hashable, Sendable, CustomStringConvertible {
    case named(String)
    case subscription(Subscription)

    /// A function's subscription to a topic. Every one has a queue, attempts and dead letters of its own.
    public struct Subscription: Hashable, Sendable {
        public let topic: String
        public let function: String
        /// nil is `default`.
        public let namespace: String?

        public init(topic: String, function: String, namespace: String? = nil) {
            self.topic = topic
            self.function = function
            self.namespace = namespace
        }
    }

    /// For the log and for people. Not unique: ids may hold `::` themselves.
    public var description: String {
        switch self {
        case .named(let name): name
        case .subscription(let subscription): "\(subscription.topic)::\(subscription.function)"
        }
    }
}
