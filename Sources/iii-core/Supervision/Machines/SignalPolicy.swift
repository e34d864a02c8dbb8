import Glibc

/// Decides what a signal to the core means (docs/reference/supervisor.md#stopping). Pure.
///
/// SIGTERM and SIGINT end the fleet, a second one at once. SIGHUP is the end of the terminal for a fleet that was started on
/// one, and a reload for every other (a service, `nohup`, `setsid`).
package struct SignalPolicy: Sendable, Equatable {
    package enum Action: Sendable, Equatable {
        case none
        case drain
        /// Skip all grace; the exit code names the signal.
        case kill
        case reload
        case dumpState
    }

    /// A terminal sends one Ctrl-C to the whole group, and a wrapper (`make`, `npm`, a script) passes it on: what follows a
    /// SIGINT within this time is the same key, not a second wish.
    package static let echo: Duration = .milliseconds(500)

    package let isOnTerminal: Bool
    private var drainingSince: Duration?
    private var beganWithInterrupt = false

    package init(isOnTerminal: Bool) { self.isOnTerminal = isOnTerminal }

    package mutating func received(_ number: Int32, now: Duration) -> Action {
        switch number {
        case SIGTERM, SIGINT:
            guard let since = drainingSince else {
                drainingSince = now
                beganWithInterrupt = number == SIGINT
                return .drain
            }
            return beganWithInterrupt && now - since < Self.echo ? .none : .kill
        case SIGHUP:
            guard isOnTerminal else { return .reload }
            // The kernel and the shell may both say that the terminal is gone; neither asks for haste.
            guard drainingSince == nil else { return .none }
            drainingSince = now
            return .drain
        case SIGQUIT: return .dumpState
        default: return .none
        }
    }
}
