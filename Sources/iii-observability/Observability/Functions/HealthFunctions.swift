import IIIProtocol
import IIISettings
import IIITelemetry
import IIIWorker

/// The functions `engine::health::check` and `engine::sampling::rules` (docs/reference/observability.md#health-and-sampling).
struct HealthFunctions {
    let worker: ObservabilityWorker

    func register(on link: WorkerLink) {
        worker.serve("engine::health::check", "How the parts of observability are", InputSchema.object([:]), on: link) {
            _ throws(InvocationError) in
            let (values, intake, name) = (worker.configuration.values, worker.intake, worker.exporterName)
            return { stores in Self.health(values, intake, exporter: name, stores) }
        }
        worker.serve("engine::sampling::rules", "Which traces are recorded", InputSchema.object([:]), on: link) {
            _ throws(InvocationError) in
            let values = worker.configuration.values
            return { _ in Self.rules(values) }
        }
    }

    private static func health(
        _ values: SettingValues, _ intake: TelemetryIntake, exporter: String, _ stores: TelemetryStores
    ) -> JSONValue {
        func component(_ isEnabled: Bool, _ details: [String: JSONValue]) -> JSONValue {
            isEnabled ? ["status": "healthy", "details": .object(details)] : ["status": "disabled", "details": .null]
        }
        let isEnabled = values[ObservabilitySettings.enabled]
        let (traces, spanBytes, evicted) = stores.traces { ($0.spanCount, $0.bytes, $0.evictedSpans) }
        let logs = stores.logs { $0.count }
        let metrics = stores.metrics { records, _ in records.count }
        return [
            "status": "healthy",
            "components": [
                "otel": component(
                    isEnabled,
                    [
                        "enabled": .bool(isEnabled), "service_name": .string(values[ObservabilitySettings.serviceName]),
                        "exporter": .string(exporter), "rejected": .integer(intake.rejected), "dropped": .integer(intake.dropped),
                        "waiting_bytes": JSONValue(intake.waitingBytes),
                    ]),
                "metrics": component(isEnabled && values[ObservabilitySettings.metricsEnabled], ["stored_metrics": JSONValue(metrics)]),
                "logs": component(isEnabled && values[ObservabilitySettings.logsEnabled], ["stored_logs": JSONValue(logs)]),
                "spans": component(
                    isEnabled, ["stored_spans": JSONValue(traces), "hot_bytes": JSONValue(spanBytes), "evicted_spans": JSONValue(evicted)]),
            ],
            "timestamp": .integer(Int64(WallClock.milliseconds())), "version": .string(workerLibraryVersion),
        ]
    }

    private static func rules(_ values: SettingValues) -> JSONValue {
        let sampling = values[ObservabilitySettings.sampling]
        let ratio = sampling?[ObservabilitySettings.samplingDefault] ?? values[ObservabilitySettings.samplingRatio]
        let rules = (sampling?[ObservabilitySettings.samplingRules] ?? []).map { rule -> JSONValue in
            [
                "operation": JSONValue(rule[ObservabilitySettings.ruleOperation]),
                "service": JSONValue(rule[ObservabilitySettings.ruleService]),
                "rate": .double(rule[ObservabilitySettings.ruleRate]),
            ]
        }
        return [
            "traces": [
                "default_ratio": .double(ratio), "rules": .array(rules),
                "parent_based": .bool(sampling?[ObservabilitySettings.parentBased] ?? true),
            ],
            "logs": ["sampling_ratio": .double(values[ObservabilitySettings.logsSamplingRatio])],
            "timestamp": .integer(Int64(WallClock.milliseconds())),
        ]
    }
}
