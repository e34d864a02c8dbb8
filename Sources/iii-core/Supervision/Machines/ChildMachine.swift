import IIIConfiguration
import IIIProtocol

/// Decides what happens to one child: start, readiness, restart with back-off, handover, stop (docs/reference/supervisor.md).
///
/// Pure: time comes in as `now` (any monotonic origin), what to do goes out as effects. The shell calls
/// `handle(.timePassed, now:)` at `deadline`. A start that fails before readiness counts double towards the restart
/// intensity. Exit codes 78 and 64 are final until the configuration changes. A requested stop is sticky until
/// `start`, `reset`, `restart` or a new configuration.
///
/// Each process is a *generation*, numbered from 1. Most children have one at a time. One that `canOverlap` is restarted by a
/// handover: its successor starts beside it and takes over once it is ready; the predecessor then finishes what it has in
/// its own time. A successor that fails costs nothing: the predecessor goes on (`+Handover`).
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
        /// Whether two generations may run side by side.
        package var canOverlap: Bool
        /// How long a predecessor may go on with what it has after its successor took over.
        package var handoverTimeout: Duration

        package init(
            restart: RestartSettings = .init(), reportsReadiness: Bool = true, startupTimeout: Duration = .seconds(10),
            stopTimeout: Duration = .seconds(10), canOverlap: Bool = false, handoverTimeout: Duration = .seconds(300)
        ) {
            self.restart = restart
            self.reportsReadiness = reportsReadiness
            self.startupTimeout = startupTimeout
            self.stopTimeout = stopTimeout
            self.canOverlap = canOverlap
            self.handoverTimeout = handoverTimeout
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
        case abandoned(String, ChildExit)
        case stop(String)
        case restart(String)
        case reset
        /// `exclusively`: the new generation cannot run before the old one has ended.
        case configured(Settings, exclusively: Bool)
        case unresponsive(String)
        case drained
        case killNow
        case timePassed

        /// Whether it would end in a new process: nothing for a child that is on its way out of the configuration.
        var asksForAProcess: Bool {
            switch self {
            case .start, .restart, .reset, .configured: true
            default: false
            }
        }
    }

    package enum Effect: Sendable, Equatable {
        case spawn(Int)
        /// Ask that generation over the protocol to finish its work; feed back `.drained`. In a handover it may wait for its
        /// clients, in a stop it must come to an end.
        case drain(Int, within: Duration, isHandover: Bool)
        case terminate(Int)
        case kill(Int)
        case entered(State, from: State, reason: String)
        /// A step of a handover; the state stays what it was.
        case handover(String, isFailure: Bool)
        /// A child beyond its restart intensity; at most once a minute.
        case intensityExceeded(String)
        case gaveUp(isCritical: Bool, reason: String)
    }

    enum StopPhase { case draining, terminating, killing }
    enum AfterStop: Equatable { case stay, spawn(String), fail(String, wasReady: Bool) }

    /// A generation that starts beside the current one.
    struct Successor {
        var generation: Int
        var startedAt: Duration
        var deadline: Duration
        var hasAnnounced = false
    }

    /// A generation that has been replaced and is coming to its end.
    struct Predecessor {
        var generation: Int
        var phase: StopPhase
        var deadline: Duration?
    }

    package internal(set) var state: State = .waiting
    package internal(set) var settings: Settings
    package internal(set) var restarts = 0
    package internal(set) var lastExit: ChildExit?
    package internal(set) var lastError: String?
    package internal(set) var startedAt: Duration?
    /// The current process, or the last one; 0 before the first.
    package internal(set) var generation = 0
    /// Handovers that ended with the old generation.
    package internal(set) var failedHandovers = 0
    /// Whether it has ended by itself, with success, under a policy that lets it.
    package internal(set) var hasFinished = false
    /// Since when no generation serves.
    var vacantSince: Duration?
    /// Of the current generation.
    var timer: Duration?
    var hasAnnounced = false
    /// The current generation has ended, but its predecessors have not.
    var isCurrentGone = false
    var stopPhase = StopPhase.draining
    var afterStop = AfterStop.stay
    var successor: Successor?
    var predecessors: [Predecessor] = []
    var lastGeneration = 0
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

    /// Whether the current generation lives.
    package var isRunning: Bool { [.starting, .ready, .degraded, .stopping].contains(state) }
    /// Whether any generation lives.
    package var isAlive: Bool { isRunning || !predecessors.isEmpty }
    package var isHandingOver: Bool { successor != nil }
    /// Ready, or done with what it was started for.
    package var isAsWanted: Bool { state == .ready || (state == .stopped && hasFinished) }
    /// When `.timePassed` is due; nil when time changes nothing.
    package var deadline: Duration? { ([timer, successor?.deadline] + predecessors.map(\.deadline)).compactMap { $0 }.min() }
    /// The next attempt, in back-off.
    package var nextStart: Duration? { state == .backoff ? timer : nil }

    /// Feeds an event. `generation` says which process it is about, nil: the current one. Events of generations that are gone
    /// change nothing.
    package mutating func handle(_ event: Event, of number: Int? = nil, now: Duration) -> [Effect] {
        if let number {
            if successor?.generation == number { return handleSuccessor(event, now) }
            // First of all: one that was replaced before its successor could start still has the current number.
            if predecessors.contains(where: { $0.generation == number }) { return handlePredecessor(number, event, now) }
            if number != generation { return [] }
        }
        switch event {
        case .start: return isRunning ? [] : spawn("start", now)
        case .spawned, .spawnedStep: return processStarted(isComplete: event == .spawned, now)
        case .spawnFailed(let message): return spawnFailed(message, now)
        case .announced:
            hasAnnounced = true
            return []
        case .becameReady: return becameReady(now)
        case .degraded(let reason):
            guard state == .ready else { return [] }
            timer = nil
            return enter(.degraded, reason, now)
        case .exited(let status): return exited(status, now)
        case .abandoned(let reason, let status):
            lastExit = status
            return giveUp(reason, now)
        case .stop(let reason): return stop(reason, then: .stay, now)
        case .restart(let reason): return restart(reason, exclusively: false, now)
        case .reset: return resetRequested(now)
        case .configured(let settings, let exclusively): return configured(settings, exclusively, now)
        case .unresponsive(let reason): return unresponsive(reason, now)
        case .drained:
            guard state == .stopping, stopPhase == .draining else { return [] }
            return terminate(now)
        case .killNow: return killAll(now)
        case .timePassed: return timePassed(now)
        }
    }

    // MARK: Starting

    mutating func spawn(_ reason: String, _ now: Duration) -> [Effect] {
        // Only starts after the first one are restarts, whoever asked for them.
        if startedAt != nil { restarts += 1 }
        startedAt = now
        hasAnnounced = false
        hasFinished = false
        isCurrentGone = false
        timer = nil
        lastGeneration += 1
        generation = lastGeneration
        return enter(.starting, reason, now) + [.spawn(generation)]
    }

    private mutating func processStarted(isComplete: Bool, _ now: Duration) -> [Effect] {
        guard state == .starting else { return [] }
        if settings.reportsReadiness {
            timer = now + settings.startupTimeout
            return []
        }
        return isComplete ? becameReady(now) : []
    }

    private mutating func spawnFailed(_ message: String, _ now: Duration) -> [Effect] {
        guard state == .starting else { return [] }
        // How an earlier process ended says nothing about this one, which never was.
        lastExit = nil
        return failed(message, wasReady: false, now)
    }

    private mutating func becameReady(_ now: Duration) -> [Effect] {
        guard state == .starting || state == .degraded else { return [] }
        timer = now + settings.restart.resetAfter
        return enter(.ready, "ready", now)
    }

    // MARK: Ending

    private mutating func exited(_ status: ChildExit, _ now: Duration) -> [Effect] {
        guard isRunning, !isCurrentGone else { return [] }
        lastExit = status
        if state == .stopping {
            if case .fail(let reason, let wasReady) = afterStop { return failed(reason, wasReady: wasReady, now) }
            isCurrentGone = true
            timer = nil
            return finishStop(now)
        }
        if let successor { return succeedAtOnce(successor, "\(status)", now) }
        if status.isPermanentFailure {
            return giveUp("\(status): the child refuses its configuration; correct it, or run `reset`", now)
        }
        switch settings.restart.policy {
        case .never where status.isClean, .onFailure where status.isClean:
            timer = nil
            hasFinished = true
            return enter(.stopped, "finished, \(status)", now)
        case .never: return giveUp("\(status), and its restart policy is never", now)
        case .always, .onFailure:
            let wasReady = state != .starting
            return failed(wasReady ? "\(status)" : "\(status) before ready", wasReady: wasReady, now)
        }
    }

    /// A stop is over when every generation has ended.
    mutating func finishStop(_ now: Duration) -> [Effect] {
        guard state == .stopping, isCurrentGone, predecessors.isEmpty else { return [] }
        isCurrentGone = false
        if case .spawn(let reason) = afterStop { return spawn(reason, now) }
        return enter(.stopped, lastExit.map { "stopped, \($0)" } ?? "stopped", now)
    }

    mutating func failed(_ reason: String, wasReady: Bool, _ now: Duration) -> [Effect] {
        lastError = reason
        if settings.restart.policy == .never { return giveUp("\(reason), and its restart policy is never", now) }
        let isBeyond = intensity.record(at: now, weight: wasReady ? 1 : 2)
        var effects: [Effect] = []
        if isBeyond {
            let limit = "more than \(settings.restart.maximumRestarts) failures in \(settings.restart.window)"
            if settings.restart.givesUp { return giveUp("\(reason); \(limit)", now) }
            if lastComplaint.map({ now - $0 >= .seconds(60) }) ?? true {
                lastComplaint = now
                effects.append(.intensityExceeded("\(limit), the last one: \(reason); trying every \(settings.restart.maximumDelay)"))
            }
        }
        // What has worked until now deserves to be back before anybody has noticed.
        if wasReady, intensity.load <= settings.restart.immediateRestarts {
            return effects + spawn("\(reason), started again at once", now)
        }
        let grown = backoff.next(using: &random)
        let delay = isBeyond ? settings.restart.maximumDelay : grown
        timer = now + delay
        return effects + enter(.backoff, "\(reason), next start in \(delay.wholeMilliseconds) ms", now)
    }

    private mutating func giveUp(_ reason: String, _ now: Duration) -> [Effect] {
        lastError = reason
        timer = nil
        return enter(.failed, reason, now) + [.gaveUp(isCritical: settings.restart.isCritical, reason: reason)]
    }

    // MARK: Stopping

    mutating func stop(_ reason: String, then next: AfterStop, _ now: Duration) -> [Effect] {
        if state == .stopping {
            // The latest request decides; a failure must not turn a requested stop into a restart.
            if case .fail = next { return [] }
            afterStop = next
            return next == .stay ? terminateOthers(now) : []
        }
        afterStop = next
        let others = next.endsAll ? terminateOthers(now) : []
        guard isRunning else {
            timer = nil
            isCurrentGone = true
            if predecessors.isEmpty { return state == .stopped ? [] : enter(.stopped, reason, now) }
            return enter(.stopping, reason, now) + others
        }
        let canDrain = hasAnnounced && state != .starting
        let entered = enter(.stopping, reason, now) + others
        // A child that answers nothing cannot drain either.
        if case .fail = next { return entered + terminate(now) }
        guard canDrain else { return entered + terminate(now) }
        stopPhase = .draining
        timer = now + settings.stopTimeout
        return entered + [.drain(generation, within: settings.stopTimeout, isHandover: false)]
    }

    private mutating func terminate(_ now: Duration) -> [Effect] {
        stopPhase = .terminating
        timer = now + settings.stopTimeout
        return [.terminate(generation)]
    }

    private mutating func kill() -> [Effect] {
        stopPhase = .killing
        timer = nil
        return [.kill(generation)]
    }

    private mutating func killAll(_ now: Duration) -> [Effect] {
        var effects: [Effect] = []
        if isRunning {
            if state != .stopping {
                afterStop = .stay
                effects = enter(.stopping, "killed", now)
            }
            if !isCurrentGone { effects += kill() }
        }
        return effects + killOthers()
    }

    private mutating func unresponsive(_ reason: String, _ now: Duration) -> [Effect] {
        guard state == .ready || state == .degraded else { return [] }
        guard settings.canOverlap else { return stop(reason, then: .fail(reason, wasReady: true), now) }
        // Its successor need not wait for the end of what answers nothing.
        let effects = retire(generation, in: .terminating, now)
        if let successor { return effects + succeedAtOnce(successor, reason, now) }
        return effects + failed(reason, wasReady: true, now)
    }

    // MARK: Requests and time

    private mutating func restart(_ reason: String, exclusively: Bool, _ now: Duration) -> [Effect] {
        if settings.canOverlap, !exclusively, state == .ready || state == .degraded { return beginHandover(reason, now) }
        return isAlive && (isRunning || exclusively) ? stop(reason, then: .spawn(reason), now) : spawn(reason, now)
    }

    private mutating func resetRequested(_ now: Duration) -> [Effect] {
        backoff.reset()
        intensity.reset()
        lastError = nil
        return state == .backoff || state == .failed ? spawn("reset", now) : []
    }

    private mutating func configured(_ settings: Settings, _ exclusively: Bool, _ now: Duration) -> [Effect] {
        self.settings = settings
        backoff = Backoff(settings.restart)
        intensity = RestartIntensity(maximum: settings.restart.maximumRestarts, window: settings.restart.window)
        lastError = nil
        switch state {
        case .disabled, .waiting: return []
        default: return restart("configuration changed", exclusively: exclusively, now)
        }
    }

    private mutating func timePassed(_ now: Duration) -> [Effect] {
        var effects = otherTimersPassed(now)
        guard let due = timer, now >= due else { return effects }
        timer = nil
        switch state {
        case .starting:
            let reason = "not ready within \(settings.startupTimeout.wholeMilliseconds) ms"
            effects += stop(reason, then: .fail(reason, wasReady: false), now)
        case .ready:
            backoff.reset()
            intensity.reset()
        case .stopping: effects += stopPhase == .draining ? terminate(now) : kill()
        case .backoff: effects += spawn("restart", now)
        default: break
        }
        return effects
    }

    mutating func enter(_ next: State, _ reason: String, _ now: Duration) -> [Effect] {
        let previous = state
        state = next
        if next == .ready { vacantSince = nil } else if next != .degraded, vacantSince == nil { vacantSince = now }
        return previous == next ? [] : [.entered(next, from: previous, reason: reason)]
    }
}

extension ChildMachine.AfterStop {
    /// Whether predecessors are ended too: a stop ends everything, a failure only what failed.
    var endsAll: Bool { if case .fail = self { false } else { true } }
}
