import IIIConfiguration
import IIIProtocol

// Changed config for core workers that run, ours and others': offered to them first, a restart only when they ask for it (docs/reference/core-workers.md).
extension SupervisorLoop {
    /// Whom to offer the changed `config` of an entry; nil when something else has changed too, or nobody can take it over.
    func addressee(of child: ChildSpecification) -> ReloadMachine.Addressee? {
        guard let slot = slots[child.name], child.isPrivileged, child.entry.isCoreWorker, let machine = fleet.children[child.name] else {
            return nil
        }
        // Left out here, it may well be run by somebody else.
        if machine.state == .disabled { return .units }
        guard machine.state == .ready, !machine.isHandingOver else { return nil }
        var same = slot.specification
        same.entry = child.entry
        var entry = slot.specification.entry
        entry.config = child.entry.config
        return same == child && entry.isEquivalent(to: child.entry) ? .generation(machine.generation) : nil
    }

    func offer(_ child: ChildSpecification, to addressee: ReloadMachine.Addressee) {
        guard let slot = slots[child.name] else { return }
        reloads.offer(child, inForce: slot.specification, to: addressee)
        let mailbox = mailbox
        let name = child.name
        let process: ChildGeneration? =
            if case .generation(let generation) = addressee { ChildGeneration(name: name, generation: generation) } else { nil }
        hooks.reconfigure(name, process, child.entry.config ?? .null) { answer in
            mailbox.post(.reconfigured(name, process, answer))
        }
    }

    func reconfigured(_ name: String, _ process: ChildGeneration?, _ answer: LiveChange) {
        switch reloads.answered(name, answer, isStillThere: isStillThere(name, process)) {
        case .adopt(let child, let remark):
            slots[name]?.specification = child
            hooks.configurationChanged(name, child.entry.config ?? .null)
            logs.info("\(name): \(remark)")
        case .restart(let child, let reason):
            logs.info("\(name): restarting for its changed configuration: \(reason)")
            if fleet.phase == .running { change(child, MonotonicClock.now) }
        case .keep(let child): keep(child)
        case nil: break
        }
        finishReload()
    }

    private func isStillThere(_ name: String, _ process: ChildGeneration?) -> Bool {
        guard let machine = fleet.children[name] else { return false }
        guard let process else { return machine.state == .disabled }
        return machine.generation == process.generation && machine.state == .ready && !machine.isHandingOver
    }

    /// The plan says what is in force, so that the next reload compares with that.
    private func keep(_ child: ChildSpecification) {
        if let index = plan.children.firstIndex(where: { $0.name == child.name }) { plan.children[index] = child }
        if let index = plan.configuration.entries.firstIndex(where: { $0.id == child.name }) {
            plan.configuration.entries[index] = child.entry
        }
    }
}
