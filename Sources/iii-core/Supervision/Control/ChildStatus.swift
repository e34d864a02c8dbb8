import IIIConfiguration
import IIIProtocol

/// One row of `iii-core ps`.
package struct ChildStatus: Sendable, Equatable {
    /// Another process of the same entry: one that starts beside it, or one that it has replaced.
    package struct Other: Sendable, Equatable {
        package var pid: Int32
        /// `starting`, `draining` or `stopping`.
        package var activity: String
        package var uptime: Duration
    }

    package var name: String
    package var role: String
    package var pid: Int32?
    package var state: ChildMachine.State
    package var isReady: Bool
    package var restarts: Int
    /// Since the process was started; nil when none runs.
    package var uptime: Duration?
    package var cpuPercent: Double?
    package var residentBytes: Int64?
    package var lastExit: String?
    package var lastError: String?
    /// Until the next attempt, in back-off.
    package var nextStart: Duration?
    /// `host:port` of its listening socket.
    package var listen: String?
    package var isCritical: Bool
    package var others: [Other] = []
    /// What a ready built-in says of itself (docs/reference/core-workers.md#builtinnamestatus); only where one entry was asked for.
    package var doing: JSONValue?

    package var json: JSONValue {
        [
            "name": .string(name), "role": .string(role), "pid": pid.map { .integer(Int64($0)) } ?? .null, "state": .string(state.rawValue),
            "ready": .bool(isReady), "restarts": .integer(Int64(restarts)),
            "uptime_ms": uptime.map { .integer($0.wholeMilliseconds) } ?? .null, "cpu_percent": cpuPercent.map(JSONValue.double) ?? .null,
            "rss_bytes": residentBytes.map(JSONValue.integer) ?? .null, "last_exit": JSONValue(lastExit),
            "last_error": JSONValue(lastError),
            "next_start_ms": nextStart.map { .integer($0.wholeMilliseconds) } ?? .null, "listen": JSONValue(listen),
            "critical": .bool(isCritical), "doing": doing ?? .null,
            "others": .array(
                others.map {
                    ["pid": .integer(Int64($0.pid)), "activity": .string($0.activity), "uptime_ms": .integer($0.uptime.wholeMilliseconds)]
                }),
        ]
    }

    package init?(json: JSONValue) {
        guard let name = json["name"]?.string, let state = json["state"]?.string.flatMap(ChildMachine.State.init) else { return nil }
        self.init(
            name: name, role: json["role"]?.string ?? "", pid: json["pid"]?.integer.map { Int32(truncatingIfNeeded: $0) }, state: state,
            isReady: json["ready"]?.bool ?? false, restarts: Int(json["restarts"]?.integer ?? 0),
            uptime: json["uptime_ms"]?.integer.map { .milliseconds($0) }, cpuPercent: json["cpu_percent"]?.number,
            residentBytes: json["rss_bytes"]?.integer, lastExit: json["last_exit"]?.string, lastError: json["last_error"]?.string,
            nextStart: json["next_start_ms"]?.integer.map { .milliseconds($0) }, listen: json["listen"]?.string,
            isCritical: json["critical"]?.bool ?? false,
            others: (json["others"]?.array ?? []).compactMap { other in
                guard let pid = other["pid"]?.integer else { return nil }
                return Other(
                    pid: Int32(truncatingIfNeeded: pid), activity: other["activity"]?.string ?? "",
                    uptime: .milliseconds(other["uptime_ms"]?.integer ?? 0))
            })
        if let words = json["doing"], !words.isNull { doing = words }
    }

    package init(
        name: String, role: String, pid: Int32?, state: ChildMachine.State, isReady: Bool, restarts: Int, uptime: Duration?,
        cpuPercent: Double?, residentBytes: Int64?, lastExit: String?, lastError: String?, nextStart: Duration?, listen: String?,
        isCritical: Bool, others: [Other] = []
    ) {
        self.name = name
        self.role = role
        self.pid = pid
        self.state = state
        self.isReady = isReady
        self.restarts = restarts
        self.uptime = uptime
        self.cpuPercent = cpuPercent
        self.residentBytes = residentBytes
        self.lastExit = lastExit
        self.lastError = lastError
        self.nextStart = nextStart
        self.listen = listen
        self.isCritical = isCritical
        self.others = others
    }
}
