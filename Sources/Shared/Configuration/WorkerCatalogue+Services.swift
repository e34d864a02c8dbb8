import IIIProtocol

// Schemas of the workers that do not listen.
extension WorkerCatalogue {
    static let telemetrySchema: ConfigurationSchema = .object([
        "enabled": .init(.bool, default: true),
        "sdk_api_key": .init(.string),
        "heartbeat_interval_secs": .init(.count, default: 21600),
        "posthog_api_key": .init(.string),
        "posthog_host": .init(.string),
    ])

    static let stateSchema: ConfigurationSchema = .object([
        "adapter": .init(adapter(["kv", "redis", "bridge"]), default: ["name": "kv"]),
        "triggers_enabled": .init(.bool),
        "max_value_bytes": .init(.bytes),
        "save_interval_ms": .init(.milliseconds),
    ])

    static let queueSchema: ConfigurationSchema = .object([
        "queue_configs": .init(.map(queueConfigSchema), default: [:]),
        "adapter": .init(adapter(["builtin", "redis", "rabbitmq", "bridge"]), default: ["name": "builtin"]),
    ])

    private static let queueConfigSchema: ConfigurationSchema = .object([
        "type": .init(.choice(["standard", "fifo"]), default: "standard"),
        "max_retries": .init(.count, default: 3),
        "concurrency": .init(.count, default: 10),
        "message_group_field": .init(.string),
        "backoff_ms": .init(.milliseconds, default: 1000),
        "poll_interval_ms": .init(.milliseconds, default: 100),
        "max_priority": .init(.integer(1...255)),
        "priority_field": .init(.string),
    ])

    static let pubsubSchema: ConfigurationSchema = .object([
        "adapter": .init(adapter(["local", "redis"]), default: ["name": "local"])
    ])

    static let cronSchema: ConfigurationSchema = .object([
        "adapter": .init(adapter(["kv", "redis"]), default: ["name": "kv"])
    ])

    static let httpFunctionsSchema: ConfigurationSchema = .object([
        "security": .init(
            .object([
                "url_allowlist": .init(.list(.string), default: []),
                "block_private_ips": .init(.bool, default: true),
                "require_https": .init(.bool, default: true),
            ]), default: [:]),
        // Ours.
        "max_response_bytes": .init(.bytes, default: 67_108_864),
        "max_concurrent_requests": .init(.count, default: 1024),
        "ca_file": .init(.string),
    ])

    static let bridgeSchema: ConfigurationSchema = .object([
        "url": .init(.string),
        "service_id": .init(.string),
        "service_name": .init(.string),
        "expose": .init(
            .list(.object(["local_function": .init(.string, required: true), "remote_function": .init(.string)])), default: []),
        "forward": .init(
            .list(
                .object([
                    "local_function": .init(.string, required: true), "remote_function": .init(.string, required: true),
                    "timeout_ms": .init(.milliseconds, default: 30000),
                ])), default: []),
    ])

    /// `exec` and `watch` are the reference's keys; commands as maps and `ignore` are ours (spec §18).
    static let execSchema: ConfigurationSchema = .object([
        "exec": .init(
            .list(
                .either([
                    .string,
                    .object([
                        "command": .init(.string, required: true), "name": .init(.string), "cwd": .init(.string),
                        "env": .init(.map(.either([.string, .bool, .number(-Double.infinity...Double.infinity)]))),
                    ]),
                ])), required: true),
        "watch": .init(.list(.string)),
        "ignore": .init(.list(.string), default: [".git", "node_modules", "target", ".build"]),
    ])

    static let configurationSchema: ConfigurationSchema = .object([
        "adapter": .init(adapter(["fs", "bridge"]), default: ["name": "fs"]),
        "ttl_seconds": .init(.count, default: 0),
    ])
}
