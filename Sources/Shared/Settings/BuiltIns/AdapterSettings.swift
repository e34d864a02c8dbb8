/// Keys of the adapter `kv`.
package enum KeyValueStoreSettings {
    package static let method = Setting("store_method", .choice("file_based", "in_memory"), default: "file_based", "Where the data lives.")
    package static let path = Setting(
        "file_path", .text, absent: "`./data/<entry>`", example: "./data/store", "Directory of `file_based`; made if need be.")
    package static let durability = Setting(
        "durability", .choice("full", "normal", "relaxed"), default: "full",
        "When a write is answered: synced to the disk, handed to the system, or at once and saved within 50 ms.")
    package static let maximumMemory = Setting(
        "max_memory_bytes", .bytes(1...(1 << 50)), default: 1_073_741_824, "Names and values that `in_memory` holds at the most.")
    package static let saveInterval = Setting<Duration?>(
        "save_interval_ms", .milliseconds, absent: "saved before the answer", example: 5000, inert: saveIntervalIsInert,
        "Of the reference; writes are saved before they are answered.")
    package static let channelSize = Setting(
        "channel_size", .count, default: 256, inert: "events wait by the limits of each socket; see `max_queued_frames`",
        "Of the reference: events that may wait for delivery.")
    package static let saveIntervalIsInert = "writes are saved before they are answered; see `durability`"
}

/// Keys of the adapter `redis` of the state and of streams.
package enum RedisItemSettings {
    package static let url = Setting(
        "redis_url", .text(.url("redis", "rediss", "unix")), default: "redis://localhost:6379", secret: false,
        "Server; a password in it is not shown.")
    package static let prefix = Setting(
        "key_prefix", .text, absent: "none", example: "staging:",
        "Leads every key and channel, and ends with `:`. Engines with the same server, database and prefix share everything.")
    package static let waitReplicas = Setting(
        "wait_replicas", .count(0...64), default: 0,
        "Replicas that must have a write before it is answered; with 1 a failover loses nothing that was answered.")
    package static let waitTimeout = Setting(
        "wait_timeout_ms", .milliseconds(1...60_000), default: 1000,
        "How long they have; then the call fails and says that the primary has it.")
    package static let commandTimeout = Setting(
        "command_timeout_ms", .milliseconds(100...300_000), default: 10_000,
        "Longest time a call waits for Redis, its absence included.")
}

// Adapters that several built-ins offer, with the keys of published configurations. Open: the reference's adapters pass unknown keys over.
extension AdapterDeclaration {
    package static func keyValueStore(_ own: SettingGroup = SettingGroup {}) -> AdapterDeclaration {
        let group = SettingGroup(open: true) {
            KeyValueStoreSettings.method
            KeyValueStoreSettings.path
            KeyValueStoreSettings.durability
            KeyValueStoreSettings.maximumMemory
            KeyValueStoreSettings.saveInterval
            own
        }
        return AdapterDeclaration("kv", "An embedded store.", group)
    }

    /// Items that several engines share.
    package static let redisItems = AdapterDeclaration(
        "redis", "A Redis server, shared by all instances.",
        SettingGroup(open: true) {
            RedisItemSettings.url
            RedisItemSettings.prefix
            RedisItemSettings.waitReplicas
            RedisItemSettings.waitTimeout
            RedisItemSettings.commandTimeout
        })

    package static let bridge = AdapterDeclaration(
        "bridge", "Another engine.",
        SettingGroup(open: true) {
            Setting("bridge_url", .text(.url("ws", "wss")), default: "ws://localhost:49134", "Engine that holds the data.")
        })
}
