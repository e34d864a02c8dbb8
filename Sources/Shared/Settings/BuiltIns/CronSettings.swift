/// Keys of `iii-cron`.
package enum CronSettings {
    package static let adapter = Setting(
        "adapter", .adapter([.keyValueStore(), .redis]), default: ["name": "kv"], "Where locks and jobs are kept.")

    package static let group = SettingGroup(change: .restart, inert: "iii-cron is not part of this build") { adapter }
}
