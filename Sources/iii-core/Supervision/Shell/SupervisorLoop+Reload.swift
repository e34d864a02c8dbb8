import Glibc
import IIIConfiguration
import IIISettings
import IIITelemetry

// Reading the configuration again (docs/reference/supervisor.md#reload): an invalid one never harms what runs.
extension SupervisorLoop {
    /// The file has been saved, and the save looks complete.
    func configurationFileChanged(now: Duration) {
        guard fleet.phase == .running, let path = options.configPath, let watch = configWatch else { return }
        if let new = try? readPlan(path) {
            let removed = ConfigurationDiff(from: plan.configuration, to: new.configuration).removed
            if !removed.isEmpty, watch.hold(for: SaveStability.removalPatience, now: now) {
                let patience = SaveStability.removalPatience.wholeMilliseconds
                let names = removed.joined(separator: ", ")
                return logs.info("reload: the file no longer names \(names); waiting until it has not changed for \(patience) ms")
            }
        }
        reload(cause: "the configuration file has changed")
    }

    /// `reply` gets what is wrong with the file as it is read after now, or nil once all of it is in force.
    func reload(cause: String, reply: ((String?) -> Void)? = nil) {
        guard fleet.phase == .running else { return reply?("the engine is shutting down") ?? () }
        let request = reloads.request(cause)
        if let reply { reloadReplies[request.number, default: []].append(reply) }
        guard request.begins else { return logs.info("reload: one is under way, the file is read again after it") }
        readAgain(cause)
    }

    private func readAgain(_ cause: String) {
        logs.info("reload: \(cause)")
        notifier.reloading()
        configWatch?.wasRead()
        do {
            guard let path = options.configPath else {
                throw SupervisorError(message: "the engine runs on the default configuration; there is no file to reload")
            }
            let new = try readPlan(path)
            try refuseEmptiness(new.configuration)
            try apply(new)
        } catch {
            let text = "\(error)"
            logs.error(.reloadRefused, "reload: refused, the old configuration stays in force\n\(text.trimmingPrefix("Error: "))")
            reloads.refused(text)
        }
        reloads.applied()
        finishReload()
    }

    /// Ends the reload once everybody who was offered a changed config has answered, and begins the one that was asked for meanwhile.
    func finishReload() {
        guard let outcome = reloads.finish() else { return }
        lastReload = (LogTimestamp.rfc3339(LogTimestamp.nowNanoseconds()), outcome.error)
        if !outcome.problems.isEmpty {
            let problems = outcome.problems.joined(separator: "\n")
            logs.error(.reloadRefused, "reload: refused by who would have to apply it, their old configuration stays in force\n\(problems)")
        }
        if outcome.error == nil { logs.info("reload: success") }
        notifier.ready(status: outcome.error == nil ? "configuration reloaded" : "reload refused, running on the old configuration")
        for reply in reloadReplies.removeValue(forKey: outcome.number) ?? [] { reply(outcome.error) }
        if fleet.phase == .running, let cause = reloads.beginNext() { readAgain(cause) }
    }

    /// A file that was cut before it is written anew, or that a failed program has left empty, must not end everything.
    private func refuseEmptiness(_ new: EngineConfiguration) throws(ConfigurationErrors) {
        let running = plan.configuration.wantedEntries
        guard new.wantedEntries.isEmpty, !running.isEmpty else { return }
        let message =
            "Config file '\(new.path ?? "")' names nothing to run: is it empty, or only half written? Applying it would remove everything "
            + "(\(running.map(\.id).joined(separator: ", "))). To run without entries, start the engine anew with this file."
        throw ConfigurationErrors(path: new.path, problems: [ConfigurationProblem(message: message)])
    }

    private func readPlan(_ path: String) throws(ConfigurationErrors) -> FleetPlan {
        let configuration = try EngineConfiguration.load(
            text: try ConfigurationFile.read(path, again: true), path: path, environment: options.environment,
            engineVersion: options.version)
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
            if !restartsAll, let addressee = addressee(of: child) { offer(child, to: addressee) } else { change(child, now) }
        }
        for name in fleet.names where !wanted.contains(name) {
            if let slot = slots[name] { removeWatch(of: slot) }
            execute(fleet.remove(name, now: now))
        }
        for child in new.children where slots[child.name] == nil { admit(child) }
        logs.setNames(new.children.map(\.name))
        execute(fleet.start(now: now))
    }

    /// Who would look for the engine at its old address is started anew: user processes, which know it from their environment, and
    /// built-ins without a listener of their own. Returns whether built-ins had to follow.
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
        for child in plan.children where !changed.contains(child.name) {
            let isPrivileged = child.isPrivileged
            guard address.url(forBuiltin: isPrivileged) != old.url(forBuiltin: isPrivileged) else { continue }
            // One that is just stopping stays stopped, or learns the new address when it starts.
            guard let state = fleet.children[child.name]?.state, [.starting, .ready, .degraded].contains(state) else { continue }
            slots[child.name]?.nextStep = 0
            execute(fleet.handle(child.name, .restart("the engine has another address"), now: now))
        }
        return address.url(forBuiltin: true) != old.url(forBuiltin: true)
    }

    func change(_ child: ChildSpecification, _ now: Duration) {
        guard let slot = slots[child.name] else { return }
        let isExclusive = sockets.isOnlyHostChanged(child)
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

    /// `again`: of a running engine, which must not wait for whoever would write to a pipe.
    package static func read(_ path: String, again: Bool = false) throws(ConfigurationErrors) -> String {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | (again ? O_NONBLOCK : 0))
        guard descriptor >= 0 else {
            if errno == ENOENT { throw .notFound(path: path) }
            throw .unreadable(path: path, cause: ProcessSpawner.text(errno))
        }
        defer { close(descriptor) }
        var status = stat()
        if again, fstat(descriptor, &status) == 0, status.st_mode & S_IFMT != S_IFREG {
            throw .unreadable(path: path, cause: "it is not a regular file, which is what can be read again")
        }
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
        if let text = String(validating: bytes, as: UTF8.self) { return text }
        let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        let line = lines.firstIndex { String(validating: $0, as: UTF8.self) == nil } ?? 0
        throw .unreadable(path: path, cause: "it is not UTF-8 (line \(line + 1)); save it as UTF-8")
    }
}
