import IIIProtocol

/// Keys of `iii-stream`.
package enum StreamSettings {
    package static let defaultPort = 3112

    package static let host = Setting("host", .text(.host), default: "127.0.0.1", "Address to listen on.")
    package static let port = Setting("port", .port, default: JSONValue(defaultPort), "0 takes any free port.")
    package static let authentication = Setting(
        "auth_function", .text, absent: "everyone may connect", example: "streams::authenticate", "Function that decides who may connect.")
    package static let adapter = Setting("adapter", .adapter(adapters), default: ["name": "kv"], "Where items are kept.")

    package static let adapters: [AdapterDeclaration] = [
        .keyValueStore(SettingGroup { Setting("channel_size", .count, default: 256, "Events that may wait for one subscriber.") }), .redis,
        .bridge,
    ]

    package static let group = SettingGroup(change: .restart, inert: "iii-stream is not part of this build") {
        host
        port
        authentication
        adapter
    }
}
