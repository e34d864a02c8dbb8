import IIIProtocol

// Schemas of the workers that listen: `iii-worker-manager`, `iii-http`, `iii-stream`.
extension WorkerCatalogue {
    static let workerManagerSchema: ConfigurationSchema = .object([
        "host": .init(.string, default: "127.0.0.1"),
        "port": .init(.port, default: 49134),
        "middleware_function_id": .init(.string),
        "rbac": .init(rbacSchema),
        "handshake_timeout_ms": .init(.milliseconds, default: 10000),
        // Ours: TLS, web pages that may connect, limits of the listener and of what one worker may occupy.
        "tls": .init(tlsSchema),
        "allowed_origins": .init(.list(origin), default: []),
        "max_connections": .init(.count, default: 10000),
        "max_handshakes": .init(.integer(1...1_000_000), default: 1024),
        "max_message_bytes": .init(.bytes, default: 67_108_864),
        "max_frame_bytes": .init(.bytes, default: 67_108_864),
        "ping_interval_ms": .init(.milliseconds, default: 20000),
        "silence_timeout_ms": .init(.milliseconds, default: 75000),
        "write_stall_timeout_ms": .init(.milliseconds, default: 30000),
        "outbound_high_water_bytes": .init(.bytes, default: 4_194_304),
        "outbound_max_bytes": .init(.bytes, default: 134_217_728),
        "outbound_total_bytes": .init(.bytes, default: 201_326_592),
        "inbound_total_bytes": .init(.bytes, default: 134_217_728),
        "max_in_flight": .init(.count, default: 65536),
        "max_registration_bytes": .init(.bytes, default: 1_048_576),
        "max_functions_per_worker": .init(.count, default: 10000),
        "max_triggers_per_worker": .init(.count, default: 10000),
        "max_trigger_types_per_worker": .init(.count, default: 1000),
        "registered_bytes_per_worker": .init(.bytes, default: 33_554_432),
        "registered_bytes": .init(.bytes, default: 67_108_864),
        "max_durable_triggers": .init(.count, default: 10000),
        "max_engine_calls": .init(.count, default: 1024),
        "trace_context_buffer_bytes": .init(.bytes, default: 8_388_608),
        "max_held_calls": .init(.count, default: 1024),
        "held_calls_buffer_bytes": .init(.bytes, default: 33_554_432),
        "max_channels_per_worker": .init(.count, default: 10000),
        "channel_buffer_bytes": .init(.bytes, default: 16_777_216),
        "channels_buffer_bytes": .init(.bytes, default: 67_108_864),
        "telemetry_buffer_bytes": .init(.bytes, default: 4_194_304),
        "invocation_policy": .init(.choice(["latest", "round_robin", "least_pending"]), default: "latest"),
    ])

    private static let origin: ConfigurationSchema = .checkedString(expected: "an origin such as https://app.example.com, or *") { text in
        if text == "*" || text == "null" { return true }
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        return parts.count == 3 && parts[0].hasSuffix(":") && parts[0].count > 1 && parts[1].isEmpty && !parts[2].isEmpty
            && !parts[2].contains { $0 == " " || $0 == "?" || $0 == "#" || $0 == "*" || $0 == "@" }
    }

    private static let rbacSchema: ConfigurationSchema = .object(
        [
            "auth_function_id": .init(.string),
            "expose_functions": .init(.list(.either([matchExpression, exposeByMetadata])), default: []),
            "on_function_registration_function_id": .init(.string),
            "on_trigger_registration_function_id": .init(.string),
            "on_trigger_type_registration_function_id": .init(.string),
        ], open: true)

    private static let matchExpression: ConfigurationSchema = .checkedString(expected: "match(\"pattern\")") { text in
        guard text.hasPrefix("match("), text.hasSuffix(")"), text.utf8.count >= 9 else { return false }
        let inner = text.dropFirst(6).dropLast()
        return (inner.hasPrefix("\"") && inner.hasSuffix("\"")) || (inner.hasPrefix("'") && inner.hasSuffix("'"))
    }

    private static let exposeByMetadata: ConfigurationSchema = .object(["metadata": .init(.map(.any), required: true)], open: true)

    static let httpSchema: ConfigurationSchema = .object([
        "host": .init(.string, default: "127.0.0.1"),
        "port": .init(.port, default: 3111),
        "default_timeout": .init(.milliseconds, default: 30000),
        "concurrency_request_limit": .init(.count, default: 1024),
        "cors": .init(corsSchema),
        "tls": .init(tlsSchema),
        "middleware": .init(.list(middlewareSchema), default: []),
        // In the 0.11.6 manual (http.md §3.3).
        "body_limit": .init(.bytes, default: 16_777_216),
        "trust_proxy": .init(.bool, default: false),
        // Without a default here: an explicit null means "no request ids" and must reach the gateway. Absent: `x-request-id`.
        "request_id_header": .init(.string),
        "ignore_trailing_slash": .init(.bool, default: false),
        "not_found_function": .init(.string),
        // Ours (http.md §20). Without `concurrency_queue_limit` four times the request limit may wait.
        "stream_body_limit": .init(.bytes),
        "shutdown_grace_ms": .init(.milliseconds, default: 10000),
        "concurrency_queue_limit": .init(.count),
        "header_timeout_ms": .init(.milliseconds, default: 10000),
        "idle_timeout_ms": .init(.milliseconds, default: 75000),
        "error_format": .init(.choice(["flat", "envelope"]), default: "flat"),
        "null_result_grace_ms": .init(.milliseconds, default: 1000),
        "invalid_json": .init(.choice(["null", "reject"]), default: "null"),
        "max_head_bytes": .init(.bytes, default: 65536),
        "max_header_count": .init(.count, default: 100),
        "max_connections": .init(.count, default: 10000),
        "max_requests_per_connection": .init(.count, default: 0),
        "body_timeout_ms": .init(.milliseconds, default: 30000),
        "write_stall_timeout_ms": .init(.milliseconds, default: 30000),
        "middleware_mode": .init(.choice(["lenient", "strict"]), default: "lenient"),
        "extended_request": .init(.bool, default: false),
        "plain_return_as_body": .init(.bool, default: false),
        "error_status_mapping": .init(.bool, default: false),
        "hide_error_messages": .init(.bool, default: false),
        "health_path_prefix": .init(.string),
        "openapi_path": .init(.string),
        "access_log": .init(.choice(["off", "text", "json"]), default: "off"),
        "access_log_sample": .init(.number(0...1), default: 1.0),
        "compression": .init(.choice(["off", "gzip"]), default: "off"),
        "compression_min_bytes": .init(.bytes, default: 1024),
        "etag": .init(.bool, default: false),
    ])

    private static let corsSchema: ConfigurationSchema = .object([
        "allowed_origins": .init(.list(.string), default: []),
        "allowed_methods": .init(.list(.string), default: []),
        "allowed_headers": .init(.list(.string)),
        "expose_headers": .init(.list(.string)),
        "allow_credentials": .init(.bool),
        "max_age": .init(.count),
    ])

    /// Absent: plain HTTP. YAML reads an unquoted 1.2 as a number.
    private static let tlsSchema: ConfigurationSchema = .object([
        "cert_file": .init(.string, required: true),
        "key_file": .init(.string, required: true),
        "min_version": .init(.either([.choice(["1.2", "1.3"]), .number(1.2...1.3)]), default: "1.2"),
        "client_ca_file": .init(.string),
        "key_password_env": .init(.string),
    ])

    /// Closed, unlike the reference's: a misspelt `priority` or `phase` of an authentication step is a hole.
    private static let middlewareSchema: ConfigurationSchema = .object([
        "function_id": .init(.string, required: true),
        "phase": .init(.choice(["preHandler"]), default: "preHandler"),
        "priority": .init(.integer(Int64(Int32.min)...Int64(Int32.max)), default: 0),
    ])

    static let streamSchema: ConfigurationSchema = .object([
        "host": .init(.string, default: "127.0.0.1"),
        "port": .init(.port, default: 3112),
        "auth_function": .init(.string),
        "adapter": .init(adapter(["kv", "redis", "bridge"]), default: ["name": "kv"]),
    ])

    /// `{name, config}`. Adapter configs are not validated here: the adapter knows its keys (spec §16).
    static func adapter(_ names: [String]) -> ConfigurationSchema {
        .object(["name": .init(.choice(names), required: true), "config": .init(.map(.any))])
    }
}
