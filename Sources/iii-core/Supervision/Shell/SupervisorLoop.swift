import CSupervision
import Glibc
import IIIConfiguration
import IIIProtocol
import IIITelemetry

/// The shell of `FleetMachine`: owns processes, pipes, timers, the control socket and the watches of one supervisor.
///
/// Everything runs on the thread that calls `run()`; the class is `@unchecked Sendable` only so that it may be made on
/// another one before. Nothing here blocks: not the console (`ConsoleWriter`), not clients (bounded buffers).
final class SupervisorLoop: @unchecked Sendable {
    var plan: FleetPlan
    let options: SupervisorOptions
    let hooks: SupervisorHooks
    let mailbox: Mailbox<Supervisor.Message>
    let notifier: SystemdNotifier
    var sockets: ListeningSockets
    let control: ControlServer?
    let loop = EventLoop()
    let console: ConsoleWriter?
    let logs: LogMultiplexer
    var environment: ChildEnvironment
    var enginePort: Int
    var fleet: FleetMachine
    var slots: [String: ChildSlot] = [:]
    var waiters: [Waiter] = []
    /// Requests that wait for a child's own words.
    var descriptions: [Int: (JSONValue?) -> Void] = [:]
    var nextDescription = 0
    /// Who waits for metrics that are being put together, by number.
    var metricsRequests: [Int: ([JSONValue]) -> Void] = [:]
    var metricsRequestCount = 0
    var configWatch: ConfigWatch?
    var lastReload: (at: String, error: String?)?
    var reloads = ReloadMachine()
    /// Who waits for the outcome of a reload, by its number.
    var reloadReplies: [Int: [(String?) -> Void]] = [:]
    var lifeline: [Int32] = [-1, -1]
    var isReady = false
    private var signals: SignalPipe?
    private var signalPolicy: SignalPolicy
    private let standIn: StandIn
    private var exitCode: Int32?
    private var nextMemoryCheck: Duration?
    private static let memoryCheckInterval: Duration = .seconds(5)

    init(
        plan: FleetPlan, options: SupervisorOptions, hooks: SupervisorHooks, mailbox: Mailbox<Supervisor.Message>,
        notifier: SystemdNotifier, sockets: ListeningSockets
    ) throws(SupervisorError) {
        self.plan = plan
        self.options = options
        self.hooks = hooks
        self.mailbox = mailbox
        self.notifier = notifier
        self.sockets = sockets
        if let path = options.controlSocketPath { control = try ControlServer(path: path) } else { control = nil }
        console = options.consoleDescriptor.map { ConsoleWriter(descriptor: $0) }
        logs = LogMultiplexer(console: console, style: options.logStyle, pid: getpid())
        environment = ChildEnvironment(
            inherited: options.environment, engine: options.engine, enginePID: getpid(), logFormat: options.logStyle.format)
        enginePort = options.engine.port
        signalPolicy = SignalPolicy(isOnTerminal: options.isOnTerminal)
        standIn = StandIn(loop: loop)
        fleet = FleetMachine(seed: UInt64(truncatingIfNeeded: LogTimestamp.nowNanoseconds()))
    }

    func run() -> Int32 {
        begin()
        while exitCode == nil {
            loop.turn(until: nextDeadline)
            tick()
        }
        return end()
    }

    // MARK: Life

    private func begin() {
        // A closed console or client must cost a write error, not the process.
        Glibc.signal(SIGPIPE, SIG_IGN)
        _ = csup_pipe(&lifeline, 0)
        if options.adoptsOrphans { _ = csup_become_subreaper() }
        if options.handlesSignals {
            let pipe = SignalPipe(withChildren: options.adoptsOrphans)
            signals = pipe
            loop.add(pipe.descriptor, .read) { [weak self] _, _ in pipe.take().forEach { self?.signalArrived($0) } }
        }
        loop.add(mailbox.descriptor, .read) { [weak self] _, _ in self?.readMailbox() }
        control?.attach(to: loop) { [weak self] request, connection in self?.perform(request, for: connection) }
        if let path = options.configPath {
            let watch = ConfigWatch(path: path)
            configWatch = watch
            if let problem = watch.problem {
                logs.warning(.watchIncomplete, "changes of \(path) go unnoticed, use `iii-core reload`: \(problem)")
            }
            loop.add(watch.descriptor, .read) { _, _ in watch.received(now: MonotonicClock.now) }
        }
        logs.setNames(plan.children.map(\.name))
        for remark in plan.remarks { logs.info(remark) }
        for name in plan.unavailable { logs.info("\(name) is not part of this build; the engine runs without it") }
        for warning in plan.configuration.warnings {
            logs.warning(.configurationSuspicious, "\(plan.configuration.path ?? "configuration"): \(warning)")
        }
        for child in plan.children { admit(child) }
        if options.adoptsOrphans { reapOrphans() }
        execute(fleet.start(now: MonotonicClock.now))
    }

    private func end() -> Int32 {
        for reply in reloadReplies.values.joined() { reply("the engine has shut down") }
        logs.info("iii-core stopped")
        if options.adoptsOrphans { sweepAll() }
        standIn.close()
        control?.shutDown()
        for slot in slots.values { removeWatch(of: slot) }
        sockets.closeAll()
        // Only now: children see the lifeline end after they were asked to stop.
        lifeline.forEach { close($0) }
        signals = nil
        console?.close(within: .seconds(1))
        return exitCode ?? 0
    }

    func admit(_ child: ChildSpecification) {
        let slot = ChildSlot(child)
        slots[child.name] = slot
        hooks.configurationChanged(child.name, child.entry.config ?? .null)
        fleet.add(child.name, child.member, isDisabled: !child.isEnabled)
        addWatch(to: slot)
    }

    // MARK: Time

    private var nextDeadline: Duration? {
        let watches = slots.values.compactMap(\.watchRestarts.deadline)
        let others =
            [fleet.deadline, logs.deadline, configWatch?.deadline, memoryCheckDeadline, standIn.deadline, receptionDeadline]
            + waiters.map(\.deadline)
        return (watches + others.compactMap { $0 }).min()
    }

    private var memoryCheckDeadline: Duration? {
        guard slots.values.contains(where: { !$0.processes.isEmpty && $0.specification.entry.resources.memoryMaximumMiB != nil }) else {
            return nil
        }
        return nextMemoryCheck ?? MonotonicClock.now + Self.memoryCheckInterval
    }

    private func tick() {
        let now = MonotonicClock.now
        logs.flushPartialLines(now: now)
        execute(fleet.timePassed(now: now))
        if configWatch?.isDue(now: now) ?? false { configurationFileChanged(now: now) }
        for slot in slots.values { restartForFiles(slot, now: now) }
        checkMemory(now)
        // In this order: who is told that a child has stopped finds its port given back.
        receiveClients(now)
        settleWaiters(now)
    }

    private func checkMemory(_ now: Duration) {
        guard let due = memoryCheckDeadline else { return nextMemoryCheck = nil }
        nextMemoryCheck = due
        guard now >= due else { return }
        nextMemoryCheck = now + Self.memoryCheckInterval
        let table = ProcessTable()
        for slot in slots.values {
            guard let limit = slot.specification.entry.resources.memoryMaximumMiB else { continue }
            for running in slot.processes.values {
                let usage = table.usage(of: running.process.pid, spawnID: running.spawnID, aliveFor: now - running.startedAt)
                guard let usage, usage.residentBytes > Int64(limit) << 20 else { continue }
                let reason = "uses \(usage.residentBytes >> 20) MiB of at most \(limit)"
                handle(slot.specification.name, .unresponsive(reason), of: running.generation)
            }
        }
    }

    // MARK: Clients that nobody serves

    /// Lets the core answer where a child will not for a while, and ends that where it does again.
    private func receiveClients(_ now: Duration) {
        for (name, slot) in slots {
            guard let machine = fleet.children[name], let socket = sockets[name] else {
                standIn.withdraw(from: name)
                continue
            }
            switch machine.reception(now: now) {
            case .child: standIn.withdraw(from: name)
            case .unavailable(let delay): standIn.serve(name, on: socket, state: machine.state.rawValue, retryAfter: delay)
            // One of systemd's cannot be given back.
            case .closed where socket.isInherited && !slot.specification.isEnabled: standIn.withdraw(from: name)
            case .closed where socket.isInherited:
                standIn.serve(name, on: socket, state: machine.state.rawValue, retryAfter: ChildMachine.operatorRetry)
            case .closed:
                standIn.withdraw(from: name)
                sockets.release(name)
            }
        }
        standIn.expire(now)
    }

    private var receptionDeadline: Duration? {
        let now = MonotonicClock.now
        return slots.keys.compactMap { sockets[$0] == nil ? nil : fleet.children[$0]?.receptionDeadline(now: now) }.min()
    }

    // MARK: Messages and signals

    private func readMailbox() {
        for message in mailbox.take() {
            switch message {
            case .child(let name, let generation, let event): handle(name, event, of: generation)
            case .ready(let name, let generation, let completion):
                handle(name, .becameReady, of: generation)
                receiveClients(MonotonicClock.now)
                completion()
            case .reconfigured(let name, let process, let answer): reconfigured(name, process, answer)
            case .described(let request, let answer): descriptions.removeValue(forKey: request)?(answer)
            case .signal(let number): signalArrived(number)
            case .log(let priority, let text): logs.log(priority: priority, text)
            case .list(let completion): completion(statuses())
            case .perform(let request, let completion): perform(request, completion)
            case .metrics(let request, let lines): metricsRequests.removeValue(forKey: request)?(lines)
            }
        }
    }

    private func signalArrived(_ number: Int32) {
        if number == SIGCHLD { return reapOrphans() }
        switch signalPolicy.received(number, now: MonotonicClock.now) {
        case .drain where fleet.phase == .running: shutDown(reason: "received \(ChildExit.signalled(number))")
        case .drain, .kill:
            logs.warning(.stopForced, "second signal: killing what is left")
            killEverything()
            exitCode = 128 + number
        case .reload: reload(cause: "received SIGHUP")
        case .dumpState: dumpState()
        case .none: break
        }
    }

    func shutDown(reason: String) {
        logs.info("\(reason): draining, \(FleetMachine.shutdownBudget.components.seconds) s at most")
        execute(fleet.shutDown(exitCode: 0, reason: reason, now: MonotonicClock.now))
    }

    private func dumpState() {
        for status in statuses() { logs.info("state \(status.json.text)") }
        logs.info("state dropped_log_lines=\(console?.dropped ?? 0) waiting_requests=\(waiters.count)")
    }

    // MARK: Effects

    /// `generation`: the process the event is about, nil: the current one.
    func handle(_ name: String, _ event: ChildMachine.Event, of generation: Int? = nil) {
        execute(fleet.handle(name, event, of: generation, now: MonotonicClock.now))
    }

    /// Effects that come of executing others are executed after them, in order.
    func execute(_ effects: [FleetMachine.Effect]) {
        let wasRunning = !isDraining
        for effect in effects {
            switch effect {
            case .child(let name, let effect): execute(effect, for: name)
            case .becameReady: reportReady()
            case .removed(let name): dismiss(name)
            case .shutdownComplete(let code): exitCode = exitCode ?? code
            }
        }
        if wasRunning, fleet.phase != .running { beginDraining() }
    }

    private var isDraining = false

    private func beginDraining() {
        guard !isDraining else { return }
        isDraining = true
        notifier.stopping(extendBy: FleetMachine.shutdownBudget + .seconds(5))
        hooks.willShutDown()
    }

    private func execute(_ effect: ChildMachine.Effect, for name: String) {
        guard let slot = slots[name] else { return }
        switch effect {
        case .spawn(let generation): spawn(slot, generation: generation)
        case .drain(let generation, let budget, let isHandover):
            let mailbox = mailbox
            let request = DrainRequest(milliseconds: Int(clamping: budget.wholeMilliseconds), isHandover: isHandover)
            hooks.drain(ChildGeneration(name: name, generation: generation), request) {
                mailbox.post(.child(name, generation: generation, .drained))
            }
        case .terminate(let generation): signal(slot, generation: generation, SIGTERM)
        case .kill(let generation): signal(slot, generation: generation, SIGKILL)
        case .handover(let text, let isFailure):
            isFailure ? logs.error(.handoverFailed, "\(name): \(text)") : logs.info("\(name): \(text)")
        case .entered(let state, let previous, let reason): entered(state, from: previous, reason: reason, slot)
        case .intensityExceeded(let text): logs.error(.childRestartsTooOften, "\(name): \(text)")
        case .gaveUp(let isCritical, let reason):
            logs.error(.childGivenUp, "\(name) gave up: \(reason)" + (isCritical ? "; it is critical, so the engine stops" : ""))
        }
    }

    private func entered(_ state: ChildMachine.State, from previous: ChildMachine.State, reason: String, _ slot: ChildSlot) {
        let name = slot.specification.name
        let text = "\(name): \(previous.rawValue) → \(state.rawValue) (\(reason))"
        switch state {
        case .backoff: logs.warning(.childFailed, text)
        case .degraded: logs.warning(.childUnresponsive, text)
        case .failed: logs.error(.childFailed, text)
        default: logs.info(text)
        }
        if previous == .starting, state == .failed || (state == .backoff && fleet.children[name]?.restarts == 0) {
            let lines = logs.lastLines(of: name, count: 20)
            if !lines.isEmpty { logs.warning(.childFailed, "\(name): its last lines were") }
            for line in lines { logs.info("    \(line.text)") }
        }
        if state == .stopped || state == .failed { sweep(name) }
        if isReady, fleet.phase == .running { notifier.status(statusLine) }
    }

    private var statusLine: String {
        let builtIns = slots.values.filter { $0.specification.isPrivileged && fleet.children[$0.specification.name]?.state != .disabled }
        let ready = builtIns.count { fleet.children[$0.specification.name]?.state == .ready }
        return "\(ready)/\(builtIns.count) built-ins ready"
    }

    private func reportReady() {
        isReady = true
        let elapsed = MonotonicClock.now - options.startedAt
        logs.info("iii-core ready in \(elapsed.wholeMilliseconds) ms")
        notifier.ready(status: statusLine)
        hooks.becameReady()
    }

    private func dismiss(_ name: String) {
        if let slot = slots.removeValue(forKey: name) { removeWatch(of: slot) }
        hooks.configurationChanged(name, nil)
        sockets.retain(only: Set(slots.keys))
        logs.forget(name)
        // Taken out and put back by two reloads in a row.
        if fleet.phase == .running, let child = plan.child(name) {
            admit(child)
            execute(fleet.start(now: MonotonicClock.now))
        }
    }
}
