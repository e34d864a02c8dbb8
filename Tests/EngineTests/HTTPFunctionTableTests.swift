import IIIProtocol
import IIISettings
import Testing

@testable import IIIEngine

/// The table with the function table behind it, as the engine drives them: effects are carried out, offers are collected.
private struct Fixture {
    var functions = FunctionTable()
    var table = HTTPFunctionTable()
    var offers: [(key: FunctionKey, url: String, ticket: Int, isReplay: Bool, provider: Worker)] = []
    var withdrawn: [FunctionKey] = []
    var refused: [String] = []
    var dropped: [String] = []
    let provider = Worker(id: .random(), builtin: .init(name: "iii-http-functions", generation: nil))
    let f = FunctionKey("f")

    init(isAttached: Bool = true) {
        perform(table.configured(true))
        if isAttached { perform(table.attached(provider)) }
    }

    mutating func perform(_ effects: [HTTPFunctionTable.Effect]) {
        for effect in effects {
            switch effect {
            case .offer(let key, let invocation, let ticket, let isReplay, let provider):
                offers.append((key, invocation["url"]?.string ?? "", ticket, isReplay, provider))
            case .withdraw(let key, _): withdrawn.append(key)
            case .list(let key, let registration): _ = functions.register(key, registration)
            case .unlist(let key, let worker): functions.unregister(key, from: worker)
            case .assign(let key, let callee): functions.assign(key, to: callee)
            case .refused(let key, _, _, _): refused.append(key.id)
            case .dropped(let key, _): dropped.append(key.id)
            }
        }
    }

    mutating func register(_ worker: Worker, _ url: String = "u", id: String = "f") {
        perform(
            table.register(
                FunctionKey(id), FunctionRegistration(worker: worker, isHTTPInvoked: true), ["url": .string(url)]))
    }

    mutating func answer(_ error: InvocationError? = nil) {
        let offer = offers.removeFirst()
        perform(table.answered(offer.key, ticket: offer.ticket, error: error))
    }

    var isListed: Bool { functions.lookup(f) != nil }
    /// Who executes a call of `f`.
    var callee: Worker? { functions.lookup(f)?.selectCallee(default: .latest) }
    var isServed: Bool { callee === provider }
    /// It exists, but nobody is there to execute it.
    var isAway: Bool { isListed && callee === nil }
    var owners: [UUIDBits] { functions.lookup(f)?.owners.map(\.worker.id) ?? [] }
}

private let no = InvocationError(.urlValidationFailed, "Private IP blocked")

@Suite struct HTTPFunctionTableTests {
    @Test func listedOnlyOnceAccepted() {
        var fixture = Fixture()
        let worker = Worker(id: .random())
        fixture.register(worker)
        #expect(!fixture.isListed && fixture.table.isAwaited(fixture.f) && worker.awaitedFunctions.count == 1)
        fixture.answer()
        #expect(fixture.isServed && fixture.owners == [worker.id] && !fixture.table.isAwaited(fixture.f))
        #expect(worker.awaitedFunctions.isEmpty && worker.functionIDs == [fixture.f])
    }

    @Test func refusedDoesNotExist() {
        var fixture = Fixture()
        let worker = Worker(id: .random())
        fixture.register(worker)
        fixture.answer(no)
        #expect(!fixture.isListed && fixture.refused == ["f"] && fixture.table.count == 0 && worker.awaitedFunctions.isEmpty)
    }

    @Test func parkedUntilAttachedThenInOrder() {
        var fixture = Fixture(isAttached: false)
        let worker = Worker(id: .random())
        for id in ["c", "a", "b"] { fixture.register(worker, id: id) }
        #expect(fixture.offers.isEmpty && fixture.dropped.isEmpty)
        fixture.perform(fixture.table.attached(fixture.provider))
        #expect(fixture.offers.map(\.key.id) == ["c", "a", "b"])
    }

    @Test func droppedWithoutEntry() {
        var fixture = Fixture(isAttached: false)
        let worker = Worker(id: .random())
        fixture.register(worker)
        fixture.perform(fixture.table.configured(false))
        #expect(fixture.dropped == ["f"] && fixture.table.count == 0)
        fixture.register(worker)
        #expect(fixture.dropped == ["f", "f"] && worker.awaitedFunctions.isEmpty)
    }

    @Test func unregisterDuringTheCheckWins() {
        var fixture = Fixture()
        let worker = Worker(id: .random())
        fixture.register(worker)
        fixture.perform(fixture.table.remove(fixture.f, of: worker))
        #expect(fixture.withdrawn == [fixture.f])
        fixture.answer()
        #expect(!fixture.isListed && fixture.table.count == 0)
    }

    @Test func providerComesBack() {
        var fixture = Fixture()
        let worker = Worker(id: .random())
        fixture.register(worker)
        fixture.answer()
        fixture.perform(fixture.table.detached(fixture.provider))
        #expect(fixture.isAway, "listed, but nobody is there")
        let next = Worker(id: .random(), builtin: .init(name: "iii-http-functions", generation: nil))
        fixture.perform(fixture.table.attached(next))
        #expect(fixture.offers.map(\.isReplay) == [true])
        fixture.answer()
        #expect(fixture.callee === next && fixture.owners == [worker.id])
    }

    /// The offer fails with its connection, before or after the table hears of the loss: neither is a refusal.
    @Test func anOfferThatDiesWithItsProviderIsNoRefusal() {
        var fixture = Fixture()
        fixture.register(Worker(id: .random()))
        fixture.perform(fixture.table.detached(fixture.provider))
        fixture.answer(InvocationError(.invocationStopped, "Invocation stopped"))
        #expect(fixture.refused.isEmpty && fixture.table.isAwaited(fixture.f))
        fixture.perform(fixture.table.attached(fixture.provider))
        fixture.answer()
        #expect(fixture.isServed)
    }

    @Test func newerOwnerTakesOverAndTheOlderComesBack() {
        var fixture = Fixture()
        let (a, b) = (Worker(id: .random()), Worker(id: .random()))
        fixture.register(a, "first")
        fixture.answer()
        fixture.register(b, "second")
        #expect(fixture.isServed && fixture.owners == [a.id], "the older serves while the newer is checked")
        fixture.answer()
        #expect(fixture.owners == [a.id, b.id] && fixture.isServed)
        fixture.perform(fixture.table.workerLeft(b))
        #expect(fixture.withdrawn == [fixture.f] && fixture.isAway, "the newer's remote is never called again")
        #expect(fixture.offers.map(\.url) == ["first"])
        fixture.answer()
        #expect(fixture.isServed && fixture.owners == [a.id])
    }

    @Test func aRefusedNewerOwnerLeavesTheOlderAlone() {
        var fixture = Fixture()
        let a = Worker(id: .random())
        fixture.register(a, "first")
        fixture.answer()
        fixture.register(Worker(id: .random()), "second")
        fixture.answer(no)
        #expect(fixture.isServed && fixture.owners == [a.id] && fixture.offers.isEmpty)
    }

    @Test func aNewerOwnerThatLeavesDuringItsCheckIsReplacedByTheOlder() {
        var fixture = Fixture()
        let (a, b) = (Worker(id: .random()), Worker(id: .random()))
        fixture.register(a, "first")
        fixture.answer()
        fixture.register(b, "second")
        fixture.perform(fixture.table.workerLeft(b))
        #expect(fixture.isServed, "the older is not interrupted")
        #expect(fixture.offers.map(\.url) == ["second", "first"])
        fixture.answer()
        #expect(fixture.owners == [a.id], "the stale acceptance changes nothing")
        fixture.answer()
        #expect(fixture.isServed && fixture.owners == [a.id])
    }

    @Test func olderOwnerLeavesWhileANewerIsChecked() {
        var fixture = Fixture()
        let (a, b) = (Worker(id: .random()), Worker(id: .random()))
        fixture.register(a, "first")
        fixture.answer()
        fixture.register(b, "second")
        fixture.perform(fixture.table.workerLeft(a))
        #expect(!fixture.isListed && fixture.offers.map(\.url) == ["second", "second"])
        fixture.answer()
        #expect(!fixture.isListed, "the first offer was ended by the withdrawal")
        fixture.answer()
        #expect(fixture.isServed && fixture.owners == [b.id])
    }

    @Test func sameWorkerSameDefinitionOnlyUpdatesListings() {
        var fixture = Fixture()
        let worker = Worker(id: .random())
        fixture.register(worker)
        fixture.answer()
        fixture.perform(
            fixture.table.register(
                fixture.f, FunctionRegistration(worker: worker, description: "new", isHTTPInvoked: true), ["url": "u"]))
        #expect(fixture.offers.isEmpty && fixture.isServed && fixture.functions.lookup(fixture.f)?.current?.description == "new")
    }

    @Test func sameWorkerOtherDefinitionIsCheckedAgain() {
        var fixture = Fixture()
        let worker = Worker(id: .random())
        fixture.register(worker, "old")
        fixture.answer()
        fixture.register(worker, "new")
        #expect(!fixture.isListed && fixture.withdrawn == [fixture.f], "the old remote is not called any more")
        fixture.answer(no)
        #expect(!fixture.isListed && fixture.refused == ["f"])
    }

    @Test func awaitedFunctionsCountAgainstTheLimit() {
        var fixture = Fixture()
        fixture.functions.maximumPerWorker = 2
        let worker = Worker(id: .random())
        fixture.register(worker, id: "f")
        fixture.register(worker, id: "g")
        #expect(fixture.functions.objection(to: FunctionKey("h"), of: worker) == .limitReached)
        #expect(fixture.functions.objection(to: FunctionKey("g"), of: worker) == nil)
        #expect(fixture.functions.register(FunctionKey("h"), FunctionRegistration(worker: worker)) == .limitReached)
        fixture.answer()
        fixture.answer()
        #expect(worker.functionIDs.count == 2 && worker.awaitedFunctions.isEmpty)
        #expect(fixture.functions.objection(to: FunctionKey("h"), of: worker) == .limitReached)
    }

    @Test func policiesPassOverAnOwnerThatIsAway() {
        var fixture = Fixture()
        let (remote, local) = (Worker(id: .random()), Worker(id: .random()))
        fixture.register(remote)
        fixture.answer()
        _ = fixture.functions.register(fixture.f, FunctionRegistration(worker: local))
        let record = fixture.functions.lookup(fixture.f)
        #expect(record?.selectCallee(default: .latest) === local)
        let both = Set((0..<4).compactMap { _ in record?.selectCallee(default: .roundRobin)?.id })
        #expect(both == [local.id, fixture.provider.id])
        fixture.perform(fixture.table.detached(fixture.provider))
        for policy in [InvocationPolicy.roundRobin, .leastPending] {
            #expect((0..<4).allSatisfy { _ in record?.selectCallee(default: policy) === local })
        }
    }

    @Test func theNewestProviderServesAndTheOtherStepsIn() {
        var fixture = Fixture()
        fixture.register(Worker(id: .random()))
        fixture.answer()
        let second = Worker(id: .random(), builtin: .init(name: "iii-http-functions#1", generation: nil))
        fixture.perform(fixture.table.attached(second))
        fixture.answer()
        #expect(fixture.callee === second)
        fixture.perform(fixture.table.detached(second))
        #expect(fixture.offers.map(\.provider.id) == [fixture.provider.id])
        fixture.answer()
        #expect(fixture.isServed)
    }

    /// Any order of events ends in the state that the survivors ask for, and nothing is left behind.
    @Test(arguments: 0..<200)
    func anyOrderOfEventsConverges(seed: Int) {
        var generator = SeededGenerator(seed: UInt64(seed))
        var fixture = Fixture()
        var workers = (0..<3).map { _ in Worker(id: .random()) }
        for _ in 0..<60 {
            let index = Int.random(in: 0..<3, using: &generator)
            switch Int.random(in: 0..<8, using: &generator) {
            case 0, 1: fixture.register(workers[index], "u\(Int.random(in: 0..<2, using: &generator))")
            case 2: fixture.perform(fixture.table.remove(fixture.f, of: workers[index]))
            case 3:
                fixture.perform(fixture.table.workerLeft(workers[index]))
                workers[index] = Worker(id: .random())
            case 4:
                fixture.perform(fixture.table.detached(fixture.provider))
                fixture.perform(fixture.table.attached(fixture.provider))
            case 5: if !fixture.offers.isEmpty { fixture.answer(no) }
            default: if !fixture.offers.isEmpty { fixture.answer() }
            }
        }
        while !fixture.offers.isEmpty { fixture.answer() }
        let wanted = workers.filter { $0.functionIDs.contains(fixture.f) }
        #expect(workers.allSatisfy { $0.functionIDs.isDisjoint(with: $0.awaitedFunctions) }, "seed \(seed)")
        #expect(Set(fixture.owners) == Set(wanted.map(\.id)), "seed \(seed)")
        if !wanted.isEmpty { #expect(fixture.isServed, "seed \(seed)") }
        for worker in workers { fixture.perform(fixture.table.workerLeft(worker)) }
        #expect(!fixture.isListed && fixture.table.count == 0 && workers.allSatisfy(\.awaitedFunctions.isEmpty), "seed \(seed)")
    }
}
