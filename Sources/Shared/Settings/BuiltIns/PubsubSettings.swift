/// Keys of `iii-pubsub`.
package enum PubsubSettings {
    package static let local = AdapterDeclaration("local", "Within this engine.", SettingGroup(open: true) {})
    package static let adapterText = "How messages travel."
    package static let redisURL = QueueSettings.redisURL
    package static let redis = AdapterDeclaration(
        "redis", "Channels of a Redis server, for several engines.", SettingGroup(open: true) { redisURL })
    package static let adapter = Setting("adapter", .adapter([local, redis]), default: ["name": "local"], adapterText)

    package static let group = SettingGroup(change: .restart) { adapter }
}
