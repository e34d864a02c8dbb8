import IIIConfiguration

/// Two generations side by side: the successor takes over when it is ready, not before.
extension ChildMachine {
    /// Predecessors that may wait for their clients at a time; of more, the oldest is ended. Restarting in a loop must not pile
    /// up processes.
    package static let maximumPredecessors = 2

    /// Generations besides the current one, with what they do: for `ps`.
    package var otherGenerations: [(generation: Int, activity: String)] {
        predecessors.map { ($0.generation, $0.phase == .draining ? "draining" : "stopping") }
            + (successor.map { [($0.generation, "starting")] } ?? [])
    }

    mutating func beginHandover(_ reason: String, _ now: Duration) -> [Effect] {
        var effects: [Effect] = []
        if let former = successor {
            // It may have begun with what has changed since.
            effects += retire(former.generation, in: .terminating, now)
        }
        lastGeneration += 1
        successor = Successor(generation: lastGeneration, startedAt: now, deadline: now + settings.startupTimeout)
        effects.append(.handover("\(reason): generation \(lastGeneration) starts beside generation \(generation)", isFailure: false))
        return effects + [.spawn(lastGeneration)]
    }

    mutating func handleSuccessor(_ event: Event, _ now: Duration) -> [Effect] {
        guard let successor else { return [] }
        switch event {
        case .announced: self.successor?.hasAnnounced = true
        case .spawned where !settings.reportsReadiness: return takeOver(successor, now)
        case .becameReady: return takeOver(successor, now)
        case .spawnFailed(let reason):
            return handoverFailed(reason, now)
        case .exited(let status):
            lastExit = status
            return handoverFailed("\(status) before ready", now)
        default: break
        }
        return []
    }

    mutating func handlePredecessor(_ number: Int, _ event: Event, _ now: Duration) -> [Effect] {
        guard let index = predecessors.firstIndex(where: { $0.generation == number }) else { return [] }
        switch event {
        case .drained where predecessors[index].phase == .draining: return terminatePredecessor(index, now)
        case .unresponsive where predecessors[index].phase == .draining: return terminatePredecessor(index, now)
        case .exited(let status):
            predecessors.remove(at: index)
            lastExit = status
            return finishStop(now)
        default: return []
        }
    }

    private mutating func takeOver(_ successor: Successor, _ now: Duration) -> [Effect] {
        let former = generation
        let couldDrain = hasAnnounced
        var effects: [Effect] = [.handover("generation \(successor.generation) is ready and has taken over", isFailure: false)]
        effects += retire(former, in: couldDrain ? .draining : .terminating, now)
        become(successor)
        timer = now + settings.restart.resetAfter
        let waiting = predecessors.indices.filter { predecessors[$0].phase == .draining }
        for index in waiting.dropLast(Self.maximumPredecessors) { effects += terminatePredecessor(index, now) }
        return effects + enter(.ready, "ready", now)
    }

    /// The current generation has died while its successor starts: nothing to start, only to wait for.
    mutating func succeedAtOnce(_ successor: Successor, _ reason: String, _ now: Duration) -> [Effect] {
        lastError = reason
        become(successor)
        timer = successor.deadline
        return enter(.starting, "\(reason), generation \(successor.generation) is starting already", now)
    }

    private mutating func become(_ successor: Successor) {
        generation = successor.generation
        startedAt = successor.startedAt
        hasAnnounced = successor.hasAnnounced
        restarts += 1
        self.successor = nil
    }

    private mutating func handoverFailed(_ reason: String, _ now: Duration) -> [Effect] {
        guard let failed = successor else { return [] }
        successor = nil
        failedHandovers += 1
        lastError = "generation \(failed.generation) did not become ready: \(reason)"
        return [
            .handover("generation \(failed.generation) did not become ready (\(reason)); generation \(generation) goes on", isFailure: true)
        ]
    }

    mutating func retire(_ number: Int, in phase: StopPhase, _ now: Duration) -> [Effect] {
        predecessors.append(Predecessor(generation: number, phase: .draining, deadline: now + settings.handoverTimeout))
        if phase == .draining { return [.drain(number, within: settings.handoverTimeout, isHandover: true)] }
        return terminatePredecessor(predecessors.count - 1, now)
    }

    private mutating func terminatePredecessor(_ index: Int, _ now: Duration) -> [Effect] {
        predecessors[index].phase = .terminating
        predecessors[index].deadline = now + settings.stopTimeout
        return [.terminate(predecessors[index].generation)]
    }

    /// Ends predecessors and successor.
    mutating func terminateOthers(_ now: Duration) -> [Effect] {
        var effects: [Effect] = []
        if let former = successor {
            successor = nil
            effects += retire(former.generation, in: .terminating, now)
        }
        for index in predecessors.indices where predecessors[index].phase == .draining { effects += terminatePredecessor(index, now) }
        return effects
    }

    mutating func killOthers() -> [Effect] {
        if let former = successor {
            successor = nil
            predecessors.append(Predecessor(generation: former.generation, phase: .terminating, deadline: nil))
        }
        for index in predecessors.indices {
            predecessors[index].phase = .killing
            predecessors[index].deadline = nil
        }
        return predecessors.map { .kill($0.generation) }
    }

    mutating func otherTimersPassed(_ now: Duration) -> [Effect] {
        var effects: [Effect] = []
        if let late = successor, now >= late.deadline {
            effects += handoverFailed("not within \(settings.startupTimeout.wholeMilliseconds) ms", now)
            effects += retire(late.generation, in: .terminating, now)
        }
        for index in predecessors.indices where predecessors[index].deadline.map({ now >= $0 }) ?? false {
            if predecessors[index].phase == .draining {
                effects += terminatePredecessor(index, now)
            } else {
                predecessors[index].phase = .killing
                predecessors[index].deadline = nil
                effects.append(.kill(predecessors[index].generation))
            }
        }
        return effects
    }
}
