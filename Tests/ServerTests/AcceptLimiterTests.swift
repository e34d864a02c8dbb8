import NIOCore
import Testing

@testable import IIIServer

@Suite struct AcceptLimiterTests {
    static func at(_ milliseconds: Int64) -> NIODeadline { .uptimeNanoseconds(1_000_000_000) + .milliseconds(milliseconds) }

    private func next(_ limiter: AcceptLimiter, _ milliseconds: Int64, descriptors: Int = 256) -> AcceptLimiter.Next {
        limiter.next(now: Self.at(milliseconds), descriptors: descriptors)
    }

    @Test func acceptsNoMoreThanThereIsRoomFor() {
        var limiter = AcceptLimiter(limits: AcceptLimits(maximumConnections: 3, maximumHandshakes: 2))
        #expect(next(limiter, 0) == .accept(atMost: 2))
        let first = limiter.accepted(now: Self.at(0))
        #expect(next(limiter, 0) == .accept(atMost: 1))
        limiter.established(first)
        #expect(next(limiter, 0) == .accept(atMost: 2))
        limiter.established(limiter.accepted(now: Self.at(0)))
        #expect(next(limiter, 0) == .accept(atMost: 1))
    }

    @Test func atTheLimitOfConnectionsItWaitsForOneToEnd() {
        var limiter = AcceptLimiter(limits: AcceptLimits(maximumConnections: 1))
        let only = limiter.accepted(now: Self.at(0))
        limiter.established(only)
        #expect(next(limiter, 60_000) == .wait(.connections, until: nil))
        limiter.closed(only)
        #expect(next(limiter, 60_000) == .accept(atMost: 1))
    }

    @Test func aHandshakeKeepsItsPlaceForASecondAndThenGivesItToWhoWaits() {
        var limiter = AcceptLimiter(limits: AcceptLimits(maximumHandshakes: 2))
        let oldest = limiter.accepted(now: Self.at(0))
        let second = limiter.accepted(now: Self.at(400))
        #expect(next(limiter, 999) == .wait(.handshakes, until: Self.at(1000)))
        #expect(next(limiter, 1000) == .evict(oldest))
        limiter.closed(oldest)
        #expect(next(limiter, 1000) == .accept(atMost: 1))
        _ = limiter.accepted(now: Self.at(1000))
        #expect(next(limiter, 1000) == .wait(.handshakes, until: Self.at(1400)))
        limiter.established(second)
        #expect(next(limiter, 1000) == .accept(atMost: 1))
    }

    @Test func withoutDescriptorsItLooksAgainSoon() {
        var limiter = AcceptLimiter(limits: AcceptLimits())
        #expect(next(limiter, 0, descriptors: 0) == .wait(.descriptors, until: Self.at(100)))
        limiter.descriptorsRefused(now: Self.at(0))
        #expect(next(limiter, 99) == .wait(.descriptors, until: Self.at(100)))
        #expect(next(limiter, 100) == .accept(atMost: 256))
    }

    @Test func silentHandshakesAreTheFirstToGiveDescriptorsBack() {
        var limiter = AcceptLimiter(limits: AcceptLimits())
        let silent = limiter.accepted(now: Self.at(0))
        #expect(next(limiter, 2000, descriptors: 0) == .evict(silent))
    }

    @Test(arguments: 0..<50) func countsAgreeWithAModelInAnyOrderOfEvents(_ seed: UInt64) {
        var generator = SplitMix(state: seed)
        var limiter = AcceptLimiter(limits: AcceptLimits(maximumConnections: 40, maximumHandshakes: 10))
        var handshakes: [UInt64] = []
        var established: [UInt64] = []
        var now: Int64 = 0
        for _ in 0..<2000 {
            now += Int64.random(in: 0...50, using: &generator)
            switch Int.random(in: 0..<4, using: &generator) {
            case 0, 1:
                switch next(limiter, now) {
                case .accept(let count):
                    #expect(count >= 1 && count <= 10 - handshakes.count && count <= 40 - handshakes.count - established.count)
                    handshakes.append(limiter.accepted(now: Self.at(now)))
                case .evict(let id):
                    #expect(id == handshakes.first, "the oldest goes")
                    limiter.closed(id)
                    handshakes.removeFirst()
                case .wait(let reason, _):
                    #expect(reason == .handshakes ? handshakes.count == 10 : handshakes.count + established.count == 40)
                }
            case 2:
                guard let index = handshakes.indices.randomElement(using: &generator) else { continue }
                let id = handshakes.remove(at: index)
                limiter.established(id)
                limiter.established(id)
                established.append(id)
            default:
                if Bool.random(using: &generator), let index = handshakes.indices.randomElement(using: &generator) {
                    limiter.closed(handshakes.remove(at: index))
                } else if let index = established.indices.randomElement(using: &generator) {
                    limiter.closed(established.remove(at: index))
                }
            }
            #expect(limiter.handshakeCount == handshakes.count)
            #expect(limiter.connectionCount == handshakes.count + established.count)
        }
    }

    private struct SplitMix: RandomNumberGenerator {
        var state: UInt64

        mutating func next() -> UInt64 {
            state &+= 0x9E37_79B9_7F4A_7C15
            var mixed = (state ^ (state >> 30)) &* 0xBF58_476D_1CE4_E5B9
            mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
            return mixed ^ (mixed >> 31)
        }
    }

    @Test(arguments: [(64, 24, 6), (1024, 64, 16), (1_048_576, 512, 128)])
    func aReserveOfDescriptorsIsKept(_ limit: Int, _ ordinary: Int, _ essential: Int) {
        let descriptors = DescriptorLimit(limit: limit)
        #expect(descriptors.reserve(for: .ordinary) == ordinary)
        #expect(descriptors.reserve(for: .essential) == essential)
    }

    @Test func theBudgetKnowsWhatIsOpenAndWhatHasBeenTakenSince() {
        #expect(DescriptorBudget(DescriptorLimit(limit: 1)).room(for: .ordinary, now: Self.at(0)) == 0)
        let budget = DescriptorBudget(DescriptorLimit(limit: 1 << 20))
        #expect(budget.room(for: .ordinary, now: Self.at(0)) == 128, "a quarter of the reserve at a time")
        for _ in 0..<(1 << 20) { budget.taken() }
        #expect(budget.room(for: .essential, now: Self.at(0)) == 0)
        for _ in 0..<(1 << 20) { budget.givenBack() }
        #expect(budget.room(for: .ordinary, now: Self.at(1)) == 128)
        for _ in 0..<(1 << 20) { budget.taken() }
        #expect(budget.room(for: .ordinary, now: Self.at(100)) == 128, "counted anew: nothing was really taken")
    }

    @Test func aFloodOfWarningsIsCountedInstead() {
        var warnings = WarningAllowance(2)
        #expect(warnings.take(now: Self.at(0)) == 0)
        #expect(warnings.take(now: Self.at(1)) == 0)
        #expect(warnings.take(now: Self.at(2)) == nil)
        #expect(warnings.take(now: Self.at(59_999)) == nil)
        #expect(warnings.take(now: Self.at(60_000)) == 2)
        #expect(warnings.take(now: Self.at(60_001)) == 0)
    }
}
