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

    package static let redis = AdapterDeclaration(
        "redis", "A Redis server.",
        SettingGroup(open: true) {
            Setting(
                "redis_url", .text(.url("redis", "rediss")), default: "redis://localhost:6379", secret: false,
                "Server; a password in it is not shown.")
        })

    package static let bridge = AdapterDeclaration(
        "bridge", "Another engine.",
        SettingGroup(open: true) {
            Setting("bridge_url", .text(.url("ws", "wss")), default: "ws://localhost:49134", "Engine that holds the data.")
        })
}
