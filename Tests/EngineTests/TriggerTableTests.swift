import IIIProtocol
import Testing

@testable import IIIEngine

@Suite struct TriggerTableTests {
    let user = Worker(id: .random())
    let provider = Worker(id: .random())
    let next = Worker(id: .random())

    @Test func parkedTriggersAreReplayedInOrder() {
        var table = TriggerTable()
        for id in ["c", "a", "b"] { #expect(table.register(request(id), owner: user).1.isEmpty) }
        let (outcome, effects) = table.registerType("t", .init(worker: provider, description: ""))
        #expect(outcome == .accepted)
        #expect(effects.map(describe) == ["register c \(name(provider))", "register a \(name(provider))", "register b \(name(provider))"])
    }

    @Test func providersStack() {
        var table = TriggerTable()
        _ = table.registerType("t", .init(worker: provider, description: ""))
        _ = table.register(request("x"), owner: user)
        #expect(
            table.registerType("t", .init(worker: next, description: "")).1.map(describe) == [
                "unregister x \(name(provider)) for now", "register x \(name(next))",
            ])
        #expect(table.removeAll(of: next).map(describe) == ["unregister x \(name(next)) for now", "register x \(name(provider))"])
        #expect(table.unregisterType("t", from: provider).map(describe) == ["unregister x \(name(provider)) for now"])
        #expect(table[trigger: "x"]?.isParked == true)
    }

    @Test func departedProvidersAreNotTold() {
        var table = TriggerTable()
        _ = table.registerType("t", .init(worker: provider, description: ""))
        _ = table.register(request("x"), owner: user)
        provider.isConnected = false
        #expect(table.removeAll(of: provider).isEmpty)
        #expect(table[trigger: "x"]?.isParked == true)
    }

    @Test func aReplayedIdSurvivesTheOldOwnersCleanup() {
        var table = TriggerTable()
        let again = Worker(id: .random())
        _ = table.register(request("x"), owner: user)
        _ = table.register(request("y"), owner: user)
        _ = table.register(request("x"), owner: again)
        _ = table.removeAll(of: user)
        #expect(table[trigger: "x"]?.owner === again)
        #expect(table[trigger: "y"] == nil)
        #expect(table.unregister("x", from: user).isEmpty && table[trigger: "x"] != nil)
    }

    @Test func aMovedTypeLeavesItsOldProvider() {
        var table = TriggerTable()
        _ = table.registerType("t", .init(worker: provider, description: ""))
        _ = table.register(request("x"), owner: user)
        let effects = table.register(TriggerRequest(id: "x", type: "other", functionID: "f"), owner: user).1
        #expect(effects.map(describe) == ["unregister x \(name(provider))"])
        #expect(table.triggers(ofType: "t").isEmpty)
    }

    @Test func rejectionParksUntilTheNextProvider() {
        var table = TriggerTable()
        _ = table.registerType("t", .init(worker: provider, description: ""))
        _ = table.register(request("x"), owner: user)
        #expect(table.answered("x", by: next, isRefusal: true) == nil)
        guard case .refused = table.answered("x", by: provider, isRefusal: true) else {
            Issue.record("not refused")
            return
        }
        #expect(table[trigger: "x"]?.isRejected == true)
        #expect(table.registerType("t", .init(worker: next, description: "")).1.map(describe) == ["register x \(name(next))"])
    }

    @Test func engineTypesAreTaken() {
        var table = TriggerTable()
        _ = table.registerType("engine::x", .init(worker: nil, description: ""))
        #expect(table.registerType("engine::x", .init(worker: provider, description: "")).0 == .refused)
    }

    @Test func limits() {
        var table = TriggerTable(maximumTriggersPerWorker: 1, maximumTypesPerWorker: 1)
        #expect(table.register(request("a"), owner: user).0 == .accepted)
        #expect(table.register(request("b"), owner: user).0 == .limitReached)
        #expect(table.register(request("a"), owner: user).0 == .accepted)
        #expect(table.registerType("t1", .init(worker: provider, description: "")).0 == .accepted)
        #expect(table.registerType("t2", .init(worker: provider, description: "")).0 == .limitReached)
    }

    @Test func durableTriggersHaveNoOwner() {
        var table = TriggerTable()
        _ = table.register(request("x"), owner: nil)
        #expect(table.unregister("x", from: user).isEmpty && table[trigger: "x"] != nil)
        #expect(table.unregisterDurable("x") != nil && table.unregisterDurable("x") == nil)
    }

    @Test func twoProcessesOfOneBuiltInBothKnowEveryTrigger() {
        let old = Worker(id: .random(), builtin: .init(name: "iii-http", generation: 1))
        let new = Worker(id: .random(), builtin: .init(name: "iii-http", generation: 2))
        var table = TriggerTable()
        _ = table.registerType("t", .init(worker: old, description: ""))
        _ = table.register(request("x"), owner: user)
        #expect(table.registerType("t", .init(worker: new, description: "")).1.map(describe) == ["register x \(name(new))"])
        #expect(table.register(request("y"), owner: user).1.map(describe) == ["register y \(name(new))", "register y \(name(old))"])
        #expect(table.answered("y", by: old, isRefusal: true) == nil, "the newer one decides")
        #expect(table.unregister("y", from: user).map(describe) == ["unregister y \(name(new))", "unregister y \(name(old))"])
        #expect(table.removeAll(of: old).isEmpty, "nothing changes for the newer one")
        #expect(table[trigger: "x"]?.isHeld(by: new) == true)
    }

    @Test func aSuccessorThatDiesGivesItsTriggersBack() {
        let old = Worker(id: .random(), builtin: .init(name: "iii-http", generation: 1))
        let new = Worker(id: .random(), builtin: .init(name: "iii-http", generation: 2))
        var table = TriggerTable()
        _ = table.registerType("t", .init(worker: old, description: ""))
        _ = table.register(request("x"), owner: user)
        _ = table.registerType("t", .init(worker: new, description: ""))
        new.isConnected = false
        #expect(table.removeAll(of: new).map(describe) == ["register x \(name(old))"])
        #expect(table[trigger: "x"]?.isHeld(by: old) == true)
    }

    @Test func unitsThatShareASecretAreNoSiblings() {
        let one = Worker(id: .random(), builtin: .init(name: "iii-cron", generation: nil))
        let two = Worker(id: .random(), builtin: .init(name: "iii-cron", generation: nil))
        #expect(!one.isSibling(of: two) && !one.isSibling(of: one))
    }

    // MARK: Updates

    private func updated(_ function: FunctionID) -> TriggerRequest { TriggerRequest(id: "x", type: "t", functionID: function) }

    /// A table whose provider has accepted `x` for `old`.
    private func accepted() -> TriggerTable {
        var table = TriggerTable()
        _ = table.registerType("t", .init(worker: provider, description: ""))
        _ = table.register(updated("old"), owner: user)
        _ = table.answered("x", by: provider, isRefusal: false)
        return table
    }

    private func word(_ answer: TriggerTable.Answer?) -> String {
        switch answer {
        case nil: "none"
        case .accepted: "accepted"
        case .refused(let request): "refused \(request.functionID)"
        case .keptFormer(let request): "kept, not \(request.functionID)"
        case .superseded(let request): "superseded \(request.functionID)"
        }
    }

    @Test func aRefusedUpdateLeavesTheFormerBindingInForce() {
        var table = accepted()
        let again = Worker(id: .random())
        #expect(table.register(updated("new"), owner: again).1.map(describe) == ["register x \(name(provider))"])
        #expect(table[trigger: "x"]?.functionID == "new")
        #expect(word(table.answered("x", by: provider, isRefusal: true)) == "kept, not new")
        #expect(table[trigger: "x"]?.functionID == "old" && table[trigger: "x"]?.isHeld(by: provider) == true)
        // It belongs to whoever said it last, and the provider hears when that one goes.
        #expect(table.removeAll(of: user).isEmpty)
        #expect(table.removeAll(of: again).map(describe) == ["unregister x \(name(provider)) for now"])
    }

    @Test func theLastOfSeveralUpdatesDecides() {
        var table = accepted()
        for function in ["b", "c"] as [FunctionID] { _ = table.register(updated(function), owner: user) }
        #expect(word(table.answered("x", by: provider, isRefusal: true)) == "superseded b")
        #expect(table[trigger: "x"]?.functionID == "c")
        #expect(word(table.answered("x", by: provider, isRefusal: true)) == "kept, not c")
        #expect(table[trigger: "x"]?.functionID == "old")
        for function in ["d", "e"] as [FunctionID] { _ = table.register(updated(function), owner: user) }
        #expect(word(table.answered("x", by: provider, isRefusal: false)) == "accepted")
        #expect(word(table.answered("x", by: provider, isRefusal: true)) == "kept, not e")
        #expect(table[trigger: "x"]?.functionID == "d")
    }

    @Test func anUpdateOfARefusedTriggerHasNothingToFallBackTo() {
        var table = TriggerTable()
        _ = table.registerType("t", .init(worker: provider, description: ""))
        for function in ["a", "b"] as [FunctionID] {
            _ = table.register(updated(function), owner: user)
            #expect(word(table.answered("x", by: provider, isRefusal: true)) == "refused \(function)")
        }
        #expect(table[trigger: "x"]?.isRejected == true)
        #expect(table.removeAll(of: user).isEmpty)
    }

    @Test func anotherProviderIsOfferedTheBindingInForceOnly() {
        var table = accepted()
        _ = table.register(updated("new"), owner: user)
        _ = table.answered("x", by: provider, isRefusal: true)
        _ = table.registerType("t", .init(worker: next, description: ""))
        #expect(table[trigger: "x"]?.functionID == "old" && table[trigger: "x"]?.isHeld(by: next) == true)
        #expect(word(table.answered("x", by: provider, isRefusal: true)) == "none")
        #expect(word(table.answered("x", by: next, isRefusal: true)) == "refused old")
    }

    @Test func aProviderThatNeverAnswersIsNoMemoryLeak() {
        var table = accepted()
        for _ in 0..<100_000 { _ = table.register(updated("same"), owner: user) }
        _ = table.register(updated("last"), owner: user)
        #expect(table[trigger: "x"]?.functionID == "last")
    }

    /// Against a provider that keeps what it had when it refuses: both sides agree whenever all is answered.
    @Test(arguments: 0..<50) func bothSidesAgree(_ seed: Int) {
        var generator = SeededGenerator(seed: UInt64(seed))
        var table = accepted()
        var inFlight: [FunctionID] = []
        var held: FunctionID? = "old"
        for step in 0..<400 {
            if Bool.random(using: &generator), inFlight.count < 16 {
                let function = FunctionID(own: "f\(step)")
                _ = table.register(updated(function), owner: user)
                inFlight.append(function)
            } else if !inFlight.isEmpty {
                let function = inFlight.removeFirst()
                let isRefusal = Bool.random(using: &generator)
                if !isRefusal { held = function }
                _ = table.answered("x", by: provider, isRefusal: isRefusal)
            }
            if inFlight.isEmpty { #expect(table[trigger: "x"]?.functionID == held) }
        }
    }

    private func request(_ id: String) -> TriggerRequest { TriggerRequest(id: id, type: "t", functionID: "f") }
    private func name(_ worker: Worker) -> String { String(worker.id.text.prefix(8)) }
    private func describe(_ effect: TriggerEffect) -> String {
        switch effect {
        case .register(let trigger, let worker): "register \(trigger.id) \(name(worker))"
        case .unregister(let trigger, let worker, let reason):
            "unregister \(trigger.id) \(name(worker))\(reason == .disconnected ? " for now" : "")"
        }
    }
}
