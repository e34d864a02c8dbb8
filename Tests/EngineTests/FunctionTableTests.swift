import IIIProtocol
import IIISettings
import Testing

@testable import IIIEngine

@Suite struct FunctionTableTests {
    let a = Worker(id: .random())
    let b = Worker(id: .random())
    let builtin = Worker(id: .random(), builtin: .init(name: "iii-queue", generation: nil))
    let key = FunctionKey("f")

    @Test func newestServesAndOlderOnesTakeOverAgain() {
        var table = FunctionTable()
        #expect(table.register(key, FunctionRegistration(worker: a)) == .added)
        #expect(table.register(key, FunctionRegistration(worker: b)) == .tookOver)
        #expect(callee(table) === b)
        #expect(table.unregister(key, from: b) == false)
        #expect(callee(table) === a)
        #expect(table.unregister(key, from: a) == true)
        #expect(table.lookup(key) == nil)
    }

    @Test func staleCleanupKeepsTheSuccessor() {
        var table = FunctionTable()
        _ = table.register(key, FunctionRegistration(worker: a))
        _ = table.register(key, FunctionRegistration(worker: b))
        #expect(table.removeAll(of: a) == [])
        #expect(callee(table) === b)
        #expect(table.removeAll(of: a) == [])
        #expect(table.removeAll(of: b) == [key])
    }

    @Test func sayingItAgainReplaces() {
        var table = FunctionTable()
        _ = table.register(key, FunctionRegistration(worker: a, description: "old"))
        #expect(table.register(key, FunctionRegistration(worker: a, description: "new")) == .replaced)
        #expect(table.lookup(key)?.owners.count == 1)
        #expect(table.lookup(key)?.current?.description == "new")
    }

    @Test func builtinsKeepTheirIds() {
        var table = FunctionTable()
        _ = table.register(key, FunctionRegistration(worker: builtin))
        #expect(table.register(key, FunctionRegistration(worker: a)) == .refused)
        table.addBuiltin(BuiltinFunction("core", "") { _ in })
        #expect(table.register(FunctionKey("core"), FunctionRegistration(worker: builtin)) == .refused)
        #expect(a.functionIDs.isEmpty)
    }

    @Test func namespacesAreApart() {
        var table = FunctionTable()
        _ = table.register(FunctionKey("f", namespace: "x"), FunctionRegistration(worker: a))
        #expect(table.lookup(key) == nil)
        #expect(table.otherNamespaces(serving: key) == ["x"])
        _ = table.register(key, FunctionRegistration(worker: b))
        #expect(callee(table) === b)
        #expect(table.removeAll(of: a) == [FunctionKey("f", namespace: "x")])
        #expect(callee(table) === b)
    }

    @Test func limitIsReached() {
        var table = FunctionTable(maximumPerWorker: 2)
        for id in ["1", "2"] { #expect(table.register(FunctionKey(id), FunctionRegistration(worker: a)) == .added) }
        #expect(table.register(FunctionKey("3"), FunctionRegistration(worker: a)) == .limitReached)
        #expect(table.register(FunctionKey("1"), FunctionRegistration(worker: a)) == .replaced)
        #expect(table.register(FunctionKey("3"), FunctionRegistration(worker: b)) == .added)
    }

    @Test func policies() throws {
        var table = FunctionTable()
        let workers = (0..<3).map { _ in Worker(id: .random()) }
        for worker in workers { _ = table.register(key, FunctionRegistration(worker: worker, policy: .leastPending)) }
        let record = try #require(table.lookup(key))
        workers[0].invocations[.random()] = PendingInvocation(
            destination: .discard(nil), function: record, traceContext: [], startedAt: .now())
        workers[2].invocations[.random()] = PendingInvocation(
            destination: .discard(nil), function: record, traceContext: [], startedAt: .now())
        for _ in 0..<5 { #expect(record.selectCallee(default: .latest) === workers[1]) }
        for worker in workers { _ = table.register(key, FunctionRegistration(worker: worker)) }
        #expect(record.selectCallee(default: .latest) === workers[2])
        let turns = (0..<6).map { _ in record.selectCallee(default: .roundRobin).map { ObjectIdentifier($0) } }
        #expect(Set(turns).count == 3 && Array(turns[..<3]) == Array(turns[3...]))
    }

    private func callee(_ table: FunctionTable) -> Worker? { table.lookup(key)?.selectCallee(default: .latest) }
}
