/// Keys of `iii-pubsub`.
package enum PubsubSettings {
    package static let adapter = Setting(
        "adapter", .adapter([AdapterDeclaration("local", "Within this engine.", SettingGroup(open: true) {}), .redis]),
        default: ["name": "local"], "How messages travel.")

    package static let group = SettingGroup(change: .restart, inert: "iii-queue is not part of this build") { adapter }
}
