/// When and how fast a child is restarted (docs/reference/supervisor.md#restarts). The defaults are those of built-ins.
package struct RestartSettings: Sendable, Hashable {
    package enum Policy: String, Sendable, Hashable, CaseIterable {
        /// Restart after every exit that was not asked for.
        case always
        /// Restart after a non-zero exit or a signal.
        case onFailure = "on-failure"
        case never
    }

    package var policy: Policy
    /// Failures within `window`, of a child that had been ready, after which it is started again without any delay. Entries of
    /// the catalogue have 5 unless they name a delay; a failed start always waits.
    package var immediateRestarts: Int
    package var delay: Duration
    package var factor: Double
    package var maximumDelay: Duration
    /// 0.2 spreads each delay by ±20 %.
    package var jitter: Double
    /// Continuous readiness after which delay and count begin anew.
    package var resetAfter: Duration
    package var maximumRestarts: Int
    package var window: Duration
    /// Beyond the intensity: true gives up (`failed`), false keeps trying at the longest delay.
    package var givesUp: Bool
    /// Giving up shuts the engine down with exit code 3.
    package var isCritical: Bool

    package init(
        policy: Policy = .always, immediateRestarts: Int = 0, delay: Duration = EntrySettings.Restart.delay.defaultValue,
        factor: Double = EntrySettings.Restart.factor.defaultValue,
        maximumDelay: Duration = EntrySettings.Restart.maximumDelay.defaultValue,
        jitter: Double = EntrySettings.Restart.jitter.defaultValue, resetAfter: Duration = EntrySettings.Restart.resetAfter.defaultValue,
        maximumRestarts: Int = EntrySettings.Restart.maximumRestarts.defaultValue,
        window: Duration = EntrySettings.Restart.window.defaultValue, givesUp: Bool = EntrySettings.Restart.givesUp.defaultValue,
        isCritical: Bool = false
    ) {
        self.policy = policy
        self.immediateRestarts = immediateRestarts
        self.delay = delay
        self.factor = factor
        self.maximumDelay = maximumDelay
        self.jitter = jitter
        self.resetAfter = resetAfter
        self.maximumRestarts = maximumRestarts
        self.window = window
        self.givesUp = givesUp
        self.isCritical = isCritical
    }
}
