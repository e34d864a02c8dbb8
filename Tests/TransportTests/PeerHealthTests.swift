import NIOCore
import Testing

@testable import IIITransport

@Suite struct PeerHealthTests {
    private let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)
    private let limits = PeerHealth.Limits(pingInterval: .seconds(5), silence: .seconds(15), writeStall: .seconds(30), highWater: 100)

    @Test func aQuietPeerIsPingedOncePerIntervalAndThenGivenUp() {
        var health = PeerHealth(now: start)
        var verdicts: [PeerHealth.Verdict] = []
        for second in 1...16 {
            verdicts.append(
                health.judge(start + .seconds(Int64(second)), lastInbound: start, isRead: true, queuedBytes: 0, limits))
        }
        #expect(verdicts.filter { $0 == .ping }.count == 2)
        #expect(verdicts.last == .silent && verdicts.dropLast().allSatisfy { $0 != .silent })
    }

    @Test func aPeerThatIsNotReadCannotBeHeard() {
        var health = PeerHealth(now: start)
        #expect(health.judge(start + .hours(1), lastInbound: start, isRead: false, queuedBytes: 0, limits) == .fine)
    }

    @Test func aPeerThatTakesNothingIsGivenUpAndOneThatTakesALittleIsNot() {
        var health = PeerHealth(now: start)
        #expect(health.judge(start + .seconds(20), lastInbound: start + .seconds(20), isRead: true, queuedBytes: 101, limits) == .fine)
        health.progressed(start + .seconds(25))
        #expect(health.judge(start + .seconds(50), lastInbound: start + .seconds(50), isRead: true, queuedBytes: 101, limits) == .fine)
        #expect(health.judge(start + .seconds(56), lastInbound: start + .seconds(56), isRead: true, queuedBytes: 101, limits) == .stalled)
    }

    @Test func timeInWhichWeDidNotRunIsNoStallOfThePeer() {
        var health = PeerHealth(now: start)
        health.excuse(.seconds(60), now: start + .seconds(61))
        #expect(health.judge(start + .seconds(62), lastInbound: start + .seconds(62), isRead: true, queuedBytes: 101, limits) == .fine)
    }

    @Test func aLateTickOfOurOwnIsFoundAndOrdinaryLoadIsNot() {
        var gauge = StallGauge(period: .seconds(1), now: start)
        #expect(gauge.tick(start + .milliseconds(1_400)) == .zero)
        #expect(gauge.tick(start + .milliseconds(22_400)) == .seconds(20))
        #expect(gauge.tick(start + .milliseconds(23_400)) == .zero)
    }
}
