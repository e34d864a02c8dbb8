// Adapters that several built-ins offer, with the keys of published configurations. Open: the reference's adapters pass unknown keys over.
extension AdapterDeclaration {
    package static func keyValueStore(_ own: SettingGroup = SettingGroup {}) -> AdapterDeclaration {
        let group = SettingGroup(open: true) {
            Setting<String?>(
                "store_method", .choice("in_memory", "file_based"), absent: "`file_based`", example: "file_based", "Where the data lives.")
            Setting("file_path", .text, absent: "`./data/<entry>`", example: "./data/store.db", "File or directory of `file_based`.")
            Setting(
                "save_interval_ms", .milliseconds, absent: "saved before the answer", example: 5000, "Longest time data waits to be saved.")
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
