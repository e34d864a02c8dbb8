import IIIProtocol
import IIISettings
import IIISignals
import IIITelemetry
import IIIWorker
import Logging
import NIOCore

/// The `iii-observability` core worker: takes in the telemetry of all workers, keeps it, and answers questions about it
/// (docs/reference/observability.md).
///
/// Confined to the link's event loop; decoding, storing and searching happen elsewhere.
public final class ObservabilityWorker: CoreWorker {
    public static var role: String { "observability" }

    /// Opaque outside: the settings of the entry.
    public struct Configuration: Sendable {
        let values: ObservabilityConfiguration
    }

    let context: CoreWorkerContext
    private(set) var configuration: ObservabilityConfiguration

    public static var settings: SettingGroup { ObservabilitySettings.group }

    public static func configuration(from json: JSONValue) throws -> Configuration {
        Configuration(values: try ObservabilityConfiguration(json))
    }

    public required init(configuration: Configuration, context: CoreWorkerContext) throws {
        self.context = context
        self.configuration = configuration.values
    }

    public func registerFunctions(on link: WorkerLink) { BaggageFunctions().register(on: link) }

    public var status: String { configuration.isEnabled ? "" : "off" }
}
