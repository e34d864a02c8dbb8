import IIIConfiguration
import IIIProtocol

/// Decides for the whole fleet: who may start, when the engine counts as ready, in which order everything stops.
///
/// Pure, built from one `ChildMachine` per child. Starting: children start in the order of `startRank` without waiting for
/// one another, except for `dependsOn`. Stopping (docs/reference/supervisor.md#stopping): one `stopRank` after the other,
/// dependents before what they depend on; after `shutdownBudget` (25 s) everything left is killed.
package struct FleetMachine: Sendable {
    package struct Member: Sendable {
        package var startRank: Int
        package var stopRank: Int
        package var dependsOn: [String]
        package var settings: ChildMachine.Settings
        /// Whether readiness of the engine waits for it when no child is critical.
        package var isBuiltIn: Bool

        package init(
            startRank: Int, stopRank: Int, dependsOn: [String] = [], settings: ChildMachine.Settings = .init(), isBuiltIn: Bool = true
        ) {
            self.startRank = startRank
            self.stopRank = stopRank
            self.dependsOn = dependsOn
            self.settings = settings
            self.isBuiltIn = isBuiltIn
        }
    }

    package enum Effect: Sendable, Equatable {
        case child(String, ChildMachine.Effect)
        /// All critical children (or all built-ins, when none is critical) were ready for the first time.
        case becameReady
        /// A child taken out of the configuration has ended.
        case removed(String)
        case shutdownComplete(exitCode: Int32)
    }

    package enum Phase: Sendable, Equatable { case running, draining, done }

    package static let shutdownBudget: Duration = .seconds(25)

    package private(set) var phase = Phase.running
    package private(set) var children: [String: ChildMachine] = [:]
    package private(set) var members: [String: Member] = [:]
    private var isReadyReported = false
    private var leaving: Set<String> = []
    private var exitCode: Int32 = 0
    private var shutdownDeadline: Duration?
    private var seed: UInt64

    package init(seed: UInt64) { self.seed = seed }

    /// The earliest time at which `timePassed` is due.
    package var deadline: Duration? {
        (children.values.compactMap(\.deadline) + [shutdownDeadline].compactMap { $0 }).min()
    }

    /// Names in start order.
    package var names: [String] {
        members.keys.sorted { (members[$0]?.startRank ?? 0, $0) < (members[$1]?.startRank ?? 0, $1) }
    }

    /// Whether every child that is to run does, or has done its work: what `status` says.
    package var isEverythingAsWanted: Bool {
        children.allSatisfy { name, child in child.state == .disabled || leaving.contains(name) || child.isAsWanted }
    }

    private var areRequiredReady: Bool { required.allSatisfy { children[$0]?.state == .ready } }

    private var required: [String] {
        let critical = members.filter { $0.value.settings.restart.isCritical }.map(\.key)
        let candidates = critical.isEmpty ? members.filter(\.value.isBuiltIn).map(\.key) : critical
        return candidates.filter { children[$0]?.state != .disabled && !leaving.contains($0) }
    }

    // MARK: Membership

    package mutating func add(_ name: String, _ member: Member, isDisabled: Bool = false) {
        seed &+= 1
        members[name] = member
        children[name] = ChildMachine(settings: member.settings, seed: seed, isDisabled: isDisabled)
        leaving.remove(name)
    }

    /// `exclusively`: the new generation needs what only the end of the old one frees.
    package mutating func change(_ name: String, to member: Member, exclusively: Bool = false, now: Duration) -> [Effect] {
        guard children[name] != nil else { return [] }
        members[name] = member
        return handle(name, .configured(member.settings, exclusively: exclusively), now: now)
    }

    package mutating func remove(_ name: String, now: Duration) -> [Effect] {
        guard children[name] != nil else { return [] }
        leaving.insert(name)
        return handle(name, .stop("removed from the configuration"), now: now)
    }

    // MARK: Events

    /// Starts whatever may start; call it after `add`.
    package mutating func start(now: Duration) -> [Effect] { settle(now) }

    /// `generation`: the process the event is about, nil: the current one.
    package mutating func handle(_ name: String, _ event: ChildMachine.Event, of generation: Int? = nil, now: Duration) -> [Effect] {
        guard var child = children[name] else { return [] }
        if phase != .running, [.start, .reset].contains(event) { return [] }
        if leaving.contains(name), event.asksForAProcess { return [] }
        let effects = child.handle(event, of: generation, now: now)
        children[name] = child
        var result = effects.map { Effect.child(name, $0) }
        for case .gaveUp(let isCritical, let reason) in effects where isCritical {
            result += shutDown(exitCode: ExitStatus.criticalGivenUp.rawValue, reason: "critical child \(name) gave up: \(reason)", now: now)
        }
        return result + settle(now)
    }

    package mutating func timePassed(now: Duration) -> [Effect] {
        var effects: [Effect] = []
        if let due = shutdownDeadline, now >= due {
            shutdownDeadline = nil
            effects += killAll(now: now)
        }
        for name in names where children[name]?.deadline.map({ now >= $0 }) ?? false {
            effects += handle(name, .timePassed, now: now)
        }
        return effects
    }

    /// Begins the orderly end; a second call changes nothing.
    package mutating func shutDown(exitCode: Int32, reason: String, now: Duration) -> [Effect] {
        guard phase == .running else { return [] }
        phase = .draining
        self.exitCode = exitCode
        shutdownDeadline = now + Self.shutdownBudget
        var effects: [Effect] = []
        // A restart under way must end as a stop.
        for name in names where children[name]?.state == .stopping {
            effects += stopChild(name, reason, now)
        }
        return effects + settle(now)
    }

    /// Skips all grace (second signal, or the end of the budget).
    package mutating func killAll(now: Duration) -> [Effect] {
        names.flatMap { handle($0, .killNow, now: now) }
    }

    // MARK: Consequences

    private mutating func settle(_ now: Duration) -> [Effect] {
        var effects: [Effect] = []
        for name in leaving where !(children[name]?.isAlive ?? false) {
            leaving.remove(name)
            children[name] = nil
            members[name] = nil
            effects.append(.removed(name))
        }
        switch phase {
        case .running:
            for name in names where children[name]?.state == .waiting && hasItsDependencies(name) {
                guard var child = children[name] else { continue }
                effects += child.handle(.start, now: now).map { .child(name, $0) }
                children[name] = child
            }
            if !isReadyReported, areRequiredReady {
                isReadyReported = true
                effects.append(.becameReady)
            }
        case .draining:
            // What does not run needs no order, and must not start any more.
            for name in names where children[name].map({ !$0.isAlive && $0.state != .failed }) ?? false {
                effects += stopChild(name, "shutting down", now)
            }
            effects += stopNext(now)
        case .done: break
        }
        return effects
    }

    private func hasItsDependencies(_ name: String) -> Bool {
        (members[name]?.dependsOn ?? []).allSatisfy { dependency in
            // A name outside the fleet (the core's own workers) is always there.
            guard let child = children[dependency] else { return true }
            return child.state == .ready || child.state == .degraded
        }
    }

    private mutating func stopNext(_ now: Duration) -> [Effect] {
        let alive = children.filter(\.value.isAlive).map(\.key)
        guard let rank = alive.compactMap({ members[$0]?.stopRank }).min() else {
            phase = .done
            shutdownDeadline = nil
            return [.shutdownComplete(exitCode: exitCode)]
        }
        var effects: [Effect] = []
        let group = alive.filter { members[$0]?.stopRank == rank }.sorted()
        for name in group {
            let hasDependents = group.contains { $0 != name && (members[$0]?.dependsOn ?? []).contains(name) }
            if !hasDependents { effects += stopChild(name, "shutting down", now) }
        }
        return effects
    }

    private mutating func stopChild(_ name: String, _ reason: String, _ now: Duration) -> [Effect] {
        guard var child = children[name] else { return [] }
        let effects = child.handle(.stop(reason), now: now)
        children[name] = child
        return effects.map { .child(name, $0) }
    }
}
