import IIIProtocol
import IIISettings
import IIIWorker

/// The settings of an `iii-cron` entry, read and checked.
struct CronConfiguration: Sendable {
    let adapter: AdapterChoice
    /// As written: another one needs a restart.
    let fixed: JSONValue
    /// Milliseconds; 0 for no limit.
    let timeout: Int
    let history: HistoryLimits
    /// nil: nothing is kept.
    let storeDirectory: String?
    let durability: String
    let warnings: [String]

    /// Keys that are taken over while it runs.
    private static let live: Set<String> = ["timeout_ms", "history_max_runs", "history_max_age_s"]

    /// The keys of the entry, with the lock stores that are registered by now.
    static var settings: SettingGroup { CronSettings.group(adapter: adapterSetting) }
    private static var adapterSetting: Setting<AdapterChoice> {
        FireClaims.registry.setting("Where ticks are claimed: `redis` for several instances.")
    }

    init(_ json: JSONValue) throws(ConfigurationError) {
        let adapterSetting = Self.adapterSetting
        let values: SettingValues
        do throws(InvalidSettings) { values = try CronSettings.group(adapter: adapterSetting).read(json) } catch {
            throw ConfigurationError(error.description)
        }
        adapter = values[adapterSetting]
        fixed = .object((values.json.object ?? [:]).filter { !Self.live.contains($0.key) })
        timeout = Self.milliseconds(values[CronSettings.timeout])
        history = HistoryLimits(
            maximumRuns: values[CronSettings.historyRuns], maximumAge: Self.milliseconds(values[CronSettings.historyAge]))
        durability = values[CronSettings.durability]
        warnings = values.warnings
        // As published files have it, the adapter `kv` names its own place.
        let own = adapter.config.json
        let method = own["store_method"]?.string ?? values[CronSettings.storeMethod]
        let path = own["file_path"]?.string ?? values[CronSettings.filePath]
        storeDirectory = method == "in_memory" ? nil : path ?? ""
    }

    private static func milliseconds(_ duration: Duration) -> Int {
        Int(duration.components.seconds) * 1_000 + Int(duration.components.attoseconds / 1_000_000_000_000_000)
    }
}
