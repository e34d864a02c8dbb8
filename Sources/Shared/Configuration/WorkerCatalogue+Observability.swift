import IIIProtocol

// Schema of `iii-observability`. Most defaults come from OTEL_* variables that the worker itself reads, so they are not here.
extension WorkerCatalogue {
    private static let ratio = ConfigurationSchema.number(0...1)

    static let observabilitySchema: ConfigurationSchema = .object([
        "enabled": .init(.bool),
        "service_name": .init(.string),
        // `1.0` without quotes is a number in YAML and a version to everybody else.
        "service_version": .init(.either([.string, .number(-Double.infinity...Double.infinity)])),
        "service_namespace": .init(.string),
        "exporter": .init(.choice(["otlp", "memory", "both"])),
        "endpoint": .init(.string),
        "sampling_ratio": .init(ratio),
        "sampling": .init(samplingSchema),
        "memory_max_spans": .init(.count),
        "metrics_enabled": .init(.bool),
        "metrics_exporter": .init(.choice(["memory", "otlp"])),
        "metrics_retention_seconds": .init(.count),
        "metrics_max_count": .init(.count),
        "logs_enabled": .init(.bool, default: true),
        "logs_exporter": .init(.choice(["memory", "otlp", "both"])),
        "logs_max_count": .init(.count, default: 1000),
        "logs_retention_seconds": .init(.count, default: 3600),
        "logs_batch_size": .init(.count),
        "logs_flush_interval_ms": .init(.milliseconds),
        "logs_sampling_ratio": .init(ratio, default: 1.0),
        "logs_console_output": .init(.bool, default: true),
        "alerts": .init(.list(alertSchema), default: []),
        "level": .init(.string, default: "info"),
        "format": .init(.choice(["default", "json"]), default: "default"),
        // Of newer releases.
        "live_spans": .init(.any),
        "span_collapse": .init(.any),
        "trace_storage": .init(traceStorageSchema),
    ])

    private static let samplingSchema: ConfigurationSchema = .object([
        "default": .init(ratio),
        "parent_based": .init(.bool),
        "rules": .init(
            .list(.object(["operation": .init(.string), "service": .init(.string), "rate": .init(ratio, required: true)])), default: []),
        "rate_limit": .init(.object(["max_traces_per_second": .init(.count)])),
    ])

    private static let operators = [
        ">", ">=", "<", "<=", "==", "!=", "greaterthan", "greaterthanorequal", "lessthan", "lessthanorequal", "equal", "notequal",
    ]

    private static let alertSchema: ConfigurationSchema = .object([
        "name": .init(.string, required: true),
        "metric": .init(.string, required: true),
        "threshold": .init(.number(-Double.infinity...Double.infinity), required: true),
        "operator": .init(.choice(operators), default: ">"),
        "window_seconds": .init(.count, default: 60),
        "cooldown_seconds": .init(.count, default: 60),
        "enabled": .init(.bool, default: true),
        "action": .init(
            .object([
                "type": .init(.choice(["log", "webhook", "function"]), required: true), "url": .init(.string), "path": .init(.string),
            ]), default: ["type": "log"]),
    ])

    private static let traceStorageSchema: ConfigurationSchema = .object([
        "enabled": .init(.bool, default: true),
        "directory": .init(.string, default: "./data/observability/traces"),
        "max_disk_bytes": .init(.bytes, default: 1_073_741_824),
        "retention_seconds": .init(.count, default: 2_592_000),
        "memory_max_bytes": .init(.bytes, default: 268_435_456),
        "memory_low_watermark_ratio": .init(ratio, default: 0.75),
        "pending_max_age_seconds": .init(.count, default: 3600),
    ])
}
