import IIIProtocol
import Testing

@testable import IIIWorker

@Suite struct CallLimiterTests {
    private func limiter(_ change: (inout CallLimits) -> Void) -> CallLimiter<String, Int> {
        var limits = CallLimits()
        change(&limits)
        return CallLimiter(limits: limits)
    }

    @Test func aSlowTargetHoldsUpItsOwnCallsOnly() {
        var limiter = limiter { $0.perTarget = 2 }
        #expect((1...4).map { limiter.admit($0, to: "slow", bytes: 1) } == [.start, .start, .waits, .waits])
        #expect(limiter.admit(5, to: "quick", bytes: 1) == .start)
        #expect(limiter.finished("slow", bytes: 1) == [3])
        #expect(limiter.finished("slow", bytes: 1) == [4])
    }

    @Test func bytesCountLikeCalls() {
        var limiter = limiter { ($0.bytesPerTarget, $0.bytesInTotal) = (100, 150) }
        #expect(limiter.admit(1, to: "a", bytes: 60) == .start)
        #expect(limiter.admit(2, to: "a", bytes: 60) == .waits)
        #expect(limiter.admit(3, to: "b", bytes: 60) == .start)
        #expect(limiter.admit(4, to: "c", bytes: 60) == .waits)
        // "a" may go on by its own limit, but "c" was first in the queue for room in total.
        #expect(limiter.finished("a", bytes: 60) == [4])
        #expect(limiter.finished("b", bytes: 60) == [2])
    }

    @Test func aPayloadOverTheLimitGoesAloneAndIsNotOvertaken() {
        var limiter = limiter { $0.bytesInTotal = 100 }
        #expect(limiter.admit(1, to: "a", bytes: 10) == .start)
        #expect(limiter.admit(2, to: "huge", bytes: 1_000) == .waits)
        #expect(limiter.admit(3, to: "b", bytes: 10) == .waits)
        #expect(limiter.finished("a", bytes: 10) == [2])
        #expect(limiter.finished("huge", bytes: 1_000) == [3])
    }

    @Test func theWaitingRoomIsBoundedInItemsAndBytes() {
        var limiter = limiter { ($0.total, $0.waiting, $0.waitingBytes) = (1, 2, 100) }
        #expect(limiter.admit(1, to: "a", bytes: 1) == .start)
        #expect(limiter.admit(2, to: "a", bytes: 50) == .waits)
        #expect(limiter.admit(3, to: "a", bytes: 51) == .refused(limit: "50 bytes of calls wait already"))
        #expect(limiter.admit(4, to: "b", bytes: 1) == .waits)
        #expect(limiter.admit(5, to: "c", bytes: 1) == .refused(limit: "2 calls wait already"))
    }

    /// Whatever the order: limits hold, each target keeps its order, everything ends.
    @Test(arguments: 0..<100) func keepsOrderAndLimits(seed: Int) {
        var random = SeededGenerator(seed: UInt64(seed))
        var limiter = limiter {
            ($0.perTarget, $0.bytesPerTarget, $0.total, $0.bytesInTotal, $0.waiting, $0.waitingBytes) = (3, 50, 7, 120, 40, 2_000)
        }
        var running: [(call: Int, target: String, bytes: Int)] = []
        var facts: [Int: (target: String, bytes: Int)] = [:]
        var lastStarted: [String: Int] = [:]
        var accepted = 0
        var started = 0
        func start(_ call: Int) {
            guard let (target, bytes) = facts[call] else { return }
            #expect(call > lastStarted[target] ?? -1)
            lastStarted[target] = call
            started += 1
            running.append((call, target, bytes))
            let own = running.filter { $0.target == target }
            #expect(running.count <= 7 && own.count <= 3)
            #expect(own.count == 1 || own.reduce(0) { $0 + $1.bytes } <= 50)
            #expect(running.count == 1 || running.reduce(0) { $0 + $1.bytes } <= 120)
        }
        func finish(_ index: Int) {
            let done = running.remove(at: index)
            // All of them are released before the next is judged: the limiter has counted them together.
            for call in limiter.finished(done.target, bytes: done.bytes) { start(call) }
        }
        for call in 0..<500 {
            let target = ["a", "b", "c", "d"][Int.random(in: 0..<4, using: &random)]
            let bytes = Int.random(in: 0..<60, using: &random)
            facts[call] = (target, bytes)
            switch limiter.admit(call, to: target, bytes: bytes) {
            case .start:
                accepted += 1
                start(call)
            case .waits: accepted += 1
            case .refused: break
            }
            if !running.isEmpty, Bool.random(using: &random) { finish(Int.random(in: 0..<running.count, using: &random)) }
        }
        while !running.isEmpty { finish(0) }
        #expect(started == accepted && limiter.isIdle && limiter.runningBytes == 0 && limiter.waitingBytes == 0)
    }
}
