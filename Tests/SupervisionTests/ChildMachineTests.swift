import IIIConfiguration
import IIIProtocol
import Testing

@testable import IIISupervision

@Suite struct ChildMachineTests {
    enum Ending: String, CaseIterable, Sendable { case clean, error, signal, beforeReady }

    static func settings(_ policy: RestartSettings.Policy = .always, givesUp: Bool = false, isCritical: Bool = false)
        -> ChildMachine.Settings
    {
        var restart = RestartSettings(policy: policy, jitter: 0, maximumRestarts: 3, window: .seconds(60), givesUp: givesUp)
        restart.isCritical = isCritical
        return ChildMachine.Settings(restart: restart)
    }

    static func ready(_ settings: ChildMachine.Settings, now: Duration = .zero) -> ChildMachine {
        var machine = ChildMachine(settings: settings, seed: 1)
        _ = machine.handle(.start, now: now)
        _ = machine.handle(.spawned, now: now)
        _ = machine.handle(.announced, now: now)
        _ = machine.handle(.becameReady, now: now)
        return machine
    }

    /// What OTP's restart types do, for every way to end, within and beyond the intensity.
    static let grid: [(RestartSettings.Policy, Ending, Bool, ChildMachine.State)] = [
        (.always, .clean, true, .backoff), (.always, .error, true, .backoff), (.always, .signal, true, .backoff),
        (.always, .beforeReady, true, .backoff),
        (.onFailure, .clean, true, .stopped), (.onFailure, .error, true, .backoff), (.onFailure, .signal, true, .backoff),
        (.onFailure, .beforeReady, true, .backoff),
        (.never, .clean, true, .stopped), (.never, .error, true, .failed), (.never, .signal, true, .failed),
        (.never, .beforeReady, true, .failed),
        (.always, .clean, false, .failed), (.always, .error, false, .failed), (.always, .signal, false, .failed),
        (.always, .beforeReady, false, .failed),
        (.onFailure, .clean, false, .stopped), (.onFailure, .error, false, .failed), (.onFailure, .signal, false, .failed),
        (.onFailure, .beforeReady, false, .failed),
        (.never, .clean, false, .stopped), (.never, .error, false, .failed), (.never, .signal, false, .failed),
        (.never, .beforeReady, false, .failed),
    ]

    @Test(arguments: grid) func restartPolicyGrid(
        policy: RestartSettings.Policy, ending: Ending, isWithin: Bool, expected: ChildMachine.State
    ) {
        var machine = Self.ready(Self.settings(policy, givesUp: true))
        if !isWithin, policy != .never {
            // Three failures are within the limit, the one under test is the fourth.
            for _ in 0..<3 {
                _ = machine.handle(.exited(.exited(1)), now: .zero)
                _ = machine.handle(.timePassed, now: .seconds(31))
                _ = machine.handle(.spawned, now: .zero)
                _ = machine.handle(.becameReady, now: .zero)
            }
            #expect(machine.state == .ready)
        }
        if ending == .beforeReady {
            _ = machine.handle(.restart("test"), now: .zero)
            _ = machine.handle(.exited(.exited(0)), now: .zero)
            #expect(machine.state == .starting)
        }
        let status: ChildExit =
            switch ending {
            case .clean: .exited(0)
            case .error, .beforeReady: .exited(1)
            case .signal: .signalled(9)
            }
        _ = machine.handle(.exited(status), now: .zero)
        #expect(machine.state == expected)
        #expect(machine.lastExit == status)
    }

    @Test func delaysGrowToTheCapAndStayThere() {
        var machine = Self.ready(Self.settings())
        var now: Duration = .zero
        var delays: [Int64] = []
        for _ in 0..<11 {
            _ = machine.handle(.exited(.exited(1)), now: now)
            #expect(machine.state == .backoff)
            let next = machine.deadline ?? .zero
            delays.append((next - now).wholeMilliseconds)
            #expect(machine.handle(.timePassed, now: next - .milliseconds(1)) == [])
            now = next
            #expect(machine.handle(.timePassed, now: now).contains { $0.isSpawn })
            // Slow failures: the window never holds more than it may.
            now += .seconds(61)
        }
        #expect(delays == [200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000, 30000])
        #expect(machine.restarts == 11)
    }

    @Test func delayResetsAfterContinuousReadiness() {
        var machine = Self.ready(Self.settings())
        for _ in 0..<3 {
            _ = machine.handle(.exited(.exited(1)), now: .zero)
            _ = machine.handle(.timePassed, now: .seconds(31))
            _ = machine.handle(.spawned, now: .zero)
        }
        _ = machine.handle(.becameReady, now: .zero)
        _ = machine.handle(.timePassed, now: .seconds(60))
        _ = machine.handle(.exited(.signalled(9)), now: .seconds(61))
        #expect(machine.deadline == .seconds(61) + .milliseconds(200))
    }

    @Test func beyondTheIntensityItComplainsOnceAMinuteAndKeepsTrying() {
        var machine = Self.ready(Self.settings())
        var complaints = 0
        for _ in 0..<6 {
            let effects = machine.handle(.exited(.exited(1)), now: .seconds(1))
            complaints += effects.count { if case .intensityExceeded = $0 { true } else { false } }
            _ = machine.handle(.timePassed, now: .seconds(99))
        }
        #expect(complaints == 1)
        _ = machine.handle(.exited(.exited(1)), now: .seconds(1))
        #expect(machine.state == .backoff)
        #expect(machine.deadline == .seconds(31))
    }

    @Test func dyingBeforeReadyCountsDouble() {
        var machine = ChildMachine(settings: Self.settings(givesUp: true), seed: 1)
        _ = machine.handle(.start, now: .zero)
        _ = machine.handle(.exited(.exited(1)), now: .zero)
        #expect(machine.state == .backoff)
        _ = machine.handle(.timePassed, now: .seconds(1))
        _ = machine.handle(.exited(.exited(1)), now: .seconds(1))
        #expect(machine.state == .failed)
    }

    @Test(arguments: [Int32(78), 64]) func configurationFailureIsFinalUntilTheConfigurationChanges(code: Int32) {
        var machine = Self.ready(Self.settings(isCritical: true))
        let effects = machine.handle(.exited(.exited(code)), now: .zero)
        #expect(machine.state == .failed && machine.deadline == nil)
        #expect(effects.contains { if case .gaveUp(true, _) = $0 { true } else { false } })
        #expect(machine.handle(.configured(Self.settings(), exclusively: false), now: .zero).contains { $0.isSpawn })
    }

    @Test func stopDrainsThenTerminatesThenKills() {
        var machine = Self.ready(Self.settings())
        #expect(machine.handle(.stop("test"), now: .zero).last == .drain(1, within: .seconds(10), isHandover: false))
        #expect(machine.handle(.drained, now: .seconds(1)) == [.terminate(1)])
        #expect(machine.handle(.drained, now: .seconds(1)) == [])
        #expect(machine.handle(.timePassed, now: .seconds(11)) == [.kill(1)])
        _ = machine.handle(.exited(.signalled(9)), now: .seconds(12))
        #expect(machine.state == .stopped && machine.deadline == nil)
        #expect(machine.handle(.timePassed, now: .seconds(99)) == [])
    }

    @Test func aSilentDrainEndsAtItsDeadline() {
        var machine = Self.ready(Self.settings())
        _ = machine.handle(.stop("test"), now: .zero)
        #expect(machine.handle(.timePassed, now: .seconds(10)) == [.terminate(1)])
    }

    @Test func startupTimeoutIsAFailedStart() {
        var machine = ChildMachine(settings: Self.settings(), seed: 1)
        _ = machine.handle(.start, now: .zero)
        _ = machine.handle(.spawned, now: .zero)
        #expect(machine.handle(.timePassed, now: .seconds(10)).contains(.terminate(1)))
        _ = machine.handle(.exited(.signalled(15)), now: .seconds(10))
        #expect(machine.state == .backoff)
        #expect(machine.lastError == "not ready within 10000 ms")
    }

    @Test func anUnresponsiveChildIsTerminatedAndStartedAgain() {
        var machine = Self.ready(Self.settings())
        #expect(machine.handle(.unresponsive("unresponsive"), now: .zero).last == .terminate(1))
        _ = machine.handle(.exited(.signalled(15)), now: .zero)
        #expect(machine.state == .backoff && machine.lastError == "unresponsive")
    }

    @Test func aStopDuringARestartWins() {
        var machine = Self.ready(Self.settings())
        _ = machine.handle(.restart("test"), now: .zero)
        _ = machine.handle(.stop("test"), now: .zero)
        _ = machine.handle(.exited(.exited(0)), now: .zero)
        #expect(machine.state == .stopped)
    }

    @Test func resetStartsAFailedChild() {
        var machine = Self.ready(Self.settings(.never))
        _ = machine.handle(.exited(.exited(1)), now: .zero)
        #expect(machine.state == .failed)
        #expect(machine.handle(.reset, now: .zero).contains { $0.isSpawn })
    }

    @Test func jitterStaysWithinTwentyPercentAndFollowsTheSeed() {
        var first = SeededGenerator(seed: 7)
        var second = SeededGenerator(seed: 7)
        for _ in 0..<200 {
            var one = Backoff(.init())
            var two = Backoff(.init())
            let delay = one.next(using: &first)
            #expect(delay >= .milliseconds(160) && delay <= .milliseconds(240))
            #expect(delay == two.next(using: &second))
        }
    }

    @Test func intensityForgetsWhatIsOutsideTheWindow() {
        var intensity = RestartIntensity(maximum: 2, window: .seconds(10))
        let failures: [(Duration, Int)] = [(.seconds(0), 1), (.seconds(1), 1), (.seconds(2), 1), (.seconds(30), 1), (.seconds(31), 2)]
        let answers = failures.map { intensity.record(at: $0.0, weight: $0.1) }
        #expect(answers == [false, false, true, false, true])
    }
}

extension ChildMachine.Effect {
    var isSpawn: Bool { if case .spawn = self { true } else { false } }
}
