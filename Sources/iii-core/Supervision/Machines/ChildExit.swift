import IIIProtocol

/// How a process ended.
package struct ChildExit: Sendable, Hashable, CustomStringConvertible {
    package var code: Int32
    package var isSignal: Bool

    package static func exited(_ code: Int32) -> ChildExit { ChildExit(code: code, isSignal: false) }
    package static func signalled(_ number: Int32) -> ChildExit { ChildExit(code: number, isSignal: true) }

    package var isClean: Bool { !isSignal && code == 0 }

    /// `EX_CONFIG` and `EX_USAGE`: trying again without another configuration cannot help (docs/reference/supervisor.md#restarts).
    package var isPermanentFailure: Bool { !isSignal && ExitStatus(rawValue: code)?.isFinal == true }

    package var description: String {
        guard isSignal else { return "exit \(code)" }
        return Self.signalNames[code] ?? "signal \(code)"
    }

    private static let signalNames: [Int32: String] = [
        1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV",
        13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM", 24: "SIGXCPU", 25: "SIGXFSZ", 31: "SIGSYS",
    ]
}
