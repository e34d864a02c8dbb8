/// What a process of ours ends with. Each has its row in docs/reference/errors.md#exit-codes; a test holds the two together.
///
/// A second signal while the engine stops ends it with 128 and the signal's number instead.
package enum ExitStatus: Int32, Sendable, CaseIterable {
    case done = 0
    /// A command could not do what it was asked; an engine or a built-in could not start.
    case failed = 1
    /// `iii-core` was given a command line that it cannot read.
    case usage = 2
    /// An entry that is `critical` was given up, so the engine has stopped.
    case criticalGivenUp = 3
    /// Nobody answers at the control socket.
    case noEngine = 4
    /// The engine did not do it in time.
    case timedOut = 5
    /// A built-in was given a command line that it cannot read (`EX_USAGE`).
    case builtInUsage = 64
    /// A changed configuration needs another process, and no supervisor of ours is there to start it (`EX_TEMPFAIL`).
    case restartWanted = 75
    /// A configuration that only a person can mend (`EX_CONFIG`).
    case configuration = 78

    /// Trying again without another configuration cannot help.
    package var isFinal: Bool { self == .configuration || self == .builtInUsage }
}
