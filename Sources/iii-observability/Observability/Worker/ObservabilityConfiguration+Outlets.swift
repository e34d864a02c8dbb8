import IIIHTTPClient
import IIIOTLP
import IIIProtocol
import IIISettings
import IIISignals
import IIIWorker

// What the configuration says about export, receiver and alerts.
extension ObservabilityConfiguration {
    private typealias Export = ObservabilitySettings.Export
    private typealias Alert = ObservabilitySettings.Alert

    var prometheusDoor: ListeningDoor? {
        let door = values[ObservabilitySettings.prometheus]
        return ListeningDoor(
            "Prometheus endpoint", door, enabled: ObservabilitySettings.Door.enabled, port: ObservabilitySettings.Door.prometheusPort)
    }

    var receiverDoor: ListeningDoor? {
        let door = values[ObservabilitySettings.otlpReceiver]
        return ListeningDoor(
            "OTLP receiver", door, enabled: ObservabilitySettings.Door.isReceiving, port: ObservabilitySettings.Door.otlpPort)
    }

    var receiver: OTLPReceiver.Settings {
        let door = values[ObservabilitySettings.otlpReceiver]
        var settings = OTLPReceiver.Settings()
        settings.maximumRequestBytes = door[ObservabilitySettings.Door.maximumRequestBytes]
        settings.key = door[ObservabilitySettings.Door.key]
        settings.allowedOrigins = door[ObservabilitySettings.Door.allowedOrigins]
        return settings
    }

    /// Signals that are exported.
    var exportedSignals: Set<Signal> {
        guard isEnabled else { return [] }
        var signals: Set<Signal> = []
        if values[ObservabilitySettings.exporter] != "memory" { signals.insert(.traces) }
        if values[ObservabilitySettings.metricsExporter] != "memory" { signals.insert(.metrics) }
        if values[ObservabilitySettings.logsExporter] != "memory" { signals.insert(.logs) }
        return signals
    }

    var exportLimits: ExportLimits {
        var limits = ExportLimits()
        limits.maximumBytes = values[Export.bufferBytes]
        limits.maximumBatch = values[Export.batchSize]
        limits.interval = values[Export.interval]
        return limits
    }

    var logExportLimits: ExportLimits {
        var limits = exportLimits
        limits.maximumBatch = max(1, values[ObservabilitySettings.logsBatchSize])
        limits.interval = values[ObservabilitySettings.logsFlushInterval]
        return limits
    }

    /// Who the engine is to others.
    var engineResource: Resource {
        Resource([
            Attribute("service.name", .string(values[ObservabilitySettings.serviceName])), Attribute("iii.component", .string("core")),
        ])
    }

    var metricsExportInterval: Duration { values[Export.metricsInterval] }
    var allowsPrivateWebhooks: Bool { values[ObservabilitySettings.allowsPrivateWebhooks] }

    /// nil where nothing is exported. Throws what cannot be used, naming the key and the cure.
    func otlpExport() throws(ConfigurationError) -> OTLPExporter.Settings? {
        guard !exportedSignals.isEmpty else { return nil }
        let encoding: OTLPEncoding
        switch values[Export.encoding] {
        case "http/json": encoding = .json
        case "http/protobuf": encoding = .protobuf
        default:
            throw ConfigurationError(
                "protocol: grpc is not in this build; write http/protobuf, and port 4318 where the collector listens on 4317")
        }
        var endpoints: [Signal: HTTPURL] = [:]
        for signal in exportedSignals {
            let url = try endpoint(signal)
            if isOwnReceiver(url) {
                throw ConfigurationError(
                    "endpoint: \(url) is the OTLP receiver of this engine (otlp_receiver), which would take in again what it sends; set another endpoint or otlp_receiver.enabled: false"
                )
            }
            endpoints[signal] = url
        }
        let timeout = values[Export.timeout].components
        return OTLPExporter.Settings(
            endpoints: endpoints, encoding: encoding, headers: OTLPEndpoints.headers(values[Export.headers] ?? ""),
            timeoutMilliseconds: Int(timeout.seconds * 1000 + timeout.attoseconds / 1_000_000_000_000_000),
            certificateFile: values[Export.certificate])
    }

    private func endpoint(_ signal: Signal) throws(ConfigurationError) -> HTTPURL {
        let (own, key) =
            switch signal {
            case .traces: (values[Export.tracesEndpoint], "traces_endpoint")
            case .metrics: (values[Export.metricsEndpoint], "metrics_endpoint")
            case .logs: (values[Export.logsEndpoint], "logs_endpoint")
            }
        do throws(HTTPURL.Invalid) {
            if let own { return try HTTPURL(own) }
            return try OTLPEndpoints.url(values[Export.endpoint], for: signal)
        } catch {
            throw ConfigurationError("\(own == nil ? "endpoint" : key): not an http or https URL")
        }
    }

    private func isOwnReceiver(_ url: HTTPURL) -> Bool {
        guard let door = receiverDoor, door.port == url.port, !url.isSecure else { return false }
        let isLoopback = url.host == "localhost" || url.host.hasPrefix("127.") || url.host == "::1"
        return isLoopback || url.host == door.host
    }

    /// The default port of gRPC, which an HTTP exporter does not speak.
    var endpointWarning: String? {
        guard let settings = try? otlpExport(), let url = settings.endpoints.values.first(where: { $0.port == 4317 }) else { return nil }
        return "endpoint: \(url.host):4317 is where collectors take gRPC; http/protobuf and http/json are taken on 4318"
    }

    func alertRules() throws(ConfigurationError) -> [AlertRule] {
        var rules: [AlertRule] = []
        for (index, entry) in values[ObservabilitySettings.alerts].enumerated() where entry[Alert.enabled] {
            let at = "alerts[\(index)]"
            let name = entry[Alert.name]
            guard !rules.contains(where: { $0.name == name }) else {
                throw ConfigurationError("\(at).name: there is another alert '\(name)'; give each a name of its own")
            }
            var rule = AlertRule(name: name, metric: entry[Alert.metric], threshold: entry[Alert.threshold])
            rule.comparison = AlertRule.Comparison(written: entry[Alert.comparison]) ?? .greaterThan
            rule.window = entry[Alert.window]
            rule.holdsFor = entry[Alert.holdsFor]
            rule.cooldown = entry[Alert.cooldown]
            rule.action = try action(entry[ObservabilitySettings.alertAction], at)
            rules.append(rule)
        }
        return rules
    }

    private func action(_ action: SettingValues, _ at: String) throws(ConfigurationError) -> AlertRule.Action {
        switch action[ObservabilitySettings.actionType] {
        case "webhook":
            let text = action[ObservabilitySettings.actionURL] ?? ""
            guard let url = try? HTTPURL(text) else { throw ConfigurationError("\(at).action.url: not an http or https URL") }
            if !allowsPrivateWebhooks, url.address?.isPrivate == true {
                throw ConfigurationError(
                    "\(at).action.url: \(url.host) is a private address; write a public one, or alerts_allow_private_webhooks: true")
            }
            return .webhook(text)
        case "function":
            let path = action[ObservabilitySettings.actionPath] ?? ""
            let builtIn = ["engine::", "iii::", "state::", "stream::", "queue::", "cron::", "pubsub::", "core::", "builtin::"]
            if path == "publish" || builtIn.contains(where: path.hasPrefix) {
                throw ConfigurationError("\(at).action.path: \(path) is a function of the engine; name one of yours")
            }
            return .function(path)
        default: return .log
        }
    }
}
