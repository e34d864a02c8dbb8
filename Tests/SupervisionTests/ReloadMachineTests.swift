import IIIConfiguration
import IIIProtocol
import Testing

@testable import IIISupervision

@Suite struct ReloadMachineTests {
    static func child(_ config: Int) -> ChildSpecification { child("a", config) }

    static func child(_ name: String, _ config: Int) -> ChildSpecification {
        var entry = WorkerEntry(id: name, name: name, typeName: name)
        entry.config = ["value": JSONValue(config)]
        return ChildSpecification(
            entry: entry, role: "custom", program: .executable(path: "/a", arguments: []), startRank: 0, stopRank: 0, listener: nil)
    }

    /// One reload under way that has offered 2 in place of 1.
    static func offering(to addressee: ReloadMachine.Addressee = .generation(1)) -> ReloadMachine {
        var machine = ReloadMachine()
        _ = machine.request("first")
        machine.offer(child(2), inForce: child(1), to: addressee)
        machine.applied()
        return machine
    }

    @Test func aReloadWithoutOffersIsOverAtOnce() {
        var machine = ReloadMachine()
        let request = machine.request("first")
        #expect(request.number == 1 && request.begins)
        #expect(machine.finish() == nil)
        machine.applied()
        #expect(machine.finish() == .init(number: 1))
        #expect(machine.finish() == nil)
        #expect(!machine.isUnderWay)
    }

    @Test func oneThatIsAskedForMeanwhileWaitsAndHasAnOutcomeOfItsOwn() {
        var machine = Self.offering()
        for _ in 0..<2 {
            let request = machine.request("second")
            #expect(request.number == 2 && !request.begins)
        }
        #expect(machine.finish() == nil)
        let settlement = machine.answered("a", .applied, isStillThere: true)
        #expect(settlement == .adopt(Self.child(2), remark: "configuration applied without a restart"))
        #expect(machine.finish() == .init(number: 1))
        #expect(machine.beginNext() == "second")
        #expect(machine.beginNext() == nil)
        machine.refused("Error: broken")
        machine.applied()
        #expect(machine.finish() == .init(number: 2, refusal: "Error: broken"))
        #expect(machine.beginNext() == nil)
    }

    @Test func whatIsUnusableLeavesWhatWasInForce() {
        var machine = Self.offering()
        #expect(machine.answered("a", .invalid("no such mode"), isStillThere: true) == .keep(Self.child(1)))
        #expect(machine.finish() == .init(number: 1, problems: ["a: no such mode"]))
    }

    @Test(arguments: [LiveChange.needsRestart("new address"), .unanswered, .absent])
    func onlyAProcessOfThisSupervisorIsRestarted(_ answer: LiveChange) {
        var own = Self.offering()
        guard case .restart(let child, _) = own.answered("a", answer, isStillThere: true) else { return #expect(Bool(false)) }
        #expect(child == Self.child(2))
        var unit = Self.offering(to: .units)
        guard case .adopt(let other, _) = unit.answered("a", answer, isStillThere: true) else { return #expect(Bool(false)) }
        #expect(other == Self.child(2))
        #expect(unit.finish() == .init(number: 1))
    }

    @Test(arguments: [LiveChange.applied, .invalid("x"), .unanswered])
    func aProcessThatEndedMeanwhileIsReplacedWhateverItSaid(_ answer: LiveChange) {
        var machine = Self.offering()
        #expect(machine.answered("a", answer, isStillThere: false) == .restart(Self.child(2), reason: "it ended during the change"))
        #expect(machine.finish() == .init(number: 1))
    }

    @Test func anAnswerNobodyWaitsForSaysNothing() {
        var machine = Self.offering()
        #expect(machine.answered("b", .applied, isStillThere: true) == nil)
        #expect(machine.answered("a", .applied, isStillThere: true) != nil)
        #expect(machine.answered("a", .invalid("late"), isStillThere: true) == nil)
        #expect(machine.finish() == .init(number: 1))
    }

    /// Files, answers and requests in any order: what the machine says is in force is what the processes have.
    @Test func theMachineAndTheProcessesAgreeInAnyOrder() {
        for seed in UInt64(0)..<200 {
            var random = SeededGenerator(seed: seed)
            var machine = ReloadMachine()
            let names = ["a", "b", "c"]
            var file = ["a": 0, "b": 0, "c": 0]
            var planned = file, truth = file
            var outcomes: [Int] = []
            var asked: Set<Int> = []
            var open: [String] = []
            func read() {
                for name in names where file[name] != planned[name] {
                    machine.offer(Self.child(name, file[name] ?? 0), inForce: Self.child(name, planned[name] ?? 0), to: .generation(1))
                    planned[name] = file[name]
                    open.append(name)
                }
                machine.applied()
            }
            func settle() {
                while let outcome = machine.finish() {
                    outcomes.append(outcome.number)
                    if machine.beginNext() != nil { read() }
                }
            }
            func answer() {
                guard !open.isEmpty else { return }
                let name = open.remove(at: Int.random(in: 0..<open.count, using: &random))
                let isUsable = Bool.random(using: &random)
                if isUsable { truth[name] = planned[name] }
                switch machine.answered(name, isUsable ? .applied : .invalid("no"), isStillThere: true) {
                case .adopt(let child, _): #expect(child.entry.config?["value"]?.integer == truth[name].map(Int64.init))
                case .keep(let child):
                    planned[name] = child.entry.config?["value"]?.integer.map(Int.init)
                    #expect(planned[name] == truth[name])
                default: #expect(Bool(false))
                }
                settle()
            }
            for _ in 0..<60 {
                switch Int.random(in: 0..<3, using: &random) {
                case 0: file[names[Int.random(in: 0..<3, using: &random)]] = Int.random(in: 0..<5, using: &random)
                case 1:
                    let request = machine.request("again")
                    asked.insert(request.number)
                    if request.begins {
                        read()
                        settle()
                    }
                default: answer()
                }
            }
            while !open.isEmpty { answer() }
            #expect(planned == truth && !machine.isUnderWay)
            #expect(Set(outcomes) == asked && outcomes == outcomes.sorted(), "seed \(seed)")
        }
    }
}
