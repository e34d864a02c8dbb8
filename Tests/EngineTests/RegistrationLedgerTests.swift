import IIIProtocol
import Testing

@testable import IIIEngine

/// What is registered counts in bytes, once, and is given back whole whichever way it ends.
@Suite struct RegistrationLedgerTests {
    private let ledger = RegistrationLedger(maximumPerWorker: 100, maximumTotal: 150)
    private let a = Worker(id: .random())
    private let b = Worker(id: .random())

    @Test func oneWorkerAndAllTogetherAreBoundedAndSayingLessIsAllowed() {
        var table = FunctionTable(ledger: ledger)
        func register(_ id: String, _ worker: Worker, _ cost: Int) -> FunctionTable.Registration {
            table.register(FunctionKey(id), FunctionRegistration(worker: worker, cost: cost))
        }
        #expect(register("1", a, 90) == .added)
        #expect(register("2", a, 11) == .noRoom(.perWorker))
        #expect(register("3", b, 61) == .noRoom(.total))
        #expect(register("3", b, 60) == .added)
        #expect(register("1", a, 91) == .noRoom(.total))
        #expect(register("1", a, 50) == .replaced)
        #expect(ledger.total == 110 && a.registeredBytes == 50)
        _ = table.removeAll(of: a)
        let outcome1 = table.unregister(FunctionKey("3"), from: b)
        #expect(outcome1)
        #expect(ledger.total == 0 && a.registeredBytes == 0 && b.registeredBytes == 0)
    }

    @Test func builtInsCountButAreNotRefused() {
        var table = FunctionTable(ledger: ledger)
        let builtin = Worker(id: .random(), builtin: .init(name: "iii-http", generation: nil))
        let outcome2 = table.register(FunctionKey("1"), FunctionRegistration(worker: builtin, cost: 500))
        #expect(outcome2 == .added)
        let outcome3 = table.register(FunctionKey("2"), FunctionRegistration(worker: a, cost: 1))
        #expect(outcome3 == .noRoom(.total))
    }

    @Test func triggersAndTypesCountAndAReplayMovesTheCostToItsNewOwner() {
        var table = TriggerTable(ledger: ledger)
        let trigger = TriggerRequest(id: "t", type: "x", functionID: "f", cost: 60)
        let outcome4 = table.registerType("x", .init(worker: b, description: "", cost: 20)).0
        #expect(outcome4 == .accepted)
        let outcome5 = table.register(trigger, owner: a).0
        #expect(outcome5 == .accepted)
        let outcome6 = table.register(TriggerRequest(id: "u", type: "x", functionID: "f", cost: 60), owner: a).0
        #expect(outcome6 == .noRoom(.perWorker))
        let outcome7 = table.register(trigger, owner: b).0
        #expect(outcome7 == .accepted)
        #expect(a.registeredBytes == 0 && b.registeredBytes == 80 && ledger.total == 80)
        _ = table.removeAll(of: b)
        #expect(ledger.total == 0 && b.registeredBytes == 0)
    }

    @Test func durableTriggersCountAgainstTheirMakerAndStayCountedWhenItHasGone() {
        var table = TriggerTable(maximumTriggersPerWorker: 2, ledger: ledger)
        table.maximumDurable = 3
        func make(_ id: String, _ maker: Worker?) -> TriggerTable.Registration {
            table.register(TriggerRequest(id: id, type: "x", functionID: "f", cost: 30), owner: nil, creator: maker).0
        }
        var maker: Worker? = Worker(id: .random())
        #expect(make("1", maker) == .accepted)
        #expect(make("2", maker) == .accepted)
        #expect(make("3", maker) == .limitReached)
        #expect(maker?.registeredBytes == 60)
        maker = nil
        #expect(table.durableCount == 2 && ledger.total == 60)
        #expect(make("3", a) == .accepted)
        #expect(make("4", b) == .durableLimitReached)
        for id in ["1", "2", "3"] { _ = table.unregisterDurable(id) }
        #expect(table.durableCount == 0 && ledger.total == 0 && a.registeredBytes == 0 && a.durableTriggers == 0)
    }

    @Test func httpFunctionsCountFromRegistrationToRemovalAndOnlyOnce() {
        var table = HTTPFunctionTable(ledger: ledger)
        var functions = FunctionTable(ledger: ledger)
        let provider = Worker(id: .random(), builtin: .init(name: "iii-http-functions", generation: nil))
        _ = table.attached(provider)
        let registration = FunctionRegistration(worker: a, isHTTPInvoked: true, cost: 70)
        let effects = table.register(FunctionKey("h"), registration, ["url": "http://x"])
        guard case .offer(let key, _, let ticket, _, _)? = effects.first else {
            Issue.record("nothing was offered")
            return
        }
        #expect(ledger.total == 70)
        for case .list(let key, let listed) in table.answered(key, ticket: ticket, error: nil) { _ = functions.register(key, listed) }
        #expect(ledger.total == 70 && a.registeredBytes == 70)
        #expect(table.objection(to: FunctionKey("i"), registration) == .perWorker)
        for case .unlist(let key, let worker) in table.remove(key, of: a) { functions.unregister(key, from: worker) }
        #expect(ledger.total == 0 && a.registeredBytes == 0)
    }
}
