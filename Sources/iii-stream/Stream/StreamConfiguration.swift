import IIIItems
import IIIProtocol
import IIIServer
import IIISettings
import IIITLS
import IIIWorker
import NIOCore

/// Settings of an `iii-stream` entry; `StreamSettings` says what each means.
package struct StreamConfiguration: Sendable {
    package var host: String
    package var port: Int
    package var adapter: AdapterChoice
    /// As it was written, to tell whether it has changed.
    package var adapterJSON: JSONValue
    package var authentication: FunctionID?
    package var allowsUnauthenticated: Bool
    package var allowsFailedJoins: Bool
    package var allowedOrigins: [String]
    package var maximumConnections: Int
    package var maximumSubscriptions: Int
    package var maximumQueuedFrames: Int
    package var maximumQueuedBytes: Int
    package var maximumTotalQueuedBytes: Int
    package var maximumMessageBytes: Int
    package var resumeWindow: Duration
    package var maximumResumeBytes: Int
    /// The member of what the auth function returns that names the user.
    package var presenceKey: String
    package var valueLimit: ValueLimit
    package var tls: TLSServerContext?
    package var warnings: [String]

    static func adapter(_ stores: AdapterRegistry<OpenItemStore>) -> Setting<AdapterChoice> {
        stores.setting("Where items are kept.")
    }

    static func group(_ adapter: Setting<AdapterChoice>) -> SettingGroup {
        SettingGroup(change: .restart) {
            adapter
            StreamSettings.own
        }
    }

    /// Throws `ConfigurationError`.
    package init(_ json: JSONValue, stores: AdapterRegistry<OpenItemStore>) throws {
        typealias Key = StreamSettings
        let adapter = Self.adapter(stores)
        let values = try Self.group(adapter).read(json)
        self.adapter = values[adapter]
        adapterJSON = values.json["adapter"] ?? .null
        host = values[Key.host]
        port = values[Key.port]
        authentication = try values[Key.authentication].map { try FunctionID($0) }
        allowsUnauthenticated = values[Key.authenticationFailure] == "anonymous"
        allowsFailedJoins = values[Key.joinFailure] == "allow"
        allowedOrigins = values[Key.allowedOrigins]
        maximumConnections = values[Key.maximumConnections]
        maximumSubscriptions = values[Key.maximumSubscriptions]
        maximumQueuedFrames = values[Key.maximumQueuedFrames]
        maximumQueuedBytes = values[Key.maximumQueuedBytes]
        maximumTotalQueuedBytes = values[Key.maximumTotalQueuedBytes]
        resumeWindow = values[Key.resumeWindow]
        maximumResumeBytes = values[Key.maximumResumeBytes]
        presenceKey = values[Key.presenceKey]
        maximumMessageBytes = values[Key.maximumMessageBytes]
        valueLimit = ValueLimit(
            maximumBytes: values[Key.maximumValueBytes], code: .limitExceeded, key: Key.maximumValueBytes.declaration.key)
        tls = try values[Key.tls].map { try TLSServerContext(TLSServerSettings($0), environment: ServerTLS.environment) }
        warnings = values.warnings
    }

    var serverSettings: WebSocketServer.Settings {
        var settings = WebSocketServer.Settings()
        settings.origins = OriginPolicy(allowedOrigins: allowedOrigins)
        settings.limits.maximumConnections = maximumConnections
        return settings
    }

    var historyLimits: EventHistory.Limits {
        EventHistory.Limits(window: Int(resumeWindow / .milliseconds(1)), bytes: maximumResumeBytes)
    }

    var socketLimits: SocketQueue.Limits { SocketQueue.Limits(frames: maximumQueuedFrames, bytes: maximumQueuedBytes) }
}
