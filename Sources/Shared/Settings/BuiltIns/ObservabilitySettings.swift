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
        enabled
        serviceName
        serviceVersion
        serviceNamespace
        prometheus
        otlpReceiver
        exporter
        export
        metricsExporter
        logsExporter
        logsBatchSize
        logsFlushInterval
        alerts
        allowsPrivateWebhooks
        traces
        metrics
        logs
        liveSpans
        Setting("span_collapse", .anything, absent: "off", example: [:], inert: later, "Of newer releases.")
    }

    /// What is declared and acts on nothing yet.
    private static let later = "not served by this build of iii-observability"

    // MARK: Who sends

    package static let enabled = Setting(
        "enabled", .boolean, default: true, environment: "OTEL_ENABLED",
        "Collect telemetry. `false`: frames are dropped unread, the functions answer, nothing is traced.")
    package static let serviceName = Setting(
        "service_name", .text, default: "iii", environment: "OTEL_SERVICE_NAME", "`service.name` of the engine.")
    package static let serviceVersion = Setting<String?>(
        "service_version", .text, absent: "the version of the engine", example: "1.0.0", environment: "SERVICE_VERSION",
        "`service.version` of the engine.")
    package static let serviceNamespace = Setting<String?>(
        "service_namespace", .text, absent: "none", example: "production", environment: "SERVICE_NAMESPACE",
        "`service.namespace` of the engine.")

    // MARK: Traces

    package static let exporter = Setting(
        "exporter", .choice("otlp", "memory", "both"), default: "memory", environment: "OTEL_EXPORTER_TYPE", "Where spans go.")
    package static let samplingRatio = Setting(
        "sampling_ratio", .ratio, default: 1.0, environment: "OTEL_TRACES_SAMPLER_ARG",
        "Share of the traces begun by the engine that are recorded.")
    package static let sampling = Setting<SettingValues?>(
        "sampling", .object(samplingGroup), absent: "`sampling_ratio` alone", "Rules by operation and service.")
    package static let maximumSpans = Setting(
        "memory_max_spans", .count, default: 10_000, environment: "OTEL_MEMORY_MAX_SPANS",
        "Spans that are kept; above it whole traces go, the one that was last added to longest ago first.")
    package static let traceStorage = Setting<SettingValues?>(
        "trace_storage", .object(traceStorageGroup), absent: "memory only", "Traces on disk.")
    package static let liveSpans = Setting(
        "live_spans", .boolean, default: true, environment: "OTEL_LIVE_SPANS", "Spans under way are shown, as `pending`.")

    private static let traces = SettingGroup {
        samplingRatio
        sampling
        maximumSpans
        traceStorage
    }

    // MARK: Metrics

    package static let metricsEnabled = Setting(
        "metrics_enabled", .boolean, default: true, environment: "OTEL_METRICS_ENABLED", "Count calls by function, and keep metrics.")
    package static let metricsRetention = Setting(
        "metrics_retention_seconds", .seconds, default: 3600, environment: "OTEL_METRICS_RETENTION_SECONDS",
        "How long metrics are kept; 0: no limit of age.")
    package static let maximumMetrics = Setting(
        "metrics_max_count", .count, default: 10_000, environment: "OTEL_METRICS_MAX_COUNT",
        "Records that are kept, one per metric and frame.")
    package static let maximumMetricBytes = Setting(
        "metrics_max_bytes", .bytes(1_048_576...(1 << 50)), default: 67_108_864, "Memory for metrics; the oldest go above it.")

    private static let metrics = SettingGroup {
        metricsEnabled
        metricsRetention
        maximumMetrics
        maximumMetricBytes
    }

    // MARK: Logs

    package static let logsEnabled = Setting("logs_enabled", .boolean, default: true, "Keep logs.")
    package static let maximumLogs = Setting("logs_max_count", .count, default: 1000, "Records that are kept; the oldest go above it.")
    package static let maximumLogBytes = Setting(
        "logs_max_bytes", .bytes(1_048_576...(1 << 50)), default: 67_108_864, "Memory for records; the oldest go above it.")
    package static let logsRetention = Setting(
        "logs_retention_seconds", .seconds, default: 3600, "How long records are kept; 0: no limit of age.")
    package static let logsSamplingRatio = Setting(
        "logs_sampling_ratio", .ratio, default: 1.0, "Share of the records below WARN of `engine::log::*` that are kept.")
    package static let logsConsoleOutput = Setting(
        "logs_console_output", .boolean, default: true, "Records of workers also go to the console.")

    private static let logs = SettingGroup {
        logsEnabled
        maximumLogs
        maximumLogBytes
        logsRetention
        logsSamplingRatio
        logsConsoleOutput
    }

    // MARK: Sampling

    package static let samplingDefault = Setting<Double?>(
        "default", .ratio, absent: "`sampling_ratio`", example: 1.0, "Share where no rule fits.")
    package static let parentBased = Setting<Bool?>(
        "parent_based", .boolean, absent: "true", example: true, inert: later, "Follow the parent's decision.")
    package static let samplingRules = Setting<[SettingValues]>(
        "rules", .list(.object(samplingRuleGroup)), default: [], inert: later, "The first that fits decides.")
    package static let rateLimit = Setting<SettingValues?>(
        "rate_limit", .object(rateLimitGroup), absent: "none", inert: later, "Ceiling over all rules.")
    package static let ruleOperation = Setting<String?>(
        "operation", .text, absent: "any", example: "checkout::*", "Name of the span; `*` and `?` stand for any text and any character.")
    package static let ruleService = Setting<String?>(
        "service", .text, absent: "any", example: "shop", "Name of the service, likewise.")
    package static let ruleRate = Setting(required: "rate", .ratio, example: 0.1, "Share that is kept.")
    package static let maximumTracesPerSecond = Setting<Int?>(
        "max_traces_per_second", .count, absent: "none", example: 100, "Traces a second.")

    private static let samplingGroup = SettingGroup {
        samplingDefault
        parentBased
        samplingRules
        rateLimit
    }

    private static let samplingRuleGroup = SettingGroup {
        ruleOperation
        ruleService
        ruleRate
    }

    private static let rateLimitGroup = SettingGroup { maximumTracesPerSecond }

    // MARK: Alerts

    package static let alerts = Setting<[SettingValues]>("alerts", .list(.object(alert)), default: [], "Rules over metrics.")
    package static let alertAction = Setting<SettingValues>(
        "action", .object(alertActionGroup), default: ["type": "log"], "What an alert does.")

    private static let alert = SettingGroup {
        Alert.name
        Alert.metric
        Alert.threshold
        Alert.comparison
        Alert.window
        Alert.holdsFor
        Alert.cooldown
        Alert.enabled
        alertAction
    }

    package static let actionType = Setting("type", .choice("log", "webhook", "function"), default: "log", "Kind of action.")
    package static let actionURL = Setting<String?>(
        "url", .text(.url("http", "https")), example: "https://example.com/alert", "Target of a webhook.")
    package static let actionPath = Setting<String?>("path", .text, example: "alerts::raise", "Function to call.")

    private static let alertActionGroup = SettingGroup {
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

    // MARK: Traces on disk

    package static let storageEnabled = Setting("enabled", .boolean, default: true, inert: later, "Keep traces on disk.")
    package static let storageDirectory = Setting(
        "directory", .text, default: "./data/observability/traces", inert: later, "Where they are kept.")
    package static let maximumDiskBytes = Setting(
        "max_disk_bytes", .bytes(67_108_864...(1 << 50)), default: 1_073_741_824, inert: later, "Oldest traces are removed above this.")
    package static let storageRetention = Setting(
        "retention_seconds", .seconds, default: 2_592_000, "How long traces are kept; 0: no limit of age.")
    package static let maximumSpanBytes = Setting(
        "memory_max_bytes", .bytes(16_777_216...(1 << 50)), default: 268_435_456, "Memory for traces.")

    private static let traceStorageGroup = SettingGroup {
        storageEnabled
        storageDirectory
        maximumDiskBytes
        storageRetention
        maximumSpanBytes
        Setting(
            "memory_low_watermark_ratio", .number(0.5...0.95), default: 0.75, inert: later, "Share of memory that eviction frees down to.")
        Setting("pending_max_age_seconds", .seconds, default: 3600, inert: later, "Longest wait for the end of a span.")
    }
}
