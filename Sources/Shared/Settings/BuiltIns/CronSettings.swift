/// Keys of `iii-cron`.
package enum CronSettings {
    package static let timeout = Setting(
        "timeout_ms", .milliseconds, default: 900_000, change: .live,
        "Longest time a run may take where its trigger does not say `timeout_ms`; then it counts as `timed_out` and the schedule goes on. 0: no limit."
    )
    package static let historyRuns = Setting(
        "history_max_runs", .count(1...10_000_000), default: 100_000, change: .live, "Runs that the history keeps, the newest of all jobs.")
    package static let historyAge = Setting(
        "history_max_age_s", .seconds(60...315_360_000), default: 604_800, change: .live, "How long it keeps them.")
    package static let storeMethod = Setting<String?>(
        "store_method", .choice("in_memory", "file_based"), absent: "`file_based`", example: "file_based",
        "Where history, and the claims of the adapter `kv`, live. `in_memory` forgets them with the process.")
    package static let filePath = Setting(
        "file_path", .text, absent: "`./data/<entry>`", example: "./data/cron", "Directory of the embedded store.")
    package static let durability = Setting(
        "durability", .choice("full", "normal", "relaxed"), default: "full",
        "`full`: a claim is synced before its run starts; `normal` survives the death of the process, `relaxed` may lose the last moments.")

    /// For an `iii-cron` with lock stores of its own; `adapter` is made by their registry.
    package static func group(adapter: Setting<AdapterChoice>) -> SettingGroup {
        SettingGroup(change: .restart) {
            adapter
            timeout
            historyRuns
            historyAge
            storeMethod
            filePath
            durability
        }
    }

    package static let group = group(adapter: adapter)

    package static let adapter = Setting(
        "adapter", .adapter([keyValueStore, redis]), default: ["name": "kv"], "Where ticks are claimed: `redis` for several instances.")

    package static let keyValueStore = AdapterDeclaration.keyValueStore(
        SettingGroup {
            Setting(
                "lock_ttl_ms", .milliseconds(1...Int64(Int32.max)), default: 30_000,
                inert: "one process owns the embedded store, so its locks need no time to live", "Of the reference.")
            Setting(
                "lock_index", .text, default: "cron_locks", inert: "claims have a table of their own in the entry's store",
                "Of the reference.")
        })

    package static let redisURL = Setting(
        "redis_url", .text(.url("redis", "rediss", "unix")), default: "redis://localhost:6379", secret: false,
        "Server; a password in it is not shown.")
    package static let keyPrefix = Setting(
        "key_prefix", .text, absent: "none", example: "staging:",
        "Leads every key: systems that share a server and are not the same need different ones.")
    package static let lease = Setting(
        "lease_ms", .milliseconds(1_000...600_000), default: 30_000,
        "How long the run of a process that died or hangs keeps other runs of its job away.")

    package static let redis = AdapterDeclaration(
        "redis", "A Redis server, shared by all instances.",
        SettingGroup(open: true) {
            redisURL
            keyPrefix
            lease
        })
}
