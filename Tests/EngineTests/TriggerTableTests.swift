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
                "unregister x \(name(provider))", "register x \(name(next))",
            ])
        #expect(table.removeAll(of: next).map(describe) == ["unregister x \(name(next))", "register x \(name(provider))"])
        #expect(table.unregisterType("t", from: provider).map(describe) == ["unregister x \(name(provider))"])
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
        #expect(table.rejected("x", by: next) == nil)
        #expect(table.rejected("x", by: provider)?.id == "x")
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
        #expect(table.rejected("y", by: old) == nil, "the newer one decides")
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

    private func request(_ id: String) -> TriggerRequest { TriggerRequest(id: id, type: "t", functionID: "f") }
    private func name(_ worker: Worker) -> String { String(worker.id.text.prefix(8)) }
    private func describe(_ effect: TriggerEffect) -> String {
        switch effect {
        case .register(let trigger, let worker): "register \(trigger.id) \(name(worker))"
        case .unregister(let trigger, let worker): "unregister \(trigger.id) \(name(worker))"
        }
    }
}
