import Glibc
import IIIConfiguration
import IIITelemetry

// Reading the configuration again (docs/reference/supervisor.md#reload): an invalid one never harms what runs.
extension SupervisorLoop {
    func reload(cause: String) {
        guard fleet.phase == .running else { return }
        guard let path = options.configPath else {
            record(error: "the engine runs on the default configuration; there is no file to reload")
            return
        }
        logs.info("reload: \(cause)")
        notifier.reloading()
        do {
            try apply(try readPlan(path))
            finishReload()
        } catch {
            let text = "\(error)"
            logs.error(.reloadRefused, "reload: refused, the old configuration stays in force\n\(text.trimmingPrefix("Error: "))")
            record(error: text)
            notifyReloaded()
        }
    }

    /// Ends the reload once every built-in that was offered its changed config has answered.
    func finishReload() {
        guard reloading.offered.isEmpty else { return }
        let problems = reloading.problems.joined(separator: "\n")
        reloading.problems = []
        if !problems.isEmpty {
            logs.error(.reloadRefused, "reload: refused by who would have to apply it, their old configuration stays in force\n\(problems)")
        }
        record(error: problems.isEmpty ? nil : problems)
        notifyReloaded()
    }

    private func notifyReloaded() {
        notifier.ready(status: lastReload?.error == nil ? "configuration reloaded" : "reload refused, running on the old configuration")
        guard reloading.offered.isEmpty else { return }
        let waiting = reloading.waiting
        reloading.waiting = []
        for work in waiting { work() }
    }

    /// Runs `work` when no reload is under way.
    func whenReloaded(_ work: @escaping () -> Void) {
        if reloading.offered.isEmpty { work() } else { reloading.waiting.append(work) }
    }

    private func record(error: String?) {
        lastReload = (LogTimestamp.rfc3339(LogTimestamp.nowNanoseconds()), error)
        if error == nil { logs.info("reload: success") }
    }

    private func readPlan(_ path: String) throws(ConfigurationErrors) -> FleetPlan {
        let configuration = try EngineConfiguration.load(
            text: try ConfigurationFile.read(path), path: path, environment: options.environment, engineVersion: options.version)
        return try .make(configuration: configuration, lookup: options.lookup, only: options.only, except: options.except)
    }

    /// Everything that can fail comes first; from the first change on nothing can.
    private func apply(_ new: FleetPlan) throws(SupervisorError) {
        let diff = ConfigurationDiff(from: plan.configuration, to: new.configuration)
        logs.info(diff.summary)
        if diff.isEmpty {
            plan = new
            return
        }
        let prepared = try sockets.prepare(
            new.children.filter { child in
                // A child that does not run holds no address; it gets one when it starts.
                let isWanted = child.isEnabled && (slots[child.name]?.wasStoppedByRequest != true || diff.changed.contains(child.name))
                // `127.0.0.1` and `0.0.0.0` cannot hold one port together, so the old process has to end first.
                return isWanted && !sockets.isOnlyHostChanged(child)
            })
        let managersDiffer =
            plan.workerManagers.count != new.workerManagers.count
            || zip(plan.workerManagers, new.workerManagers).contains { !$0.isEquivalent(to: $1) }
        if managersDiffer, let problem = hooks.workerManagersChanged(new.workerManagers) {
            sockets.discard(prepared)
            throw SupervisorError(message: problem)
        }
        sockets.commit(prepared)
        plan = new
        for warning in new.configuration.warnings {
            logs.warning(.configurationSuspicious, "\(new.configuration.path ?? "configuration"): \(warning)")
        }
        let now = MonotonicClock.now
        let wanted = Set(new.children.map(\.name))
        let restartsAll = managersDiffer && engineMoved(except: diff.changed, now)
        for child in new.children where diff.changed.contains(child.name) {
            // After a move of the engine everybody has to start anew anyway.
            if !restartsAll, canApplyLive(child) { offer(child) } else { change(child, now) }
        }
        for name in fleet.names where !wanted.contains(name) { execute(fleet.remove(name, now: now)) }
        for child in new.children where slots[child.name] == nil { admit(child) }
        logs.setNames(new.children.map(\.name))
        execute(fleet.start(now: now))
    }

    /// Built-ins follow the engine to its new address, unless they have a listener of their own; user processes keep their connection
    /// and learn of it at their next start. Returns whether built-ins had to follow.
    private func engineMoved(except changed: [String], _ now: Duration) -> Bool {
        let old = environment.engine
        guard let address = hooks.engineAddress(), address != old else { return false }
        logs.info("reload: workers connect to \(address.url) from now on")
        environment.engine = address
        enginePort = address.port
        do throws(SupervisorError) {
            try control?.move(to: ControlSocketPath.path(port: address.port, environment: options.environment))
        } catch {
            logs.error(.controlSocketStale, "reload: commands still reach this engine under its old port: \(error)")
        }
        guard address.builtinURL == nil || address.builtinURL != old.builtinURL else { return false }
        for child in plan.children where child.isPrivileged && !changed.contains(child.name) {
            // One that is just stopping stays stopped, or dials the new address by itself.
            guard let state = fleet.children[child.name]?.state, [.starting, .ready, .degraded].contains(state) else { continue }
            execute(fleet.handle(child.name, .restart("the engine has another address"), now: now))
        }
        return true
    }

    func change(_ child: ChildSpecification, _ now: Duration) {
        guard let slot = slots[child.name] else { return }
        let isExclusive = sockets.isOnlyHostChanged(child)
        // An offer that is still open is settled by this.
        reloading.offered[child.name] = nil
        removeWatch(of: slot)
        slot.specification = child
        slot.nextStep = 0
        slot.wasStoppedByRequest = false
        addWatch(to: slot)
        hooks.configurationChanged(child.name, child.entry.config ?? .null)
        execute(fleet.change(child.name, to: child.member, exclusively: isExclusive, now: now))
    }
}

/// Reads a configuration file, with error texts that tools match on.
package enum ConfigurationFile {
    package static let maximumBytes = 16_777_216

    package static func read(_ path: String) throws(ConfigurationErrors) -> String {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            if errno == ENOENT { throw .notFound(path: path) }
            throw .unreadable(path: path, cause: ProcessSpawner.text(errno))
        }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        while true {
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            if count == 0 { break }
            guard count > 0 else {
                if errno == EINTR { continue }
                throw .unreadable(path: path, cause: ProcessSpawner.text(errno))
            }
            bytes += buffer.prefix(count)
            if bytes.count > maximumBytes { throw .unreadable(path: path, cause: "it has more than \(maximumBytes) bytes") }
        }
        guard let text = String(validating: bytes, as: UTF8.self) else { throw .unreadable(path: path, cause: "it is not UTF-8") }
        return text
    }
}
