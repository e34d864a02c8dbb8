import IIIProtocol

/// Keys of `iii-observability`. The level and the form of the log are the core's business and act without that executable.
package enum ObservabilitySettings {
    package enum LogFormat: String, Sendable, CaseIterable {
        case `default`
        case json
    }

    package static let level = Setting(
        "level", .text, default: "info", "Filter of the log: a level, or `target=level` parts separated by commas.")
    package static let format = Setting<LogFormat>(
        "format", .choice, default: "default", "Form of the log on the console; `--log-format` of `iii-core up` wins.")

    package static let group = SettingGroup(change: .restart) {
        level
        format
        SettingGroup(inert: "iii-observability is not part of this build") {
            Setting(
                "enabled", .boolean, absent: "true without a `config` block, else false", example: true, environment: "OTEL_ENABLED",
                "Collect telemetry.")
            Setting("service_name", .text, default: "iii", environment: "OTEL_SERVICE_NAME", "`service.name` of the engine.")
            Setting("service_version", .text, default: "unknown", environment: "SERVICE_VERSION", "`service.version` of the engine.")
            Setting(
                "service_namespace", .text, absent: "none", example: "production", environment: "SERVICE_NAMESPACE",
                "`service.namespace` of the engine.")
            traces
            metrics
            logs
            Setting<[SettingValues]>("alerts", .list(.object(alert)), default: [], "Rules over metrics.")
            Setting("live_spans", .anything, absent: "off", example: true, "Of newer releases.")
            Setting("span_collapse", .anything, absent: "off", example: [:], "Of newer releases.")
        }
    }

    private static let traces = SettingGroup {
        Setting<String?>(
            "exporter", .choice("otlp", "memory", "both"), absent: "`memory` without a `config` block, else `otlp`", example: "memory",
            environment: "OTEL_EXPORTER_TYPE", "Where spans go.")
        Setting(
            "endpoint", .text(.url("http", "https")), default: "http://localhost:4317", environment: "OTEL_EXPORTER_OTLP_ENDPOINT",
            "OTLP endpoint.")
        Setting("sampling_ratio", .ratio, default: 1.0, environment: "OTEL_TRACES_SAMPLER_ARG", "Share of traces that are kept.")
        Setting("sampling", .object(sampling), absent: "`sampling_ratio` alone", "Rules by operation and service.")
        Setting("memory_max_spans", .count, default: 1000, environment: "OTEL_MEMORY_MAX_SPANS", "Spans kept in memory.")
        Setting("trace_storage", .object(traceStorage), absent: "memory only", "Traces on disk.")
    }

    private static let metrics = SettingGroup {
        Setting(
            "metrics_enabled", .boolean, absent: "true without a `config` block, else false", example: true,
            environment: "OTEL_METRICS_ENABLED",
            "Keep metrics.")
        Setting("metrics_exporter", .choice("memory", "otlp"), default: "memory", environment: "OTEL_METRICS_EXPORTER", "Where metrics go.")
        Setting(
            "metrics_retention_seconds", .seconds, default: 3600, environment: "OTEL_METRICS_RETENTION_SECONDS",
            "How long metrics are kept.")
        Setting("metrics_max_count", .count, default: 10_000, environment: "OTEL_METRICS_MAX_COUNT", "Points that are kept.")
    }

    private static let logs = SettingGroup {
        Setting("logs_enabled", .boolean, default: true, "Keep logs.")
        Setting("logs_exporter", .choice("memory", "otlp", "both"), default: "memory", environment: "OTEL_LOGS_EXPORTER", "Where logs go.")
        Setting("logs_max_count", .count, default: 1000, "Records that are kept.")
        Setting("logs_retention_seconds", .seconds, default: 3600, "How long records are kept.")
        Setting("logs_batch_size", .count, default: 100, environment: "OTEL_LOGS_BATCH_SIZE", "Records per export.")
        Setting(
            "logs_flush_interval_ms", .milliseconds, default: 5000, environment: "OTEL_LOGS_FLUSH_INTERVAL_MS",
            "Longest wait for an export.")
        Setting("logs_sampling_ratio", .ratio, default: 1.0, "Share of records that are kept.")
        Setting("logs_console_output", .boolean, default: true, "Records also go to the console.")
    }

    private static let sampling = SettingGroup {
        Setting("default", .ratio, absent: "`sampling_ratio`", example: 1.0, "Share where no rule fits.")
        Setting("parent_based", .boolean, absent: "false", example: true, "Follow the parent's decision.")
        Setting<[SettingValues]>("rules", .list(.object(samplingRule)), default: [], "The first that fits decides.")
        Setting("rate_limit", .object(rateLimit), absent: "none", "Ceiling over all rules.")
    }

    private static let samplingRule = SettingGroup {
        Setting("operation", .text, absent: "any", example: "checkout::*", "Name of the span.")
        Setting("service", .text, absent: "any", example: "shop", "Name of the service.")
        Setting(required: "rate", .ratio, example: 0.1, "Share that is kept.")
    }

    private static let rateLimit = SettingGroup {
        Setting("max_traces_per_second", .count, absent: "none", example: 100, "Traces a second.")
    }

    private static let alert = SettingGroup {
        Setting(required: "name", .text, example: "errors", "Name of the alert.")
        Setting(required: "metric", .text, example: "iii.invocations.error", "Metric that is watched.")
        Setting(required: "threshold", .number(-Double.infinity...Double.infinity), example: 10, "Value it is compared with.")
        Setting(
            "operator",
            .choice(
                ">", ">=", "<", "<=", "==", "!=", "greaterthan", "greaterthanorequal", "lessthan", "lessthanorequal", "equal", "notequal"),
            default: ">", "Comparison that raises the alert.")
        Setting("window_seconds", .seconds, default: 60, "Time that is looked at.")
        Setting("cooldown_seconds", .seconds, default: 60, "Shortest time between two alerts.")
        Setting("enabled", .boolean, default: true, "Whether it is watched.")
        Setting("action", .object(alertAction), default: ["type": "log"], "What an alert does.")
    }

    private static let actionType = Setting("type", .choice("log", "webhook", "function"), default: "log", "Kind of action.")
    private static let actionURL = Setting(
        "url", .text(.url("http", "https")), example: "https://example.com/alert", "Target of a webhook.")
    private static let actionPath = Setting("path", .text, example: "alerts::raise", "Function to call.")

    private static let alertAction = SettingGroup {
        actionType
        actionURL
        actionPath
        SettingRule("A webhook needs `url`, a function needs `path`.") { values in
            switch values[actionType] {
            case "webhook" where values[actionURL] == nil: [.problem(message: "an action of type webhook needs `url`")]
            case "function" where values[actionPath] == nil: [.problem(message: "an action of type function needs `path`")]
            default: []
            }
        }
    }

    private static let traceStorage = SettingGroup {
        Setting("enabled", .boolean, default: true, "Keep traces on disk.")
        Setting("directory", .text, default: "./data/observability/traces", "Where they are kept.")
        Setting("max_disk_bytes", .bytes, default: 1_073_741_824, "Oldest traces are removed above this.")
        Setting("retention_seconds", .seconds, default: 2_592_000, "How long traces are kept.")
        Setting("memory_max_bytes", .bytes, default: 268_435_456, "Memory for traces that are not complete.")
        Setting("memory_low_watermark_ratio", .ratio, default: 0.75, "Share of memory that eviction frees down to.")
        Setting("pending_max_age_seconds", .seconds, default: 3600, "Longest wait for the rest of a trace.")
    }
}
