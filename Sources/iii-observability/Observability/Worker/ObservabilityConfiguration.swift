import IIIProtocol
import IIISettings
import IIIWorker

/// The settings of an `iii-observability` entry, read and checked.
struct ObservabilityConfiguration: Sendable {
    let values: SettingValues

    init(_ json: JSONValue) throws(ConfigurationError) {
        do throws(InvalidSettings) { values = try ObservabilitySettings.group.read(json) } catch {
            throw ConfigurationError(error.description)
        }
    }

    var isEnabled: Bool { values[ObservabilitySettings.enabled] }
}
