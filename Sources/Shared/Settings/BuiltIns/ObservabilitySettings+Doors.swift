import IIIProtocol

/// What `iii-observability` opens for others, and sends to others (docs/reference/observability.md).
extension ObservabilitySettings {
    /// Where one of its ports listens.
    package enum Door {
        package static let enabled = Setting("enabled", .boolean, default: true, "Whether the port is open.")
        package static let isReceiving = Setting("enabled", .boolean, default: false, "Whether the port is open.")
        package static let host = Setting("host", .text(.host), default: "127.0.0.1", "Address to listen on.")
        package static let prometheusPort = Setting(
            "port", .port, default: 9464, "0 takes any free port. The default one is left shut, with a warning, where it is taken.")
        package static let otlpPort = Setting("port", .port, default: 4318, "Likewise.")
        package static let maximumRequestBytes = Setting(
            "max_request_bytes", .bytes(1024...(1 << 28)), default: 20_971_520, "Longest request, as it comes and unpacked; 413 beyond.")
        package static let key = Setting<String?>(
            "api_key", .text, absent: "nobody is asked", example: "${OTLP_API_KEY}", secret: true,
            "Asked for in the header `x-otlp-api-key`.")
        package static let allowedOrigins = Setting<[String]>(
            "allowed_origins", .list(.text), default: [], "Web pages that may send, as `https://app.example.com`; `*` for all.")
    }

    package static let prometheus = Setting<SettingValues>(
        "prometheus", .object(prometheusGroup), default: [:], "`GET /metrics`: everything that the fleet counts, for Prometheus.")
    package static let otlpReceiver = Setting<SettingValues>(
        "otlp_receiver", .object(receiverGroup), default: [:], "OTLP/HTTP of services that know nothing of this engine.")

    private static let prometheusGroup = SettingGroup {
        Door.enabled
        Door.host
        Door.prometheusPort
    }

    private static let receiverGroup = SettingGroup {
        Door.isReceiving
        Door.host
        Door.otlpPort
        Door.maximumRequestBytes
        Door.key
        Door.allowedOrigins
    }

    /// Where telemetry is exported to.
    package enum Export {
        package static let endpoint = Setting(
            "endpoint", .text(.url("http", "https")), default: "http://localhost:4318", environment: "OTEL_EXPORTER_OTLP_ENDPOINT",
            "OTLP/HTTP receiver; `/v1/traces` and its like come behind its path.")
        package static let tracesEndpoint = Setting<String?>(
            "traces_endpoint", .text(.url("http", "https")), absent: "`endpoint`", example: "http://localhost:4318/v1/traces",
            environment: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "For spans, used as it is.")
        package static let metricsEndpoint = Setting<String?>(
            "metrics_endpoint", .text(.url("http", "https")), absent: "`endpoint`", example: "http://localhost:4318/v1/metrics",
            environment: "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "For metrics, used as it is.")
        package static let logsEndpoint = Setting<String?>(
            "logs_endpoint", .text(.url("http", "https")), absent: "`endpoint`", example: "http://localhost:4318/v1/logs",
            environment: "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "For log records, used as it is.")
        package static let encoding = Setting(
            "protocol", .choice("http/protobuf", "http/json", "grpc"), default: "http/protobuf",
            environment: "OTEL_EXPORTER_OTLP_PROTOCOL",
            "How documents are written. `grpc` is not in this build: collectors take `http/protobuf` on port 4318.")
        package static let headers = Setting<String?>(
            "headers", .text, absent: "none", example: "x-tenant=shop", secret: true, environment: "OTEL_EXPORTER_OTLP_HEADERS",
            "Sent with every request: `name=value,name=value`, percent-encoded.")
        package static let timeout = Setting(
            "export_timeout_ms", .milliseconds(100...600_000), default: 10_000, environment: "OTEL_EXPORTER_OTLP_TIMEOUT",
            "Longest wait for an answer.")
        package static let certificate = Setting<String?>(
            "ca_file", .text, absent: "the system's", example: "/etc/iii/ca.pem", environment: "OTEL_EXPORTER_OTLP_CERTIFICATE",
            "Authorities that are trusted, in place of the system's.")
        package static let batchSize = Setting(
            "export_batch_size", .count(1...100_000), default: 512, environment: "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "Spans of one request.")
        package static let interval = Setting(
            "export_interval_ms", .milliseconds(50...3_600_000), default: 5000, environment: "OTEL_BSP_SCHEDULE_DELAY",
            "Longest time a span waits for others.")
        package static let bufferBytes = Setting(
            "export_buffer_bytes", .bytes(65_536...(1 << 32)), default: 16_777_216,
            "What may wait for the receiver, for each signal; the oldest is dropped and counted beyond it.")
        package static let metricsInterval = Setting(
            "metrics_export_interval_ms", .milliseconds(100...3_600_000), default: 60_000, environment: "OTEL_METRIC_EXPORT_INTERVAL",
            "Time between two exports of metrics.")
    }

    static let export = SettingGroup {
        Export.endpoint
        Export.tracesEndpoint
        Export.metricsEndpoint
        Export.logsEndpoint
        Export.encoding
        Export.headers
        Export.timeout
        Export.certificate
        Export.batchSize
        Export.interval
        Export.bufferBytes
        Export.metricsInterval
    }

    package static let metricsExporter = Setting(
        "metrics_exporter", .choice("memory", "otlp"), default: "memory", environment: "OTEL_METRICS_EXPORTER",
        "Where metrics go; `otlp`: they are exported, too.")
    package static let logsExporter = Setting(
        "logs_exporter", .choice("memory", "otlp", "both"), default: "memory", environment: "OTEL_LOGS_EXPORTER",
        "Where logs go; `otlp` and `both`: they are exported, too.")
    package static let logsBatchSize = Setting(
        "logs_batch_size", .count, default: 100, environment: "OTEL_LOGS_BATCH_SIZE", "Log records of one request.")
    package static let logsFlushInterval = Setting(
        "logs_flush_interval_ms", .milliseconds, default: 5000, environment: "OTEL_LOGS_FLUSH_INTERVAL_MS",
        "Longest time a log record waits for others.")

    package static let allowsPrivateWebhooks = Setting(
        "alerts_allow_private_webhooks", .boolean, default: false, "Webhooks of alerts may go to private and loopback addresses.")

    /// Keys of one rule of `alerts`.
    package enum Alert {
        package static let name = Setting(required: "name", .text, example: "errors", "Name of the alert; each has its own.")
        package static let metric = Setting(required: "metric", .text, example: "iii.invocations.error", "Metric that is watched.")
        package static let threshold = Setting(
            required: "threshold", .number(-Double.infinity...Double.infinity), example: 10, "Value it is compared with.")
        package static let comparison = Setting(
            "operator",
            .choice(
                ">", ">=", "<", "<=", "==", "!=", "greaterthan", "greaterthanorequal", "lessthan", "lessthanorequal", "equal", "notequal"),
            default: ">", "Comparison that raises the alert.")
        package static let window = Setting("window_seconds", .seconds, default: 60, "Time that is looked at; 0: the latest value.")
        package static let holdsFor = Setting("for_seconds", .seconds, default: 0, "How long it has to hold before it fires.")
        package static let cooldown = Setting("cooldown_seconds", .seconds, default: 60, "Shortest time between two alerts.")
        package static let enabled = Setting("enabled", .boolean, default: true, "Whether it is watched.")
    }
}
