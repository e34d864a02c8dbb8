import Glibc
import IIIConfiguration
import IIIProtocol
import IIISettings

/// A request that is answered when children have reached a state.
struct Waiter {
    enum Goal {
        /// Ready, after at least this many restarts, and with no more failed handovers than these.
        case ready(restarts: Int, failedHandovers: Int)
        case stopped
    }

    var name: String
    var goal: Goal
    var deadline: Duration
    var reply: (Result<JSONValue, FleetError>) -> Void
}

// Answering `FleetRequest`s.
extension SupervisorLoop {
    func perform(_ request: FleetRequest, for connection: ControlConnection) {
        if case .logs(let names, let count, let since, let follow) = request {
            return serveLogs(names.map(EngineConfiguration.canonical), count, since, follow, connection)
        }
        if case .metrics(let format) = request { return serveMetrics(format) { connection.stream($0) } }
        perform(request) { connection.finish($0) }
    }

    func perform(_ request: FleetRequest, _ reply: @escaping (Result<JSONValue, FleetError>) -> Void) {
        switch request {
        case .list: reply(.success(["children": .array(statuses().map(\.json))]))
        case .status(let name): status(name, reply)
        case .restart(nil): restart(fleet.names.filter { fleet.children[$0]?.state != .disabled }, reply)
        case .restart(let name?): withChild(name, reply) { restart([$0], reply) }
        case .stop(let name):
            withChild(name, reply) { name in
                slots[name]?.wasStoppedByRequest = true
                handle(name, .stop("stopped by request"))
                wait(for: name, .stopped, reply)
            }
        case .start(let name):
            withChild(name, reply) { name in
                slots[name]?.wasStoppedByRequest = false
                slots[name]?.nextStep = 0
                // A child that is just stopping starts again when it has stopped.
                handle(name, fleet.children[name]?.state == .stopping ? .restart("started by request") : .start)
                wait(for: name, .ready(restarts: 0, failedHandovers: fleet.children[name]?.failedHandovers ?? 0), reply)
            }
        case .reset(let name):
            withChild(name, reply) { name in
                handle(name, .reset)
                reply(.success(statuses().first { $0.name == name }?.json ?? .null))
            }
        case .logs(let names, let count, let since, _):
            let lines = logs.tail(names.map(EngineConfiguration.canonical), count: count, since: since)
            reply(.success(.array(lines.suffix(count).map(\.json))))
        case .reload:
            reload(cause: "reload was requested") { error in reply(error.map { .failure(.failed($0)) } ?? .success(["reloaded": true])) }
        case .shutdown:
            reply(.success(["draining": true]))
            shutDown(reason: "shutdown was requested")
        case .metrics(let format):
            serveMetrics(format) { lines in
                reply(.success(["text": .string(lines.map { $0["text"]?.string ?? "" }.joined())]))
            }
        }
    }

    func statuses() -> [ChildStatus] {
        let now = MonotonicClock.now
        let table = ProcessTable()
        return fleet.names.compactMap { name in
            guard let slot = slots[name], let machine = fleet.children[name] else { return nil }
            let running = slot.processes[machine.generation]
            let age = running.map { now - $0.startedAt }
            let usage = running.flatMap { table.usage(of: $0.process.pid, spawnID: $0.spawnID, aliveFor: now - $0.startedAt) }
            let others = machine.otherGenerations.compactMap { other in
                slot.processes[other.generation].map {
                    ChildStatus.Other(pid: $0.process.pid, activity: other.activity, uptime: now - $0.startedAt)
                }
            }
            return ChildStatus(
                name: name, role: slot.specification.role, pid: running?.process.pid, state: machine.state,
                isReady: machine.state == .ready, restarts: machine.restarts, uptime: age, cpuPercent: usage?.cpuPercent,
                residentBytes: usage?.residentBytes, lastExit: machine.lastExit?.description, lastError: machine.lastError,
                nextStart: machine.nextStart.map { max(.zero, $0 - now) },
                listen: sockets[name].map { "\($0.host):\($0.actualPort ?? $0.port)" },
                isCritical: slot.specification.entry.restart.isCritical, others: others)
        }
    }

    func settleWaiters(_ now: Duration) {
        let current = waiters
        waiters = []
        for waiter in current {
            if let result = outcome(of: waiter, now) { waiter.reply(result) } else { waiters.append(waiter) }
        }
    }

    private func outcome(of waiter: Waiter, _ now: Duration) -> Result<JSONValue, FleetError>? {
        guard let child = fleet.children[waiter.name] else { return .failure(.failed("\(waiter.name) was removed")) }
        switch waiter.goal {
        case .ready(_, let failures) where child.failedHandovers > failures:
            return .failure(
                .failed("\(waiter.name) was not replaced: \(child.lastError ?? "its successor failed"); the old process goes on"))
        case .ready(let restarts, _) where child.restarts >= restarts:
            if child.state == .ready { return success(waiter.name) }
            if child.state == .stopped, child.lastExit?.isClean ?? false { return success(waiter.name) }
            if [.failed, .backoff, .stopped].contains(child.state) {
                let reason = child.lastError ?? child.lastExit?.description ?? "stopped"
                return .failure(.failed("\(waiter.name) did not become ready: \(reason)"))
            }
        case .stopped where !child.isAlive: return success(waiter.name)
        default: break
        }
        if now < waiter.deadline { return nil }
        return .failure(.timeout("\(waiter.name) is still \(child.state.rawValue); see `iii-core logs \(waiter.name)`"))
    }

    private func success(_ name: String) -> Result<JSONValue, FleetError> {
        .success(statuses().first { $0.name == name }?.json ?? .null)
    }

    private func status(_ name: String?, _ reply: @escaping (Result<JSONValue, FleetError>) -> Void) {
        guard let name else { return status(of: nil, doing: nil, reply) }
        let wanted = EngineConfiguration.canonical(name)
        guard let slot = slots[wanted], let machine = fleet.children[wanted] else { return reply(.failure(unknown(name))) }
        guard slot.specification.isPrivileged, machine.state == .ready else { return status(of: wanted, doing: nil, reply) }
        nextDescription += 1
        let (request, mailbox) = (nextDescription, mailbox)
        descriptions[request] = { [self] in status(of: wanted, doing: $0, reply) }
        hooks.describe(ChildGeneration(name: wanted, generation: machine.generation)) { mailbox.post(.described(request: request, $0)) }
    }

    /// `doing`: what the child says of itself.
    private func status(of wanted: String?, doing: JSONValue?, _ reply: (Result<JSONValue, FleetError>) -> Void) {
        var children = statuses().filter { wanted == nil || $0.name == wanted }
        if wanted != nil, !children.isEmpty { children[0].doing = doing }
        let status = FleetStatus(
            version: options.version, pid: getpid(), enginePort: enginePort,
            phase: fleet.phase == .running ? "running" : "draining",
            isReady: fleet.phase == .running && (wanted.map { fleet.children[$0]?.isAsWanted ?? false } ?? fleet.isEverythingAsWanted),
            configPath: options.configPath.map(EngineLocator.canonical),
            uptime: MonotonicClock.now - options.startedAt, children: children, lastReloadAt: lastReload?.at,
            lastReloadError: lastReload?.error, droppedLogLines: console?.dropped ?? 0)
        reply(.success(status.json))
    }

    /// One after the other, so that a restart of all is no outage of all.
    private func restart(_ names: [String], _ reply: @escaping (Result<JSONValue, FleetError>) -> Void) {
        guard let name = names.first, let child = fleet.children[name], let slot = slots[name] else {
            return reply(.success(["children": .array(statuses().map(\.json))]))
        }
        slot.wasStoppedByRequest = false
        slot.nextStep = 0
        let restarts = child.restarts + 1
        handle(name, .restart("restarted by request"))
        wait(for: name, .ready(restarts: restarts, failedHandovers: child.failedHandovers)) { [weak self] result in
            guard case .success = result, names.count > 1 else { return reply(result) }
            self?.restart(Array(names.dropFirst()), reply)
        }
    }

    private func wait(for name: String, _ goal: Waiter.Goal, _ reply: @escaping (Result<JSONValue, FleetError>) -> Void) {
        guard let settings = fleet.members[name]?.settings else { return reply(.failure(unknown(name))) }
        // Drain, SIGTERM, start: each has its own limit; the margin is for a loaded machine.
        let budget = settings.stopTimeout * 2 + settings.startupTimeout + .seconds(5)
        waiters.append(Waiter(name: name, goal: goal, deadline: MonotonicClock.now + budget, reply: reply))
    }

    private func withChild(_ name: String, _ reply: (Result<JSONValue, FleetError>) -> Void, _ body: (String) -> Void) {
        let canonical = EngineConfiguration.canonical(name)
        guard slots[canonical] != nil else { return reply(.failure(unknown(name))) }
        guard fleet.phase == .running else { return reply(.failure(.failed("the engine is shutting down"))) }
        body(canonical)
    }

    private func unknown(_ name: String) -> FleetError {
        let hint = EditDistance.nearest(to: name, among: slots.keys).map { " (did you mean '\($0)'?)" } ?? ""
        return .unknown("no child named '\(name)'\(hint); there are: \(fleet.names.joined(separator: ", "))")
    }

    /// The document is made elsewhere and comes back through the mailbox.
    private func serveMetrics(_ format: MetricsFormat, _ reply: @escaping ([JSONValue]) -> Void) {
        let now = MonotonicClock.now
        let core = FleetMetrics.Process(
            entry: "iii-core", isReady: fleet.phase == .running && fleet.isEverythingAsWanted, restarts: 0, uptime: now - options.startedAt,
            usage: ProcessTable().own(aliveFor: now - options.startedAt))
        let children = statuses().map { child in
            FleetMetrics.Process(
                entry: child.name, isReady: child.isReady, restarts: child.restarts, uptime: child.uptime,
                usage: child.cpuPercent.map { .init(cpuPercent: $0, residentBytes: child.residentBytes ?? 0) })
        }
        metricsRequestCount += 1
        let (request, mailbox) = (metricsRequestCount, mailbox)
        metricsRequests[request] = reply
        hooks.metrics(FleetMetrics.families([core] + children, droppedLogLines: console?.dropped ?? 0)) { scrape in
            mailbox.post(.metrics(request: request, lines: format.lines(scrape)))
        }
    }

    private func serveLogs(_ names: [String], _ count: Int, _ since: Int64?, _ follow: Bool, _ connection: ControlConnection) {
        for name in names where slots[name] == nil && !logs.knows(name) { return connection.finish(.failure(unknown(name))) }
        for line in logs.tail(names, count: count, since: since).suffix(count) { connection.send(line.json) }
        guard follow else { return connection.finish(.success(.null)) }
        let number = logs.follow { [weak connection] line in
            if names.isEmpty || names.contains(line.name) { connection?.send(line.json) }
        }
        connection.onClose = { [weak self] in self?.logs.unfollow(number) }
    }
}
