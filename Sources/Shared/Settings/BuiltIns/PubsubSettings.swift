/// Keys of `iii-pubsub`.
package enum PubsubSettings {
    package static let local = AdapterDeclaration("local", "Within this engine.", SettingGroup(open: true) {})
    package static let adapterText = "How messages travel."
    package static let adapter = Setting("adapter", .adapter([local]), default: ["name": "local"], adapterText)

    package static let group = SettingGroup(change: .restart) { adapter }
}
