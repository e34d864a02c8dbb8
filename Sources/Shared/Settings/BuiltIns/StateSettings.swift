/// Keys of `iii-state`.
package enum StateSettings {
    package static let adapter = Setting(
        "adapter", .adapter([.keyValueStore(), .redis, .bridge]), default: ["name": "kv"], "Where values are kept.")
    package static let firesTriggers = Setting(
        "triggers_enabled", .boolean, absent: "true", example: true, "Changes fire `state` triggers.")
    package static let maximumValueBytes = Setting("max_value_bytes", .bytes, absent: "no limit", example: 1_048_576, "Largest value.")
    package static let saveInterval = Setting(
        "save_interval_ms", .milliseconds, absent: "that of the adapter", example: 5000, "Longest time a value waits to be saved.")

    package static let group = SettingGroup(change: .restart, inert: "iii-stream is not part of this build") {
        adapter
        firesTriggers
        maximumValueBytes
        saveInterval
    }
}
