import IIIConfiguration
import IIIProtocol

/// A reload that waits for built-ins to take over their changed config.
struct ReloadProgress {
    /// Names of those that have not answered yet, each with the plan's entry from before.
    var offered: [String: ChildSpecification] = [:]
    /// Who kept the old configuration, and why.
    var problems: [String] = []
    /// Requests to answer when all is done.
    var waiting: [() -> Void] = []
}

// Changed config for core workers that run, ours and others': offered to them first, a restart only when they ask for it
// (docs/reference/supervisor.md#reload).
extension SupervisorLoop {
    /// Whether nothing but the `config` of a ready core worker has changed.
    func canApplyLive(_ child: ChildSpecification) -> Bool {
        guard let slot = slots[child.name], child.isPrivileged, child.entry.isCoreWorker, let machine = fleet.children[child.name],
            machine.state == .ready,
            !machine.isHandingOver
        else {
            return false
        }
        var same = slot.specification
        same.entry = child.entry
        var entry = slot.specification.entry
        entry.config = child.entry.config
        return same == child && entry.isEquivalent(to: child.entry)
    }

    func offer(_ child: ChildSpecification) {
        guard let slot = slots[child.name] else { return }
        // A second reload may come before the first is answered: what the child has in force is what it had before both.
        if reloading.offered[child.name] == nil { reloading.offered[child.name] = slot.specification }
        let generation = fleet.children[child.name]?.generation ?? 0
        let mailbox = mailbox
        hooks.reconfigure(ChildGeneration(name: child.name, generation: generation), child.entry.config ?? .null) { answer in
            mailbox.post(.reconfigured(child, generation: generation, answer))
        }
    }

    func reconfigured(_ child: ChildSpecification, generation: Int, _ answer: LiveChange) {
        // An answer to an offer that a later reload has replaced says nothing.
        guard let wanted = plan.children.first(where: { $0.name == child.name }), wanted.entry.config == child.entry.config,
            let before = reloading.offered.removeValue(forKey: child.name)
        else { return finishOffers(of: child.name) }
        if fleet.phase == .running, let slot = slots[child.name] {
            // A child that has been started anew since read the old config.
            let machine = fleet.children[child.name]
            let isSameProcess = machine?.generation == generation && machine?.state == .ready && machine?.isHandingOver == false
            switch isSameProcess ? answer : .needsRestart("it ended during the change") {
            case .applied:
                slot.specification = child
                hooks.configurationChanged(child.name, child.entry.config ?? .null)
                logs.info("\(child.name): configuration applied without a restart")
            case .needsRestart(let reason):
                logs.info("\(child.name): restarting for its changed configuration: \(reason)")
                change(child, MonotonicClock.now)
            case .invalid(let reason):
                keep(before)
                reloading.problems.append("\(child.name): \(reason)")
            }
        }
        finishReload()
    }

    /// An entry that has left the plan is not waited for.
    private func finishOffers(of name: String) {
        guard !plan.children.contains(where: { $0.name == name }) else { return }
        reloading.offered[name] = nil
        finishReload()
    }

    /// The plan says what is in force, so that the next reload compares with that.
    private func keep(_ child: ChildSpecification) {
        if let index = plan.children.firstIndex(where: { $0.name == child.name }) { plan.children[index] = child }
        if let index = plan.configuration.entries.firstIndex(where: { $0.id == child.name }) {
            plan.configuration.entries[index] = child.entry
        }
    }
}
