import IIIProtocol

/// Keys of `iii-stream`.
package enum StreamSettings {
    package static let defaultPort = 3112

    package static let host = Setting("host", .text(.host), default: "127.0.0.1", "Address to listen on.")
    package static let port = Setting("port", .port, default: JSONValue(defaultPort), "0 takes any free port.")
    package static let authentication = Setting(
        "auth_function", .text, absent: "everyone may connect", example: "streams::authenticate", change: .live,
        "Function that decides who may connect.")
    package static let authenticationFailure = Setting(
        "auth_failure", .choice("deny", "anonymous"), default: "deny", change: .live,
        "A client about whom the auth function has failed to decide is refused, or let in without a context.")
    package static let joinFailure = Setting(
        "join_failure", .choice("allow", "deny"), default: "allow", change: .live,
        "What becomes of a join whose trigger function fails or takes longer than 10 s.")
    package static let allowedOrigins = Setting<[String]>(
        "allowed_origins", .list(.text), default: [], change: .live,
        "Web pages that may connect, as `https://app.example.com`, besides those of the same host; `*` for all.")
    package static let maximumConnections = Setting(
        "max_connections", .count(1...1_000_000), default: 10_000, change: .live, "Clients at a time; further ones get 503.")
    package static let maximumSubscriptions = Setting(
        "max_subscriptions", .count(1...100_000), default: 1000, change: .live, "Subscriptions of one socket.")
    package static let maximumQueuedFrames = Setting(
        "max_queued_frames", .count(16...1_000_000), default: 1024, change: .live,
        "Frames that wait for one socket before they are merged, and then left out and told anew.")
    package static let maximumQueuedBytes = Setting(
        "max_queued_bytes", .bytes(65_536...(1 << 32)), default: 4_194_304, change: .live, "Their bytes; snapshots are not counted.")
    package static let maximumTotalQueuedBytes = Setting(
        "max_total_queued_bytes", .bytes((1 << 20)...(1 << 36)), default: 268_435_456, change: .live,
        "What waits for all sockets together, snapshots included, each frame once. Beyond it every socket is kept little, joins wait, and the heaviest socket goes."
    )
    package static let resumeWindow = Setting<Duration>(
        "resume_window_ms", .milliseconds(0...3_600_000), default: 300_000, change: .live,
        "How long events are kept for clients that come back and say where they were; 0 = not at all.")
    package static let maximumResumeBytes = Setting(
        "max_resume_bytes", .bytes(0...(1 << 34)), default: 67_108_864, change: .live,
        "Bytes of those events; at most 1000 of a group are kept.")
    package static let presenceKey = Setting(
        "presence_key", .text, default: "userId", change: .live,
        "Member of the context that the auth function returns by which presence tells users apart.")
    package static let maximumMessageBytes = Setting(
        "max_message_bytes", .bytes(1024...(16 << 20)), default: 262_144, change: .live, "Longest message of a client; 1009 beyond.")
    package static let maximumValueBytes = Setting(
        "max_value_bytes", .bytes(1...(48 << 20)), default: 8_388_608, change: .live, "Largest item, and custom event.")
    package static let tls = Setting<SettingValues?>(
        "tls", .object(TLSSettings.group), absent: "plain text", change: .live, "TLS on this port, for connections that come from then on.")
    package static let adapter = Setting(
        "adapter", .adapter([.keyValueStore(SettingGroup { KeyValueStoreSettings.channelSize }), .redisItems]), default: ["name": "kv"],
        change: .restart, "Where items are kept.")

    /// Everything but `adapter`, which a worker takes from the adapters that are registered with it.
    package static let own = SettingGroup(change: .restart) {
        host
        port
        authentication
        authenticationFailure
        joinFailure
        allowedOrigins
        tls
        maximumConnections
        maximumSubscriptions
        maximumQueuedFrames
        maximumQueuedBytes
        maximumTotalQueuedBytes
        maximumMessageBytes
        resumeWindow
        maximumResumeBytes
        presenceKey
        maximumValueBytes
    }

    package static let group = SettingGroup(change: .restart) {
        adapter
        own
    }
}
