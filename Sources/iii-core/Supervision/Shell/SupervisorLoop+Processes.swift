import CSupervision
import Glibc
import IIIConfiguration

// Starting, signalling and burying processes.
extension SupervisorLoop {
    func spawn(_ slot: ChildSlot) {
        let child = slot.specification
        slot.step = slot.nextStep
        slot.generation += 1
        slot.startedAt = MonotonicClock.now
        do throws(SpawnError) {
            try bindListener(of: child)
            let process = try ProcessSpawner.spawn(request(for: slot))
            slot.process = process
            attach(process, to: slot)
            let isComplete = slot.isOnLastStep
            logs.log(6, "\(child.name): pid \(process.pid)" + (slot.pipeline == nil ? "" : ", step \(slot.step + 1)"))
            handle(child.name, isComplete ? .spawned : .spawnedStep)
        } catch {
            logs.log(3, "\(child.name): \(error)")
            hooks.revokeToken(child.name)
            handle(child.name, .spawnFailed(error.description))
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

    private func request(for slot: ChildSlot) -> SpawnRequest {
        let child = slot.specification
        let token = child.isPrivileged ? hooks.issueToken(child.name, child.role) : nil
        let socket = sockets[child.name]
        var request: SpawnRequest
        var extra: [String: String] = [:]
        switch child.program {
        case .executable(let path, let arguments): request = SpawnRequest(path: path, arguments: arguments, environment: [])
        case .pipeline(let pipeline):
            let step = pipeline.steps[slot.step]
            request = SpawnRequest(path: "/bin/sh", arguments: ["-c", step.command], environment: [], directory: step.directory)
            extra = step.environment
            // User programs know nothing of the lifeline.
            request.parentDeathSignal = SIGKILL
            request.isGuarded = true
        }
        request.environment = environment.variables(
            for: child, hasSecret: token != nil, listenerName: socket == nil ? nil : child.listener?.name, extra: extra)
        request.passed = [socket?.descriptor, lifeline[0]].compactMap { $0 }
        request.secret = token
        let resources = child.entry.resources
        request.openFiles = resources.openFiles
        request.coreBytes = resources.coreBytes
        request.niceness = resources.niceness ?? 0
        return request
    }

    private func attach(_ process: SpawnedProcess, to slot: ChildSlot) {
        let name = slot.specification.name
        func listen(_ descriptor: Int32, _ stream: LogLine.Stream) {
            var tag: UInt64 = 0
            tag = loop.add(descriptor, .read) { [weak self] _, _ in
                // At the end of the stream the descriptor would stay readable for ever.
                if self?.readOutput(descriptor, name, process.pid, stream, limit: 262_144) == false { self?.loop.remove(tag) }
            }
            slot.tags.append(tag)
        }
        listen(process.standardOutput, .standardOutput)
        listen(process.standardError, .standardError)
        slot.tags.append(loop.add(process.pidfd, .read) { [weak self, weak slot] _, _ in if let slot { self?.processEnded(slot) } })
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

    /// Signals the child's whole group. Its leader is not reaped while `process` is set, so the number cannot be another's.
    func signal(_ slot: ChildSlot, _ number: Int32) {
        if let process = slot.process { _ = kill(-process.pid, number) }
    }

    func processEnded(_ slot: ChildSlot) {
        guard let process = slot.process else { return }
        var code: Int32 = 0
        var isSignal: Int32 = 0
        guard csup_wait(process.pidfd, 1, &code, &isSignal) == 1 else { return }
        // The zombie still holds the number of its group: sweep what it left behind, then bury it.
        _ = kill(-process.pid, SIGKILL)
        _ = csup_wait(process.pidfd, 0, &code, &isSignal)
        let name = slot.specification.name
        readOutput(process.standardOutput, name, process.pid, .standardOutput, limit: 4_194_304)
        readOutput(process.standardError, name, process.pid, .standardError, limit: 4_194_304)
        logs.ended(name, .standardOutput)
        logs.ended(name, .standardError)
        slot.tags.forEach(loop.remove)
        slot.tags = []
        [process.pidfd, process.standardOutput, process.standardError].forEach { close($0) }
        slot.process = nil
        if slot.specification.isPrivileged { hooks.revokeToken(name) }
        continueAfter(ChildExit(code: code, isSignal: isSignal != 0), slot)
    }

    private func continueAfter(_ status: ChildExit, _ slot: ChildSlot) {
        let name = slot.specification.name
        guard slot.pipeline != nil, fleet.children[name]?.state != .stopping else { return handle(name, .exited(status)) }
        if slot.isOnLastStep {
            // After a crash only the last command runs again; the steps before it have done their work.
            slot.nextStep = slot.step
            handle(name, .exited(status))
        } else if status.isClean {
            slot.nextStep = slot.step + 1
            spawn(slot)
        } else {
            logs.log(3, "\(name): Pipeline step failed, aborting pipeline (step \(slot.step + 1): \(status))")
            slot.nextStep = 0
            handle(name, .abandoned("step \(slot.step + 1) of the pipeline failed: \(status)"))
        }
    }

    /// A process that inherits orphans must bury them, but must leave its own children to their pidfds.
    func reapOrphans() {
        while true {
            let pid = csup_peek_any()
            guard pid > 0 else { return }
            if let slot = slots.values.first(where: { $0.process?.pid == pid }) { processEnded(slot) } else { csup_reap(pid) }
        }
    }

    func killEverything() {
        for slot in slots.values { signal(slot, SIGKILL) }
    }

    // MARK: Watched files of iii-exec

    func addWatch(to slot: ChildSlot) {
        guard let pipeline = slot.pipeline, !pipeline.watch.isEmpty else { return }
        let watch = TreeWatch(pattern: WatchPattern(patterns: pipeline.watch, ignored: pipeline.ignored), base: nil)
        for complaint in watch.complaints { logs.log(4, "\(slot.specification.name): \(complaint)") }
        slot.watch = watch
        slot.watchTag = loop.add(watch.descriptor, .read) { [weak watch] _, _ in watch?.received(now: MonotonicClock.now) }
    }

    func removeWatch(of slot: ChildSlot) {
        guard slot.watch != nil else { return }
        loop.remove(slot.watchTag)
        slot.watch = nil
    }

    func filesChanged(_ slot: ChildSlot) {
        let name = slot.specification.name
        let state = fleet.children[name]?.state
        guard fleet.phase == .running, !slot.wasStoppedByRequest, state != .disabled, state != .waiting else { return }
        slot.nextStep = 0
        handle(name, .restart("watched files have changed"))
    }
}
