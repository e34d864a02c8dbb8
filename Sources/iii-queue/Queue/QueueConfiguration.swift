import IIIProtocol
import IIISettings
import IIIStorage
import IIIWorker

/// The settings of an `iii-queue` entry, as values.
struct QueueConfiguration: Sendable {
    let queues: [String: QueueOptions]
    /// How long a subscription outlives its worker, in milliseconds; 0 for ever.
    let subscriptionTTL: Int
    let adapter: AdapterChoice
    /// `max_retries` of named queues does not count the first attempt, as on RabbitMQ since ever.
    let countsRetries: Bool
    /// What a subscription gets that says nothing.
    let subscriptionDefaults: QueueOptions

    static let defaultQueue = "default"

    init(_ json: JSONValue, stores: AdapterRegistry<any QueueStore>) throws(InvalidSettings) {
        let adapter = stores.setting(QueueSettings.adapterText)
        let group = SettingGroup(change: .restart) {
            QueueSettings.queues
            QueueSettings.subscriptionTTL
            QueueSettings.rule
            adapter
        }
        let values = try group.read(json)
        subscriptionTTL = values[QueueSettings.subscriptionTTL].milliseconds
        self.adapter = values[adapter]
        countsRetries = self.adapter.name == RabbitMQSettings.declaration.name
        var queues = values[QueueSettings.queues].mapValues { [countsRetries] in QueueOptions($0, countsRetries: countsRetries) }
        if queues[Self.defaultQueue] == nil { queues[Self.defaultQueue] = QueueOptions(countsRetries: countsRetries) }
        self.queues = queues
        var defaults = QueueOptions()
        if [QueueSettings.builtIn.name, QueueSettings.redis.name].contains(self.adapter.name) {
            let config = self.adapter.config
            defaults.maxAttempts = config[QueueSettings.topicAttempts]
            defaults.backoffMilliseconds = config[QueueSettings.topicBackoff].milliseconds
            defaults.concurrency = config[QueueSettings.topicConcurrency]
            defaults.isSerial = config[QueueSettings.topicMode] == .fifo
        } else if countsRetries {
            let config = self.adapter.config
            defaults.maxAttempts = config[RabbitMQSettings.maxAttempts]
            defaults.concurrency = config[RabbitMQSettings.prefetch]
            defaults.isSerial = config[RabbitMQSettings.mode] == .fifo
        }
        subscriptionDefaults = defaults
    }
}

extension Duration {
    var milliseconds: Int { Int(components.seconds) * 1000 + Int(components.attoseconds / 1_000_000_000_000_000) }
}

extension QueueOptions {
    /// From the checked settings of one queue.
    /// `countsRetries`: `max_retries` does not count the first attempt.
    init(_ values: SettingValues, countsRetries: Bool) {
        self.init()
        if values[QueueSettings.type] == .fifo { groupField = values[QueueSettings.groupField] }
        maxAttempts = countsRetries ? values[QueueSettings.maxRetries] + 1 : Swift.max(1, values[QueueSettings.maxRetries])
        concurrency = values[QueueSettings.concurrency]
        backoffMilliseconds = values[QueueSettings.backoff].milliseconds
        backoff = values[QueueSettings.backoffType] == .fixed ? .fixed : .exponential
        backoffMaximum = values[QueueSettings.backoffMaximum].milliseconds
        jitter = values[QueueSettings.jitter]
        timeout = values[QueueSettings.timeout].milliseconds
        maxCrashes = values[QueueSettings.maxCrashes]
        rate = values[QueueSettings.rate].map {
            Rate(max: $0[QueueSettings.rateMax], milliseconds: $0[QueueSettings.ratePeriod].milliseconds)
        }
        maxDepth = values[QueueSettings.maxDepth]
        maxPayloadBytes = values[QueueSettings.maxPayloadBytes]
        maxAge = values[QueueSettings.maxAge].milliseconds
        resultTTL = values[QueueSettings.resultTTL].milliseconds
        deduplicationField = values[QueueSettings.deduplicationField]
        deduplicationWindow = values[QueueSettings.deduplicationWindow].milliseconds
        maxPriority = values[QueueSettings.maxPriority] ?? 255
        priorityField = values[QueueSettings.priorityField]
    }
}

extension QueueOptions {
    /// With all defaults.
    init(countsRetries: Bool) {
        self.init()
        if countsRetries { maxAttempts += 1 }
    }
}

/// The stores that a configuration may choose from.
enum QueueStores {
    static var builtIn: AdapterRegistry<any QueueStore> {
        var registry = AdapterRegistry<any QueueStore>("queue store")
        registry.register(QueueSettings.builtIn) { values in
            let method = values[QueueSettings.storeMethod] ?? .fileBased
            let (path, maximumBytes) = (values[QueueSettings.path], values[QueueSettings.maxBytes])
            let durability: Durability =
                switch values[QueueSettings.durability] {
                case .full: .full
                case .normal: .normal
                case .relaxed, .batched, .none: .relaxed
                }
            return switch method {
            case .inMemory: BuiltinQueueStore(.memory(maximumBytes: maximumBytes ?? 1 << 30))
            case .fileBased: BuiltinQueueStore(.file(directory: path, durability, quota: maximumBytes))
            }
        }
        registry.register(QueueSettings.redis) { RedisQueueStore(try RedisQueueSettings($0)) }
        registry.register(RabbitMQSettings.declaration) { values in RabbitMQQueueStore(try RabbitMQOptions(values)) }
        return registry
    }
}
