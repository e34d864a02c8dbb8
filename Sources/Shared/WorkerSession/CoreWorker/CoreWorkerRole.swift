import IIITelemetry
import Logging

/// One of the core workers that share an executable, under the role that `--role` or `III_BUILTIN_ROLE` names
/// (docs/reference/core-workers.md).
public struct CoreWorkerRole: Sendable {
    /// What the role is called: `CoreWorker.role`.
    public let name: String
    private let entry: String
    private let body: @Sendable (_ engineURL: String?, _ name: String) -> Int32

    /// `entry` is the configuration entry it serves where nothing names another one. Default: `iii-` and the role.
    public init<W: CoreWorker>(_ type: W.Type, entry: String? = nil) {
        name = W.role
        self.entry = entry ?? "iii-\(W.role)"
        body = { CoreWorkerProcess.run(W.self, engineURL: $0, name: $1) }
    }

    fileprivate func run(engineURL: String?, name: String?) -> Int32 {
        body(engineURL, name ?? environmentValue("III_ENTRY_NAME") ?? entry)
    }
}

extension CoreWorkerProcess {
    /// Runs the one of `roles` that `role`, else `III_BUILTIN_ROLE`, names, the first where neither does; returns its exit code. A role
    /// that `executable` does not have is refused with 78.
    public static func run(
        _ roles: [CoreWorkerRole], of executable: String, role: String? = nil, engineURL: String? = nil, name: String? = nil
    ) -> Int32 {
        let wanted = role ?? environmentValue("III_BUILTIN_ROLE")
        if let found = wanted.map({ wanted in roles.first { $0.name == wanted } }) ?? roles.first {
            return found.run(engineURL: engineURL, name: name)
        }
        let known = roles.map { "'\($0.name)'" }.joined(separator: " or ")
        Logger(label: executable).error(.configurationInvalid, "unknown role '\(wanted ?? "")': \(executable) can be \(known)")
        return configurationExitCode
    }
}
