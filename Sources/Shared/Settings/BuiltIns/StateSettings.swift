import IIIProtocol

/// Keys of `iii-state`.
package enum StateSettings {
    package static let adapter = Setting(
        "adapter", .adapter([.keyValueStore(), .redisItems]), default: ["name": "kv"], change: .restart, "Where values are kept.")
    package static let firesTriggers = Setting("triggers_enabled", .boolean, default: true, change: .live, "Changes fire `state` triggers.")
    package static let maximumValueBytes = Setting(
        "max_value_bytes", .bytes(1...(48 << 20)), default: 8_388_608, change: .live, "Largest value; a larger one is `VALUE_TOO_LARGE`.")
    package static let saveInterval = Setting<Duration?>(
        "save_interval_ms", .milliseconds, absent: "saved before the answer", example: 5000,
        inert: KeyValueStoreSettings.saveIntervalIsInert, "Of the reference; writes are saved before they are answered.")

    /// Everything but `adapter`, which a worker takes from the adapters that are registered with it.
    package static let own = SettingGroup(change: .restart) {
        firesTriggers
        maximumValueBytes
        saveInterval
    }

    package static let group = SettingGroup(change: .restart) {
        adapter
        own
    }
}
