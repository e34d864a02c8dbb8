import CSupervision
import Glibc
import IIIConfiguration

// Starting, signalling and burying processes.
extension SupervisorLoop {
    func spawn(_ slot: ChildSlot, generation: Int) {
        let child = slot.specification
        let identity = ChildGeneration(name: child.name, generation: generation)
        slot.step = slot.nextStep
        if slot.pipeline != nil, slot.step == 0 {
            // What begins anew, begins without what its last run has left behind.
            sweep(child.name)
            slot.watchRestarts.began()
        }
        do throws(SpawnError) {
            try bindListener(of: child)
            let spawnID = "\(getpid())/\(child.name)/\(generation).\(slot.step)"
            let process = try ProcessSpawner.spawn(request(for: slot, identity, spawnID))
            let running = RunningChild(generation: generation, process: process, startedAt: MonotonicClock.now, spawnID: spawnID)
            slot.processes[generation] = running
            attach(running, to: slot)
            let isComplete = slot.isOnLastStep
            logs.info("\(child.name): pid \(process.pid)" + (slot.pipeline == nil ? "" : ", step \(slot.step + 1)"))
            if isComplete { slot.watchRestarts.completed(now: MonotonicClock.now) }
            handle(child.name, isComplete ? .spawned : .spawnedStep, of: generation)
        } catch {
            slot.watchRestarts.completed(now: MonotonicClock.now)
            logs.error(.startFailed, "\(child.name): \(error)")
            if child.isPrivileged { hooks.revokeToken(identity) }
            handle(child.name, .spawnFailed(error.description), of: generation)
        }
    }

    /// Does nothing for a child whose socket is there, as at every restart; one that was stopped or excluded has none.
    private func bindListener(of child: ChildSpecification) throws(SpawnError) {
        do throws(SupervisorError) {
            if sockets.isOnlyHostChanged(child) { sockets.release(child.name) }
            sockets.commit(try sockets.prepare([child]))
        } catch {
            throw SpawnError(description: error.message)
        }
    }

    private func request(for slot: ChildSlot, _ identity: ChildGeneration, _ spawnID: String) -> SpawnRequest {
        let child = slot.specification
        let token = child.isPrivileged ? hooks.issueToken(identity, child.role) : nil
        let socket = sockets[child.name]
        var request: SpawnRequest
        var extra: [String: String] = [:]
        switch child.program {
        case .executable(let path, let arguments): request = SpawnRequest(path: path, arguments: arguments, environment: [])
        case .pipeline(let pipeline):
            let step = pipeline.steps[slot.step]
            request = SpawnRequest(path: "/bin/sh", arguments: ["-c", step.line], environment: [], directory: step.directory)
            extra = step.environment
            // User programs know nothing of the lifeline.
            request.parentDeathSignal = SIGKILL
            request.isGuarded = true
        }
        request.environment = environment.variables(
            for: child, spawnID: spawnID, hasSecret: token != nil, listenerName: socket == nil ? nil : child.listener?.name, extra: extra)
        request.passed = [socket?.descriptor, lifeline[0]].compactMap { $0 }
        request.secret = token
        let resources = child.entry.resources
        request.openFiles = resources.openFiles
        request.coreBytes = resources.coreBytes
        request.niceness = resources.niceness ?? 0
        return request
    }

    private func attach(_ running: RunningChild, to slot: ChildSlot) {
        let name = slot.specification.name
        let (process, generation) = (running.process, running.generation)
        var tags: [UInt64] = []
        func listen(_ descriptor: Int32, _ stream: LogLine.Stream) {
            var tag: UInt64 = 0
            tag = loop.add(descriptor, .read) { [weak self] _, _ in
                // At the end of the stream the descriptor would stay readable for ever.
                if self?.readOutput(descriptor, name, process.pid, stream, limit: 262_144) == false { self?.loop.remove(tag) }
            }
            tags.append(tag)
        }
        listen(process.standardOutput, .standardOutput)
        listen(process.standardError, .standardError)
        tags.append(
            loop.add(process.pidfd, .read) { [weak self, weak slot] _, _ in if let slot { self?.processEnded(slot, generation) } })
        slot.processes[generation]?.tags = tags
    }

    /// Reads what is there, at most `limit` bytes so that one noisy child does not starve the others. False at the end.
    @discardableResult
    private func readOutput(_ descriptor: Int32, _ name: String, _ pid: Int32, _ stream: LogLine.Stream, limit: Int) -> Bool {
        let size = 65536
        return withUnsafeTemporaryAllocation(byteCount: size, alignment: 16) { buffer in
            var total = 0
            while total < limit {
                let count = read(descriptor, buffer.baseAddress, size)
                if count == 0 { return false }
                guard count > 0 else { return errno == EAGAIN || errno == EINTR }
                total += count
                logs.received(UnsafeRawBufferPointer(rebasing: buffer[..<count]), from: name, pid: pid, stream, now: MonotonicClock.now)
            }
            return true
        }
    }

    /// Signals a process with its whole group, and what has left the group. The leader is not reaped while it is listed here, so
    /// the number of the group cannot be another's.
    func signal(_ slot: ChildSlot, generation: Int, _ number: Int32) {
        guard let running = slot.processes[generation] else { return }
        _ = kill(-running.process.pid, number)
        for entry in ProcessTable().members(of: running.process.pid, marked: { $0 == running.spawnID })
        where entry.group != running.process.pid { ProcessTable.signal(entry, number) }
    }

    func processEnded(_ slot: ChildSlot, _ generation: Int) {
        guard let running = slot.processes[generation] else { return }
        let process = running.process
        var code: Int32 = 0
        var isSignal: Int32 = 0
        guard csup_wait(process.pidfd, 1, &code, &isSignal) == 1 else { return }
        let status = ChildExit(code: code, isSignal: isSignal != 0)
        // What a finished step has started on purpose (a database in the background) serves the steps after it.
        let isFinishedStep = slot.pipeline != nil && !slot.isOnLastStep && status.isClean
        let strays = isFinishedStep ? [] : ProcessTable().members(of: process.pid) { $0 == running.spawnID }
        // The zombie still holds the number of its group: sweep what it left behind, then bury it.
        _ = kill(-process.pid, SIGKILL)
        for stray in strays where stray.group != process.pid { ProcessTable.signal(stray, SIGKILL) }
        _ = csup_wait(process.pidfd, 0, &code, &isSignal)
        let name = slot.specification.name
        readOutput(process.standardOutput, name, process.pid, .standardOutput, limit: 4_194_304)
        readOutput(process.standardError, name, process.pid, .standardError, limit: 4_194_304)
        logs.ended(name, pid: process.pid, .standardOutput)
        logs.ended(name, pid: process.pid, .standardError)
        running.tags.forEach(loop.remove)
        [process.pidfd, process.standardOutput, process.standardError].forEach { close($0) }
        slot.processes[generation] = nil
        if slot.specification.isPrivileged { hooks.revokeToken(ChildGeneration(name: name, generation: generation)) }
        continueAfter(status, slot, generation)
    }

    /// Kills what ended processes of an entry have left running, wherever it has moved to.
    func sweep(_ name: String) {
        let prefix = "\(getpid())/\(name)/"
        let living = Set(slots[name]?.processes.values.map(\.spawnID) ?? [])
        for stray in ProcessTable().members(of: nil, marked: { $0.hasPrefix(prefix) && !living.contains($0) }) {
            ProcessTable.signal(stray, SIGKILL)
        }
    }

    /// At the very end: everything that any child has left running.
    func sweepAll() {
        let prefix = "\(getpid())/"
        for _ in 0..<100 {
            let table = ProcessTable()
            let strays = options.ownsAllChildren ? table.adopted : table.members(of: nil) { $0.hasPrefix(prefix) }
            if strays.isEmpty { return }
            for stray in strays { ProcessTable.signal(stray, SIGKILL) }
            usleep(5000)
            reapOrphans()
        }
    }

    private func continueAfter(_ status: ChildExit, _ slot: ChildSlot, _ generation: Int) {
        let name = slot.specification.name
        guard slot.pipeline != nil, fleet.children[name]?.state != .stopping else { return handle(name, .exited(status), of: generation) }
        if slot.isOnLastStep {
            // After a crash only the last command runs again; the steps before it have done their work.
            slot.nextStep = slot.step
            handle(name, .exited(status), of: generation)
        } else if status.isClean {
            slot.nextStep = slot.step + 1
            spawn(slot, generation: generation)
        } else {
            logs.error(.childFailed, "\(name): Pipeline step failed, aborting pipeline (step \(slot.step + 1): \(status))")
            slot.nextStep = 0
            slot.watchRestarts.completed(now: MonotonicClock.now)
            handle(name, .abandoned("step \(slot.step + 1) of the pipeline failed: \(status)", status), of: generation)
        }
    }

    /// A process that inherits orphans must bury them, but must leave its own children to their pidfds.
    func reapOrphans() {
        while true {
            let pid = csup_peek_any()
            guard pid > 0 else { return }
            let owner = slots.values.lazy.compactMap { slot in
                slot.processes.values.first { $0.process.pid == pid }.map { (slot, $0.generation) }
            }.first
            if let owner { processEnded(owner.0, owner.1) } else { csup_reap(pid) }
        }
    }

    func killEverything() {
        for slot in slots.values { slot.processes.keys.forEach { signal(slot, generation: $0, SIGKILL) } }
    }

    // MARK: Watched files of iii-exec

    func addWatch(to slot: ChildSlot) {
        guard let pipeline = slot.pipeline, !pipeline.watch.isEmpty else { return }
        let watch = TreeWatch(pattern: WatchPattern(patterns: pipeline.watch, ignored: pipeline.ignored), base: nil)
        slot.watch = watch
        report(watch.takeComplaints(), of: slot)
        slot.watchTag = loop.add(watch.descriptor, .read) { [weak self, weak slot, weak watch] _, _ in
            guard let self, let slot, let watch else { return }
            let paths = watch.received()
            report(watch.takeComplaints(), of: slot)
            filesChanged(paths, slot)
        }
    }

    private func report(_ complaints: [String], of slot: ChildSlot) {
        for complaint in complaints { logs.warning(.watchIncomplete, "\(slot.specification.name): \(complaint)") }
    }

    func removeWatch(of slot: ChildSlot) {
        guard slot.watch != nil else { return }
        loop.remove(slot.watchTag)
        slot.watch = nil
        slot.watchRestarts = WatchRestarts()
    }

    private func filesChanged(_ paths: [String], _ slot: ChildSlot) {
        guard let brake = slot.watchRestarts.changed(paths, now: MonotonicClock.now) else { return }
        logs.warning(
            .watchLoop,
            "\(slot.specification.name): started anew \(brake.restarts) times in a row because watched files changed while its commands were "
                + "starting, now '\(brake.path)'; the next time comes \(brake.delay.wholeMilliseconds) ms after the last command's start. If a command "
                + "writes that file itself, name it in `ignore`, or in `watch` behind a `!`")
    }

    /// Starts a pipeline anew when what has changed is due.
    func restartForFiles(_ slot: ChildSlot, now: Duration) {
        guard let change = slot.watchRestarts.take(now: now) else { return }
        let name = slot.specification.name
        let state = fleet.children[name]?.state
        guard fleet.phase == .running, !slot.wasStoppedByRequest, state != .disabled, state != .waiting else { return }
        slot.nextStep = 0
        let others = change.others > 0 ? " and \(change.others) more" : ""
        handle(name, .restart("watched files have changed: \(change.path)\(others)"))
    }
}
