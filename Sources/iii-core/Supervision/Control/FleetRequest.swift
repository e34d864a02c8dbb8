import IIIProtocol

/// What can be asked of a running supervisor, over the control socket or through `core::fleet::*`.
package enum FleetRequest: Sendable, Equatable {
    case list
    case status(name: String?)
    /// Nil means all children.
    case restart(name: String?)
    case stop(name: String)
    case start(name: String)
    case reset(name: String)
    /// `since`: nanoseconds since the epoch.
    case logs(names: [String], count: Int, since: Int64?, follow: Bool)
    case reload
    case shutdown
    case metrics(MetricsFormat)

    /// From `{"command": "restart", "name": "iii-http"}` and the like. The error says what is missing.
    package init(json: JSONValue) throws(FleetError) {
        guard let command = json["command"]?.string else { throw .invalid("the request needs a `command`") }
        let name = json["name"]?.string
        func required() throws(FleetError) -> String {
            guard let name else { throw .invalid("`\(command)` needs the `name` of a child") }
            return name
        }
        switch command {
        case "ps", "list": self = .list
        case "status": self = .status(name: name)
        case "restart":
            guard name != nil || json["all"]?.bool == true else { throw .invalid("`restart` needs the `name` of a child or `all: true`") }
            self = .restart(name: name)
        case "stop": self = .stop(name: try required())
        case "start": self = .start(name: try required())
        case "reset": self = .reset(name: try required())
        case "logs":
            let names = (json["names"]?.array ?? []).compactMap(\.string) + (name.map { [$0] } ?? [])
            let count = Int(clamping: json["count"]?.integer ?? 100)
            self = .logs(
                names: names, count: min(max(0, count), 100_000), since: json["since"]?.integer, follow: json["follow"]?.bool ?? false)
        case "reload": self = .reload
        case "shutdown": self = .shutdown
        case "metrics":
            guard let format = MetricsFormat(rawValue: json["format"]?.string ?? MetricsFormat.prometheus.rawValue) else {
                throw .invalid("`metrics` has the formats \(MetricsFormat.allCases.map(\.rawValue).joined(separator: ", "))")
            }
            self = .metrics(format)
        default:
            throw .invalid(
                "unknown command `\(command)`; there are ps, status, restart, stop, start, reset, logs, metrics, reload, shutdown")
        }
    }

    package var json: JSONValue {
        switch self {
        case .list: ["command": "ps"]
        case .status(let name): ["command": "status", "name": JSONValue(name)]
        case .restart(let name): ["command": "restart", "name": JSONValue(name), "all": .bool(name == nil)]
        case .stop(let name): ["command": "stop", "name": .string(name)]
        case .start(let name): ["command": "start", "name": .string(name)]
        case .reset(let name): ["command": "reset", "name": .string(name)]
        case .logs(let names, let count, let since, let follow):
            [
                "command": "logs", "names": .array(names.map(JSONValue.string)), "count": .integer(Int64(count)),
                "since": since.map(JSONValue.integer) ?? .null, "follow": .bool(follow),
            ]
        case .reload: ["command": "reload"]
        case .shutdown: ["command": "shutdown"]
        case .metrics(let format): ["command": "metrics", "format": .string(format.rawValue)]
        }
    }
}

/// Why a request to the fleet failed: `code` is what callers see (docs/reference/errors.md#fleet-codes), `exitCode` what the command ends
/// with (docs/reference/errors.md#exit-codes).
package struct FleetError: Error, Sendable, Equatable, CustomStringConvertible {
    package enum Code: String, Sendable, CaseIterable {
        case invalidRequest = "invalid_request"
        case unknownChild = "unknown_child"
        case failed
        case timeout
        case noEngine = "no_engine"
    }

    package var code: String
    package var message: String
    package var exitCode: Int32

    package var description: String { message }

    package static func invalid(_ message: String) -> FleetError { FleetError(.invalidRequest, message, .failed) }
    package static func unknown(_ message: String) -> FleetError { FleetError(.unknownChild, message, .failed) }
    package static func failed(_ message: String) -> FleetError { FleetError(.failed, message, .failed) }
    package static func timeout(_ message: String) -> FleetError { FleetError(.timeout, message, .timedOut) }
    package static func noEngine(_ message: String) -> FleetError { FleetError(.noEngine, message, .noEngine) }

    private init(_ code: Code, _ message: String, _ status: ExitStatus) {
        self.init(code: code.rawValue, message: message, exitCode: status.rawValue)
    }

    /// As it came from the engine.
    package init(code: String, message: String, exitCode: Int32) {
        self.code = code
        self.message = message
        self.exitCode = exitCode
    }
}
