import Glibc
import IIIProtocol
import IIISettings
import IIISignals
import IIIWorker

/// The settings of an `iii-observability` entry, read and checked.
struct ObservabilityConfiguration: Sendable {
    let values: SettingValues
    /// `DEPLOYMENT_ENVIRONMENT` of this process.
    private let deployment: String?

    init(_ json: JSONValue) throws(ConfigurationError) {
        do throws(InvalidSettings) { values = try ObservabilitySettings.group.read(json) } catch {
            throw ConfigurationError(error.description)
        }
        deployment = getenv("DEPLOYMENT_ENVIRONMENT").map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
    }

    var isEnabled: Bool { values[ObservabilitySettings.enabled] }
    var keepsTraces: Bool { isEnabled && values[ObservabilitySettings.exporter] != "otlp" }
    var keepsLogs: Bool { values[ObservabilitySettings.logsEnabled] }

    /// Which frames are taken in.
    var wanted: TelemetryIntake.Wanted {
        TelemetryIntake.Wanted(
            traces: isEnabled, metrics: isEnabled, logs: keepsLogs, pending: values[ObservabilitySettings.liveSpans],
            engine: engineAttributes(service: values[ObservabilitySettings.serviceName]))
    }

    /// Share of the traces begun by the engine that are recorded; nil where nothing is.
    var traceRatio: Double? {
        guard isEnabled else { return nil }
        return values[ObservabilitySettings.sampling]?[ObservabilitySettings.samplingDefault] ?? values[ObservabilitySettings.samplingRatio]
    }

    var limits: TelemetryStores.Limits {
        func nanoseconds(_ duration: Duration) -> UInt64 { UInt64(max(0, duration.components.seconds)) * 1_000_000_000 }
        let storage = values[ObservabilitySettings.traceStorage]
        var limits = TelemetryStores.Limits()
        limits.traces.maximumSpans = max(1, values[ObservabilitySettings.maximumSpans])
        if let storage {
            limits.traces.maximumBytes = storage[ObservabilitySettings.maximumSpanBytes]
            limits.traces.maximumAge = nanoseconds(storage[ObservabilitySettings.storageRetention])
        }
        limits.logs.maximumRecords = max(1, values[ObservabilitySettings.maximumLogs])
        limits.logs.maximumBytes = values[ObservabilitySettings.maximumLogBytes]
        limits.logs.maximumAge = nanoseconds(values[ObservabilitySettings.logsRetention])
        limits.metrics.maximumRecords = max(1, values[ObservabilitySettings.maximumMetrics])
        limits.metrics.maximumBytes = values[ObservabilitySettings.maximumMetricBytes]
        limits.metrics.maximumAge = nanoseconds(values[ObservabilitySettings.metricsRetention])
        return limits
    }

    /// Between two looks for what is too old: a minute, less where the shortest retention is less.
    var sweepSeconds: Int {
        let ages = [limits.traces.maximumAge, limits.logs.maximumAge, limits.metrics.maximumAge].filter { $0 > 0 }
        return Int(min(60, max(1, (ages.min() ?? 60_000_000_000) / 1_000_000_000)))
    }

    /// As the reference writes it.
    var exporterName: String {
        switch values[ObservabilitySettings.exporter] {
        case "otlp": "Some(Otlp)"
        case "both": "Some(Both)"
        default: "Some(Memory)"
        }
    }

    /// What writes a record by `engine::log::*`: its service, and what the configuration says of this engine.
    func logResource(service: String) -> Resource {
        var attributes = engineAttributes(service: service)
        if let deployment { attributes.append(Attribute("deployment.environment", .string(deployment))) }
        return Resource(attributes)
    }

    private func engineAttributes(service: String) -> [Attribute] {
        var attributes = [Attribute("service.name", .string(service))]
        if let namespace = values[ObservabilitySettings.serviceNamespace] {
            attributes.append(Attribute("service.namespace", .string(namespace)))
        }
        let version = values[ObservabilitySettings.serviceVersion] ?? workerLibraryVersion
        attributes.append(Attribute("service.version", .string(version)))
        return attributes
    }
}
