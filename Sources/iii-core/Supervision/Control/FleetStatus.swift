import IIIConfiguration
import IIIProtocol

/// What `iii-core status` shows about the engine as a whole.
package struct FleetStatus: Sendable, Equatable {
    package var version: String
    package var pid: Int32
    package var enginePort: Int
    /// `running` or `draining`.
    package var phase: String
    package var isReady: Bool
    /// The file it was started with, absolute; nil for the default configuration.
    package var configPath: String?
    package var uptime: Duration
    package var children: [ChildStatus]
    /// RFC 3339; nil before the first reload.
    package var lastReloadAt: String?
    package var lastReloadError: String?
    package var droppedLogLines: Int

    package var json: JSONValue {
        let reload: JSONValue? = lastReloadAt.map {
            ["at": .string($0), "ok": .bool(lastReloadError == nil), "error": JSONValue(lastReloadError)]
        }
        return [
            "version": .string(version), "pid": .integer(Int64(pid)), "port": .integer(Int64(enginePort)), "phase": .string(phase),
            "ready": .bool(isReady), "config": JSONValue(configPath), "uptime_ms": .integer(uptime.wholeMilliseconds),
            "children": .array(children.map(\.json)),
            "last_reload": reload ?? .null, "dropped_log_lines": .integer(Int64(droppedLogLines)),
        ]
    }
}
