import IIIConfiguration
import IIIProtocol

/// Decides what happens to one child: start, readiness, restart with back-off, stop (spec §29.2-§29.6).
///
/// Pure: time comes in as `now` (any monotonic origin), what to do goes out as effects. The shell calls
/// `handle(.timePassed, now:)` at `deadline`. A start that fails before readiness counts double towards the restart
/// intensity. Exit codes 78 and 64 are final until the configuration changes. A requested stop is sticky until
/// `start`, `reset`, `restart` or a new configuration.
package struct ChildMachine: Sendable {
    package enum State: String, Sendable, CaseIterable {
        /// Excluded on the command line; only `start` leaves it.
        case disabled
        /// For its dependencies.
        case waiting
        /// Process spawned, not yet ready.
        case starting
        case ready
        /// Alive, but its health check fails.
        case degraded
        /// Drain requested, SIGTERM or SIGKILL sent.
        case stopping
        /// Ended on purpose: by request, or cleanly under a policy that does not restart.
        case stopped
        /// Until the next attempt.
        case backoff
        /// Gave up.
        case failed
    }

    package struct Settings: Sendable, Equatable {
        package var restart: RestartSettings
        /// Whether readiness is reported by the child; otherwise a living process is ready.
        package var reportsReadiness: Bool
        package var startupTimeout: Duration
        package var stopTimeout: Duration

        package init(
            restart: RestartSettings = .init(), reportsReadiness: Bool = true, startupTimeout: Duration = .seconds(10),
            stopTimeout: Duration = .seconds(10)
        ) {
            self.restart = restart
            self.reportsReadiness = reportsReadiness
            self.startupTimeout = startupTimeout
            self.stopTimeout = stopTimeout
        }
    }

    package enum Event: Sendable, Equatable {
        case start
        case spawned
        /// A step before the last of a pipeline runs; `becameReady` follows.
        case spawnedStep
        case spawnFailed(String)
        case announced
        case becameReady
        case degraded(String)
        case exited(ChildExit)
        /// A pipeline ended before its last command; trying again by itself would repeat the same failure.
        case abandoned(String)
        case stop(String)
        case restart(String)
        case reset
        case configured(Settings)
        case unresponsive(String)
        case drained
        case killNow
        case timePassed
    }

    package enum Effect: Sendable, Equatable {
        case spawn
        /// Ask the child over the protocol to finish its work; feed back `.drained`.
        case drain(within: Duration)
        case terminate
        case kill
        case entered(State, from: State, reason: String)
        /// A child beyond its restart intensity; at most once a minute.
        case intensityExceeded(String)
        case gaveUp(isCritical: Bool, reason: String)
    }

    private enum StopPhase { case draining, terminating, killing }
    private enum AfterStop: Equatable { case stay, spawn(String), fail(String, wasReady: Bool) }

    package private(set) var state: State = .waiting
    package private(set) var settings: Settings
    /// When `.timePassed` is due; nil when time changes nothing.
    package private(set) var deadline: Duration?
    package private(set) var restarts = 0
    package private(set) var lastExit: ChildExit?
    package private(set) var lastError: String?
    package private(set) var startedAt: Duration?
    private var hasAnnounced = false
    private var stopPhase = StopPhase.draining
    private var afterStop = AfterStop.stay
    private var backoff: Backoff
    private var intensity: RestartIntensity
    private var random: SeededGenerator
    private var lastComplaint: Duration?

    package init(settings: Settings, seed: UInt64, isDisabled: Bool = false) {
        self.settings = settings
        backoff = Backoff(settings.restart)
        intensity = RestartIntensity(maximum: settings.restart.maximumRestarts, window: settings.restart.window)
        random = SeededGenerator(seed: seed)
        if isDisabled { state = .disabled }
    }

    package var isAlive: Bool { [.starting, .ready, .degraded, .stopping].contains(state) }

    package mutating func handle(_ event: Event, now: Duration) -> [Effect] {
        switch event {
        case .start: return isAlive ? [] : spawn("start", now)
        case .spawned, .spawnedStep: return processStarted(isComplete: event == .spawned, now)
        case .spawnFailed(let message): return spawnFailed(message, now)
        case .announced:
            hasAnnounced = true
            return []
        case .becameReady: return becameReady(now)
        case .degraded(let reason):
            guard state == .ready else { return [] }
            deadline = nil
            return enter(.degraded, reason)
        case .exited(let status): return exited(status, now)
        case .abandoned(let reason): return giveUp(reason)
        case .stop(let reason): return stop(reason, then: .stay, now)
        case .restart(let reason): return isAlive ? stop(reason, then: .spawn(reason), now) : spawn(reason, now)
        case .reset: return resetRequested(now)
        case .configured(let settings): return configured(settings, now)
        case .unresponsive(let reason):
            guard state == .ready || state == .degraded else { return [] }
            return stop(reason, then: .fail(reason, wasReady: true), now)
        case .drained:
            guard state == .stopping, stopPhase == .draining else { return [] }
            return terminate(now)
        case .killNow: return isAlive ? kill() : []
        case .timePassed: return timePassed(now)
        }
    }

    // MARK: Starting

    private mutating func spawn(_ reason: String, _ now: Duration) -> [Effect] {
        // Only starts after the first one are restarts, whoever asked for them.
        if startedAt != nil { restarts += 1 }
        startedAt = now
        hasAnnounced = false
        deadline = nil
        return enter(.starting, reason) + [.spawn]
    }

    private mutating func processStarted(isComplete: Bool, _ now: Duration) -> [Effect] {
        guard state == .starting else { return [] }
        if settings.reportsReadiness {
            deadline = now + settings.startupTimeout
            return []
        }
        return isComplete ? becameReady(now) : []
    }

    private mutating func spawnFailed(_ message: String, _ now: Duration) -> [Effect] {
        guard state == .starting else { return [] }
        return failed(message, wasReady: false, now)
    }

    private mutating func becameReady(_ now: Duration) -> [Effect] {
        guard state == .starting || state == .degraded else { return [] }
        deadline = now + settings.restart.resetAfter
        return enter(.ready, "ready")
    }

    // MARK: Ending

    private mutating func exited(_ status: ChildExit, _ now: Duration) -> [Effect] {
        guard isAlive else { return [] }
        lastExit = status
        if state == .stopping {
            switch afterStop {
            case .stay:
                deadline = nil
                return enter(.stopped, "stopped, \(status)")
            case .spawn(let reason): return spawn(reason, now)
            case .fail(let reason, let wasReady): return failed(reason, wasReady: wasReady, now)
            }
        }
        if status.isPermanentFailure {
            return giveUp("\(status): the child refuses its configuration; correct it, or run `reset`")
        }
        switch settings.restart.policy {
        case .never where status.isClean, .onFailure where status.isClean:
            deadline = nil
            return enter(.stopped, "finished, \(status)")
        case .never: return giveUp("\(status), and its restart policy is never")
        case .always, .onFailure:
            let wasReady = state != .starting
            return failed(wasReady ? "\(status)" : "\(status) before ready", wasReady: wasReady, now)
        }
    }

    private mutating func failed(_ reason: String, wasReady: Bool, _ now: Duration) -> [Effect] {
        lastError = reason
        if settings.restart.policy == .never { return giveUp("\(reason), and its restart policy is never") }
        let isBeyond = intensity.record(at: now, weight: wasReady ? 1 : 2)
        var effects: [Effect] = []
        if isBeyond {
            let limit = "more than \(settings.restart.maximumRestarts) failures in \(settings.restart.window)"
            if settings.restart.givesUp { return giveUp("\(reason); \(limit)") }
            if lastComplaint.map({ now - $0 >= .seconds(60) }) ?? true {
                lastComplaint = now
                effects.append(.intensityExceeded("\(limit), the last one: \(reason); trying every \(settings.restart.maximumDelay)"))
            }
        }
        let grown = backoff.next(using: &random)
        let delay = isBeyond ? settings.restart.maximumDelay : grown
        deadline = now + delay
        return effects + enter(.backoff, "\(reason), next start in \(delay.wholeMilliseconds) ms")
    }

    private mutating func giveUp(_ reason: String) -> [Effect] {
        lastError = reason
        deadline = nil
        return enter(.failed, reason) + [.gaveUp(isCritical: settings.restart.isCritical, reason: reason)]
    }

    // MARK: Stopping

    private mutating func stop(_ reason: String, then next: AfterStop, _ now: Duration) -> [Effect] {
        if state == .stopping {
            // The latest request decides; a failure must not turn a requested stop into a restart.
            if case .fail = next { return [] }
            afterStop = next
            return []
        }
        guard isAlive else {
            deadline = nil
            return state == .stopped ? [] : enter(.stopped, reason)
        }
        afterStop = next
        let canDrain = hasAnnounced && state != .starting
        let entered = enter(.stopping, reason)
        // A child that answers nothing cannot drain either.
        if case .fail = next { return entered + terminate(now) }
        guard canDrain else { return entered + terminate(now) }
        stopPhase = .draining
        deadline = now + settings.stopTimeout
        return entered + [.drain(within: settings.stopTimeout)]
    }

    private mutating func terminate(_ now: Duration) -> [Effect] {
        stopPhase = .terminating
        deadline = now + settings.stopTimeout
        return [.terminate]
    }

    private mutating func kill() -> [Effect] {
        var effects: [Effect] = []
        if state != .stopping {
            afterStop = .stay
            effects = enter(.stopping, "killed")
        }
        stopPhase = .killing
        deadline = nil
        return effects + [.kill]
    }

    // MARK: Requests and time

    private mutating func resetRequested(_ now: Duration) -> [Effect] {
        backoff.reset()
        intensity.reset()
        lastError = nil
        return state == .backoff || state == .failed ? spawn("reset", now) : []
    }

    private mutating func configured(_ settings: Settings, _ now: Duration) -> [Effect] {
        self.settings = settings
        backoff = Backoff(settings.restart)
        intensity = RestartIntensity(maximum: settings.restart.maximumRestarts, window: settings.restart.window)
        lastError = nil
        switch state {
        case .disabled, .waiting: return []
        default: return handle(.restart("configuration changed"), now: now)
        }
    }

    private mutating func timePassed(_ now: Duration) -> [Effect] {
        guard let due = deadline, now >= due else { return [] }
        deadline = nil
        switch state {
        case .starting:
            let reason = "not ready within \(settings.startupTimeout.wholeMilliseconds) ms"
            return stop(reason, then: .fail(reason, wasReady: false), now)
        case .ready:
            backoff.reset()
            intensity.reset()
            return []
        case .stopping: return stopPhase == .draining ? terminate(now) : kill()
        case .backoff: return spawn("restart", now)
        default: return []
        }
    }

    private mutating func enter(_ next: State, _ reason: String) -> [Effect] {
        let previous = state
        state = next
        return previous == next ? [] : [.entered(next, from: previous, reason: reason)]
    }
}
