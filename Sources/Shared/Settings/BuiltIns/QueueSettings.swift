import IIIProtocol

/// Keys of `iii-queue`.
package enum QueueSettings {
    package static let queues = Setting<[String: SettingValues]>(
        "queue_configs", .map(of: .object(queue)), default: [:], change: .live, "Settings by name of the queue; `default` is always there.")
    package static let subscriptionTTL = Setting(
        "subscription_ttl_ms", .milliseconds(0...31_536_000_000), default: 604_800_000, change: .live,
        "How long a topic keeps messages for a subscriber whose worker is gone; 0 for ever.")
    package static let adapterText = "Where messages are kept."
    package static let adapter = Setting(
        "adapter", .adapter([builtIn, redis, RabbitMQSettings.declaration]), default: ["name": "builtin"], adapterText)

    package static let group = SettingGroup(change: .restart) {
        queues
        subscriptionTTL
        adapter
        rule
    }

    /// The rules across the keys of each queue, in the baseline's words.
    package static let rule = SettingRule("A fifo queue needs `message_group_field`; `concurrency` is at least 1.") { values in
        values[queues].sorted { $0.key < $1.key }.flatMap { name, queue in
            var findings: [SettingRule.Finding] = []
            if queue[type] == .fifo, queue[groupField] == nil {
                findings.append(
                    .problem(
                        queues.declaration.key, name,
                        message: "Queue '\(name)' is of type 'fifo' but 'message_group_field' is not set"))
            }
            if queue[concurrency] == 0 {
                findings.append(
                    .problem(
                        queues.declaration.key, name, "concurrency",
                        message: "Queue '\(name)' has 'concurrency' 0; it must be at least 1"))
            }
            return findings
        }
    }

    // MARK: One queue

    package enum QueueType: String, Sendable, CaseIterable { case standard, fifo }
    package enum Backoff: String, Sendable, CaseIterable { case exponential, fixed }

    package static let type = Setting<QueueType>("type", .choice, default: "standard", "`fifo` keeps the order of each group.")
    package static let groupField = Setting(
        "message_group_field", .text, absent: "none", example: "order_id", "Member of the payload that names the group.")
    package static let maxRetries = Setting("max_retries", .count, default: 3, "Attempts before a message is dead; 0 counts as 1.")
    package static let concurrency = Setting("concurrency", .count, default: 10, "Messages handled at a time.")
    package static let backoff = Setting("backoff_ms", .milliseconds, default: 1000, "Pause before the first repetition.")
    package static let backoffType = Setting<Backoff>(
        "backoff_type", .choice, default: "exponential", "Whether the pause doubles with every attempt.")
    package static let backoffMaximum = Setting(
        "backoff_max_ms", .milliseconds, default: 86_400_000, "Longest pause between two attempts.")
    package static let jitter = Setting("backoff_jitter", .ratio, default: 0.1, "Part of a pause that may be added to it, at random.")
    package static let timeout = Setting(
        "timeout_ms", .milliseconds, default: 1_800_000, "Longest time of one attempt; 0 without limit.")
    package static let maxCrashes = Setting(
        "max_crashes", .count(1...1000), default: 5, "Workers that may break off while they have a message, before it is dead.")
    package static let rateMax = Setting("max", .count(1...100_000), default: 1, "Starts.")
    package static let ratePeriod = Setting("per_ms", .milliseconds(1...86_400_000), default: 1000, "Within this time.")
    package static let rate = Setting<SettingValues?>(
        "rate",
        .object(
            SettingGroup {
                rateMax
                ratePeriod
            }), absent: "no limit", example: ["max": 100, "per_ms": 1000], "Most starts within a time.")
    package static let maxDepth = Setting(
        "max_depth", .count, default: 0, "Messages that may be stored, the dead aside; more are refused. 0 without limit.")
    package static let maxPayloadBytes = Setting(
        "max_payload_bytes", .bytes(1...(64 << 20)), default: 16_777_216, "Largest payload.")
    package static let maxAge = Setting(
        "max_age_ms", .milliseconds, default: 0, "How long a message may wait before it is dead; 0 for ever.")
    package static let resultTTL = Setting(
        "result_ttl_ms", .milliseconds, default: 0, "How long `iii::queue::get` knows the result of a message; 0 not at all.")
    package static let deduplicationField = Setting(
        "dedupe_field", .text, absent: "none", example: "event_id", "Member of the payload that is the idempotency key.")
    package static let deduplicationWindow = Setting(
        "dedupe_window_ms", .milliseconds, default: 300_000, "How long a key stands for the message that brought it.")
    package static let maxPriority = Setting(
        "max_priority", .integer(1...255), absent: "255", example: 10, "Highest priority; higher ones count as this.")
    package static let priorityField = Setting(
        "priority_field", .text, absent: "none", example: "priority", "Member of the payload that holds the priority.")

    /// Also what `queue::define` takes.
    package static let queue = SettingGroup {
        type
        groupField
        maxRetries
        concurrency
        backoff
        backoffType
        backoffMaximum
        jitter
        timeout
        maxCrashes
        rate
        maxDepth
        maxPayloadBytes
        maxAge
        resultTTL
        deduplicationField
        deduplicationWindow
        maxPriority
        priorityField
        Setting("poll_interval_ms", .milliseconds, default: 100, "Of the reference; messages are handed on at once.")
    }

    // MARK: The embedded store

    package enum StoreMethod: String, Sendable, CaseIterable {
        case inMemory = "in_memory"
        case fileBased = "file_based"
    }
    /// `batched` and `none` are other words for `relaxed`.
    package enum QueueDurability: String, Sendable, CaseIterable { case full, normal, relaxed, batched, none }

    package static let storeMethod = Setting<StoreMethod?>(
        "store_method", .choice, absent: "`file_based`", example: "file_based", "Where messages live.")
    package static let path = Setting("file_path", .text, absent: "`./data/<entry>`", example: "./data/queue", "Directory of `file_based`.")
    package static let durability = Setting<QueueDurability>(
        "durability", .choice, default: "full",
        "When a message counts as stored: synced to the disk, handed to the system, or within 50 ms.")
    package static let maxBytes = Setting<Int?>(
        "max_bytes", .bytes((1 << 20)...(1 << 50)), absent: "as large as the disk; 1 GiB in memory", example: 10_737_418_240,
        "Most room the messages may take; more are refused.")
    package static let topicAttempts = Setting(
        "max_attempts", .count(1...Int64(Int32.max)), default: 3, "Attempts of subscriptions that say nothing.")
    package static let topicBackoff = Setting("backoff_ms", .milliseconds, default: 1000, "Pause of subscriptions that say nothing.")
    package static let topicConcurrency = Setting(
        "concurrency", .count, default: 10, "Messages at a time of subscriptions that say nothing.")
    package enum TopicMode: String, Sendable, CaseIterable { case concurrent, fifo }
    package static let topicMode = Setting<TopicMode>("mode", .choice, default: "concurrent", "Order of subscriptions that say nothing.")

    /// Of subscriptions that say nothing, in the store's settings.
    package static let topics = SettingGroup {
        topicAttempts
        topicBackoff
        topicConcurrency
        topicMode
    }

    package static let builtIn = AdapterDeclaration(
        "builtin", "An embedded store.",
        SettingGroup(open: true) {
            storeMethod
            path
            durability
            maxBytes
            topics
            Setting(
                "save_interval_ms", .milliseconds, absent: "saved before the answer", example: 5000,
                "Of the reference.")
            Setting("channel_size", .count, default: 256, "Of the reference.")
            Setting("poll_interval_ms", .milliseconds, default: 100, "Of the reference; messages are handed on at once.")
        })

    // MARK: Redis

    package static let redisURL = Setting(
        "redis_url", .text(.url("redis", "rediss", "unix")), default: "redis://localhost:6379", secret: false,
        "Server; a password in it is not shown.")
    package static let keyPrefix = Setting(
        "key_prefix", .text, absent: "none", example: "staging:",
        "Leads every key: systems that share a server and are not the same need different ones.")
    package static let lease = Setting(
        "lease_ms", .milliseconds(1_000...600_000), default: 10_000,
        "How long what a process has stays its own when it dies or hangs; it renews it while it lives.")
    package static let waitReplicas = Setting(
        "wait_replicas", .count(0...100), default: 0, "Replicas that must have a write before it is answered.")
    package static let instance = Setting(
        "instance", .text, absent: "host and working directory", example: "orders-1",
        "Who this is among the instances, over all restarts; no two at a time may be the same.")

    package static let redis = AdapterDeclaration(
        "redis", "A Redis server, shared by all instances.",
        SettingGroup(open: true) {
            redisURL
            keyPrefix
            lease
            waitReplicas
            instance
            topics
        })
}
