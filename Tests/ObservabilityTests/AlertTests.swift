import IIISignals
import Testing

@testable import IIIObservability

@Suite struct AlertTests {
    private static let hour: UInt64 = 3_600_000_000_000

    private static func counter(_ value: Double, start: UInt64, instance: String = "a") -> Metric {
        Metric(
            name: "jobs", kind: .counter,
            points: [MetricPoint(attributes: [], startNanoseconds: start, nanoseconds: 0, value: .double(value))],
            resource: Resource([Attribute("service.instance.id", .string(instance))]))
    }

    private static func gauge(_ value: MetricValue) -> Metric {
        Metric(
            name: "g", kind: .gauge, points: [MetricPoint(attributes: [], startNanoseconds: 0, nanoseconds: 0, value: value)],
            resource: Resource())
    }

    @Test func aCounterThatIsSeenForTheFirstTimeIsNoBurst() {
        var window = AlertWindow(window: .seconds(60))
        let (now, epoch) = (Duration.seconds(1_000), 100 * Self.hour)
        window.add(Self.counter(1_000_000, start: epoch - 24 * Self.hour), now: now, nanoseconds: epoch)
        #expect(window.value(now: now) == 0)
        window.add(Self.counter(1_000_005, start: epoch - 24 * Self.hour), now: now + .seconds(30), nanoseconds: epoch)
        #expect(window.value(now: now + .seconds(30)) == 5)
        window.add(Self.counter(150, start: epoch - 10_000_000_000, instance: "b"), now: now + .seconds(31), nanoseconds: epoch)
        #expect(window.value(now: now + .seconds(31)) == 155)
        window.add(Self.counter(7, start: epoch, instance: "b"), now: now + .seconds(32), nanoseconds: epoch)
        #expect(window.value(now: now + .seconds(32)) == 162, "its process began anew")
        #expect(window.value(now: now + .seconds(200)) == nil, "nothing has come within the window")
    }

    @Test func gaugesAreTheirMeanAndWhatHasEndedIsNoValue() {
        var window = AlertWindow(window: .seconds(60))
        window.add(Self.gauge(.double(4)), now: .seconds(100), nanoseconds: 0)
        window.add(Self.gauge(.integer(6)), now: .seconds(101), nanoseconds: 0)
        window.add(Self.gauge(.gone), now: .seconds(102), nanoseconds: 0)
        #expect(window.value(now: .seconds(102)) == 5)
        var latest = AlertWindow(window: .zero)
        latest.add(Self.gauge(.double(4)), now: .seconds(100), nanoseconds: 0)
        #expect(latest.value(now: .seconds(101)) == 4)
        latest.add(Self.gauge(.gone), now: .seconds(102), nanoseconds: 0)
        #expect(latest.value(now: .seconds(102)) == nil)
    }

    @Test func windowsAreBounded() {
        var window = AlertWindow(window: .seconds(86_400))
        for number in 0..<5_000 {
            window.add(Self.counter(1, start: 0, instance: "\(number)"), now: .seconds(number * 100), nanoseconds: 0)
        }
        #expect(window.leftOut == 3_000)
        var counters = CounterWindow(window: .seconds(60))
        for second in 0..<5_000 { counters.add(Double(second), now: .seconds(second)) }
        #expect(counters.value == 60)
        counters.add(3, now: .seconds(5_000))
        #expect(counters.value == 3, "the engine began anew")
    }

    @Test func aRuleFiresCoolsDownAndIsResolvedOnce() {
        var rule = AlertRule(name: "a", metric: "m", threshold: 5)
        rule.cooldown = .seconds(60)
        var state = AlertState(rule)
        func look(_ value: Double?, _ second: Int) -> AlertState.Notice? {
            state.evaluate(value, now: .seconds(second), wallMilliseconds: 0)
        }
        #expect(look(nil, 0) == nil && state.status == .noData)
        #expect(look(9, 1) == .fired(value: 9) && state.isFiring)
        #expect(look(9, 30) == nil && state.isFiring)
        #expect(look(nil, 40) == nil && state.status == .noData, "silence resolves nothing")
        #expect(look(9, 62) == .fired(value: 9))
        #expect(look(1, 63) == .resolved(value: 1) && state.status == .ok)
        #expect(look(1, 64) == nil)
        #expect(look(.nan, 65) == nil && state.status == .noData && state.value == nil)
    }

    @Test func aRuleWithATimeIsPendingFirst() {
        var rule = AlertRule(name: "a", metric: "m", threshold: 5)
        rule.holdsFor = .seconds(10)
        var state = AlertState(rule)
        #expect(state.evaluate(9, now: .seconds(1), wallMilliseconds: 0) == nil)
        #expect(state.status == .pending(since: .seconds(1)))
        #expect(state.evaluate(9, now: .seconds(10), wallMilliseconds: 0) == nil)
        #expect(state.evaluate(9, now: .seconds(11), wallMilliseconds: 0) == .fired(value: 9))
    }

    @Test(arguments: [
        (">", "greaterthan", 6.0, 5.0), (">=", "greaterthanorequal", 5, 5), ("<", "lessthan", 4, 5), ("<=", "lessthanorequal", 5, 5),
        ("==", "equal", 0.1 + 0.2, 0.3), ("!=", "notequal", 1, 2),
    ])
    func comparisonsHaveASignAndAName(_ sign: String, _ name: String, _ value: Double, _ threshold: Double) throws {
        let comparison = try #require(AlertRule.Comparison(written: sign))
        #expect(AlertRule.Comparison(written: name) == comparison)
        #expect(comparison.holds(value, threshold))
    }
}
