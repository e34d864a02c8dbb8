import IIIConfiguration
import IIIProtocol
import Testing

@testable import IIISupervision

/// Two generations of one child side by side.
@Suite struct HandoverTests {
    static func ready(immediate: Int = 5) -> ChildMachine {
        let restart = RestartSettings(immediateRestarts: immediate, jitter: 0)
        var machine = ChildMachine(settings: .init(restart: restart, canOverlap: true, handoverTimeout: .seconds(60)), seed: 1)
        _ = machine.handle(.start, now: .zero)
        for event in [ChildMachine.Event.spawned, .announced, .becameReady] { _ = machine.handle(event, of: 1, now: .zero) }
        return machine
    }

    static func makeReady(_ machine: inout ChildMachine, _ generation: Int, now: Duration = .zero) -> [ChildMachine.Effect] {
        [ChildMachine.Event.spawned, .announced, .becameReady].flatMap { machine.handle($0, of: generation, now: now) }
    }

    @Test func theSuccessorTakesOverOnlyWhenItIsReady() {
        var machine = Self.ready()
        #expect(machine.handle(.restart("test"), now: .zero).last == .spawn(2))
        #expect(machine.state == .ready && machine.generation == 1 && machine.restarts == 0)
        let effects = Self.makeReady(&machine, 2)
        #expect(effects.last == .drain(1, within: .seconds(60), isHandover: true))
        #expect(machine.state == .ready && machine.generation == 2 && machine.restarts == 1)
        #expect(machine.handle(.drained, of: 1, now: .seconds(1)) == [.terminate(1)])
        #expect(machine.handle(.exited(.exited(0)), of: 1, now: .seconds(1)) == [])
        #expect(machine.otherGenerations.isEmpty && machine.isAlive)
    }

    @Test func aSuccessorThatFailsCostsNothing() {
        var machine = Self.ready()
        _ = machine.handle(.restart("test"), now: .zero)
        _ = machine.handle(.exited(.exited(78)), of: 2, now: .zero)
        #expect(machine.state == .ready && machine.generation == 1 && machine.failedHandovers == 1)
        #expect(machine.lastError == "generation 2 did not become ready: exit 78 before ready")
        _ = machine.handle(.restart("again"), now: .zero)
        _ = machine.handle(.spawnFailed("cannot execute"), of: 3, now: .zero)
        #expect(machine.state == .ready && machine.failedHandovers == 2)
    }

    @Test func aSuccessorThatIsNotReadyInTimeIsEnded() {
        var machine = Self.ready()
        _ = machine.handle(.restart("test"), now: .zero)
        #expect(machine.handle(.timePassed, now: .seconds(10)).last == .terminate(2))
        #expect(machine.state == .ready && machine.generation == 1)
        #expect(machine.handle(.becameReady, of: 2, now: .seconds(11)) == [])
        #expect(machine.handle(.timePassed, now: .seconds(20)) == [.kill(2)])
        #expect(machine.handle(.exited(.signalled(9)), of: 2, now: .seconds(20)) == [])
        #expect(machine.state == .ready && machine.isAlive && machine.otherGenerations.isEmpty)
    }

    @Test func anotherRestartReplacesTheSuccessor() {
        var machine = Self.ready()
        _ = machine.handle(.restart("first"), now: .zero)
        let effects = machine.handle(.configured(machine.settings, exclusively: false), now: .zero)
        #expect(effects.contains(.terminate(2)) && effects.last == .spawn(3))
        #expect(machine.handle(.becameReady, of: 2, now: .zero) == [])
        _ = Self.makeReady(&machine, 3)
        #expect(machine.generation == 3)
    }

    @Test func aCrashWhileTheSuccessorStartsWaitsForItInsteadOfStartingAThird() {
        var machine = Self.ready()
        _ = machine.handle(.restart("test"), now: .zero)
        let effects = machine.handle(.exited(.signalled(11)), of: 1, now: .zero)
        #expect(!effects.contains { $0.isSpawn })
        #expect(machine.state == .starting && machine.generation == 2)
        _ = Self.makeReady(&machine, 2)
        #expect(machine.state == .ready)
    }

    @Test func predecessorsAreBoundedInNumberAndTime() {
        var machine = Self.ready()
        var effects: [ChildMachine.Effect] = []
        for generation in 2...4 {
            _ = machine.handle(.restart("test"), now: .zero)
            effects = Self.makeReady(&machine, generation)
        }
        #expect(machine.otherGenerations.map(\.generation) == [1, 2, 3])
        #expect(effects.contains(.terminate(1)), "more than two do not wait for their clients")
        #expect(machine.handle(.timePassed, now: .seconds(60)) == [.kill(1), .terminate(2), .terminate(3)])
    }

    @Test func aStopEndsEveryGenerationAndIsOverWithTheLast() {
        var machine = Self.ready()
        _ = machine.handle(.restart("test"), now: .zero)
        _ = Self.makeReady(&machine, 2)
        _ = machine.handle(.restart("test"), now: .zero)
        let effects = machine.handle(.stop("test"), now: .zero)
        #expect(effects.contains(.terminate(1)) && effects.contains(.terminate(3)))
        #expect(effects.last == .drain(2, within: .seconds(10), isHandover: false))
        for generation in [3, 2] { _ = machine.handle(.exited(.exited(0)), of: generation, now: .zero) }
        #expect(machine.state == .stopping)
        _ = machine.handle(.exited(.exited(0)), of: 1, now: .zero)
        #expect(machine.state == .stopped && !machine.isAlive)
    }

    @Test func whatCannotShareItsAddressIsRestartedOneAfterTheOther() {
        var machine = Self.ready()
        let effects = machine.handle(.configured(machine.settings, exclusively: true), now: .zero)
        #expect(effects.last == .drain(1, within: .seconds(10), isHandover: false))
        #expect(machine.handle(.exited(.exited(0)), of: 1, now: .zero).last == .spawn(2))
    }

    @Test func anUnresponsiveProcessIsReplacedBeforeItHasEnded() {
        var machine = Self.ready()
        let effects = machine.handle(.unresponsive("unresponsive"), of: 1, now: .zero)
        #expect(effects.first == .terminate(1) && effects.last == .spawn(2))
        #expect(machine.lastError == "unresponsive")
        _ = Self.makeReady(&machine, 2)
        #expect(machine.handle(.timePassed, now: .seconds(10)) == [.kill(1)])
        #expect(machine.handle(.exited(.signalled(9)), of: 1, now: .seconds(10)) == [])
        #expect(machine.state == .ready && machine.generation == 2)
    }

    @Test func anUnresponsiveProcessWithoutImmediateRestartsIsForgottenOnlyWhenItEnds() {
        var machine = Self.ready(immediate: 0)
        _ = machine.handle(.unresponsive("unresponsive"), of: 1, now: .zero)
        #expect(machine.state == .backoff)
        #expect(machine.handle(.exited(.signalled(15)), of: 1, now: .zero) == [])
        #expect(machine.otherGenerations.isEmpty && machine.state == .backoff)
    }

    @Test func theFirstCrashesOfAReadyChildAreAnsweredAtOnce() {
        var machine = Self.ready()
        var delays: [Int64] = []
        for generation in 1...10 {
            let effects = machine.handle(.exited(.signalled(9)), of: generation, now: .zero)
            delays.append(effects.contains { $0.isSpawn } ? 0 : (machine.nextStart ?? .zero).wholeMilliseconds)
            if machine.state == .backoff { _ = machine.handle(.timePassed, now: .seconds(31)) }
            _ = Self.makeReady(&machine, generation + 1)
        }
        #expect(delays == [0, 0, 0, 0, 0, 200, 400, 800, 1600, 3200])
    }

    @Test func aFailedStartIsNeverRepeatedAtOnce() {
        var machine = ChildMachine(settings: .init(restart: .init(immediateRestarts: 5, jitter: 0)), seed: 1)
        _ = machine.handle(.start, now: .zero)
        #expect(!machine.handle(.exited(.exited(1)), now: .zero).contains { $0.isSpawn })
    }

    @Test func randomEventsNeverLoseAGeneration() {
        var random = SeededGenerator(seed: 3)
        for _ in 0..<300 {
            var machine = Self.ready()
            var alive: Set<Int> = [1]
            var now = Duration.zero
            for _ in 0..<200 {
                now += .milliseconds(Int64.random(in: 0...3000, using: &random))
                let target = alive.randomElement(using: &random)
                let event: ChildMachine.Event? =
                    switch Int.random(in: 0..<10, using: &random) {
                    case 0: .restart("r")
                    case 1: .stop("s")
                    case 2: .start
                    case 3: .unresponsive("u")
                    case 4: target.map { _ in .exited(.exited(Int32.random(in: 0...1, using: &random))) }
                    case 5: .drained
                    case 6: .configured(machine.settings, exclusively: Bool.random(using: &random))
                    case 7, 8: .becameReady
                    default: .timePassed
                    }
                guard let event else { continue }
                let aimsAtProcess = if case .exited = event { true } else { [.drained, .becameReady, .unresponsive("u")].contains(event) }
                if case .exited = event, let target { alive.remove(target) }
                if aimsAtProcess, target == nil { continue }
                for effect in machine.handle(event, of: aimsAtProcess ? target : nil, now: now) {
                    switch effect {
                    case .spawn(let generation): #expect(alive.insert(generation).inserted)
                    case .terminate(let generation), .kill(let generation), .drain(let generation, _, _):
                        #expect(alive.contains(generation), "\(effect) after its end")
                    default: break
                    }
                }
                let known = Set(
                    machine.otherGenerations.map(\.generation) + (machine.isRunning && !machine.isCurrentGone ? [machine.generation] : []))
                #expect(known == alive, "after \(event) of \(target ?? 0) in \(machine.state)")
                guard known == alive else { return }
            }
        }
    }
}

@Suite struct ReceptionTests {
    @Test func clientsWaitForAMomentAndAreThenToldSo() {
        var machine = HandoverTests.ready(immediate: 0)
        #expect(machine.reception(now: .seconds(5)) == .child && machine.receptionDeadline(now: .seconds(5)) == nil)
        _ = machine.handle(.exited(.exited(1)), of: 1, now: .seconds(10))
        #expect(machine.reception(now: .seconds(10)) == .child, "200 ms of back-off are a moment")
        _ = machine.handle(.timePassed, now: .seconds(11))
        #expect(machine.state == .starting && machine.receptionDeadline(now: .seconds(11)) == .seconds(13))
        #expect(machine.reception(now: .seconds(13)) == .unavailable(retryAfter: .seconds(1)))
        _ = HandoverTests.makeReady(&machine, 2, now: .seconds(14))
        #expect(machine.reception(now: .seconds(14)) == .child)
    }

    @Test func aLongBackoffIsAnsweredFromItsBeginning() {
        var machine = ChildMachine(settings: .init(restart: .init(delay: .seconds(20), jitter: 0)), seed: 1)
        _ = machine.handle(.start, now: .zero)
        _ = machine.handle(.exited(.exited(1)), now: .zero)
        #expect(machine.reception(now: .zero) == .unavailable(retryAfter: .seconds(20)))
        #expect(machine.reception(now: .milliseconds(19_500)) == .unavailable(retryAfter: .seconds(1)))
    }

    @Test func whoGaveUpIsAnsweredForAndWhoWasStoppedIsClosed() {
        var machine = HandoverTests.ready()
        _ = machine.handle(.exited(.exited(78)), of: 1, now: .zero)
        #expect(machine.state == .failed && machine.reception(now: .zero) == .unavailable(retryAfter: .seconds(30)))
        _ = machine.handle(.reset, now: .zero)
        _ = HandoverTests.makeReady(&machine, 2)
        _ = machine.handle(.stop("test"), now: .zero)
        #expect(machine.reception(now: .zero) == .unavailable(retryAfter: .seconds(30)))
        _ = machine.handle(.exited(.exited(0)), of: 2, now: .zero)
        #expect(machine.reception(now: .zero) == .closed)
    }

    static let requests: [(String, String?)] = [
        ("", nil), ("GET / HT", nil), ("GET / HTTP/1.1\r\nhost: a\r\n", nil), ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", "503"),
        ("\r\nPOST /x HTTP/1.1\nhost: a\n\nbody", "503"), ("HEAD / HTTP/1.1\r\n\r\n", "503"), ("\u{16}\u{3}\u{1}", "close"),
        ("{}", "close"),
    ]

    @Test(arguments: requests) func theCoreAnswersHTTPAndClosesTheRest(request: String, answer: String?) {
        let step = UnavailableAnswer.step(Array(request.utf8), name: "iii-http", state: "failed", retryAfter: .milliseconds(1500))
        switch answer {
        case nil: #expect(step == .wait)
        case "close": #expect(step == .close)
        default:
            guard case .answer(let bytes) = step else { return #expect(Bool(false), "no answer") }
            let text = String(decoding: bytes, as: UTF8.self)
            #expect(
                text.hasPrefix("HTTP/1.1 503 ") && text.contains("\r\nretry-after: 2\r\n") && text.contains("\r\nconnection: close\r\n"))
            #expect(text.hasSuffix("\r\n\r\n") == request.hasPrefix("HEAD"))
        }
    }

    @Test func aHeadWithoutEndIsClosedAtItsLimit() {
        let endless = Array("GET /".utf8) + [UInt8](repeating: UInt8(ascii: "a"), count: UnavailableAnswer.maximumHead)
        #expect(UnavailableAnswer.step(endless, name: "a", state: "failed", retryAfter: .zero) == .close)
    }
}

@Suite struct SignalPolicyTests {
    @Test func aSecondSignalMeansAtOnce() {
        for (first, second) in [(15, 15), (15, 2)] as [(Int32, Int32)] {
            var policy = SignalPolicy(isOnTerminal: false)
            #expect(policy.received(first, now: .zero) == .drain)
            #expect(policy.received(second, now: .milliseconds(1)) == .kill)
        }
    }

    @Test func oneCtrlCThatIsPassedOnIsOne() {
        for second in [2, 15] as [Int32] {
            var policy = SignalPolicy(isOnTerminal: true)
            #expect(policy.received(2, now: .zero) == .drain)
            #expect(policy.received(second, now: .milliseconds(200)) == .none)
            #expect(policy.received(second, now: .milliseconds(600)) == .kill)
        }
    }

    @Test func theEndOfTheTerminalEndsWhatWasStartedOnIt() {
        var onTerminal = SignalPolicy(isOnTerminal: true)
        #expect(onTerminal.received(1, now: .zero) == .drain)
        #expect(onTerminal.received(1, now: .zero) == .none, "shell and kernel both tell of it")
        #expect(onTerminal.received(15, now: .seconds(1)) == .kill)
        var service = SignalPolicy(isOnTerminal: false)
        #expect(service.received(1, now: .zero) == .reload)
        #expect(service.received(1, now: .zero) == .reload)
        #expect(service.received(3, now: .zero) == .dumpState)
    }
}
