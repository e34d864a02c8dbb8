import IIIItems
import Testing

@testable import IIIStream

/// What is kept for clients that come back, and that it has an end.
@Suite struct EventHistoryTests {
    static func frame(_ sequence: Int, bytes: Int = 1) -> StreamFrame {
        StreamFrame(
            .update(Array(repeating: UInt8(ascii: "1"), count: bytes)), in: ItemGroup(stream: "st", name: "g"), id: "k",
            at: StreamPosition(sequence: sequence, timestamp: sequence * 10), epoch: "e")
    }

    @Test func whatFollowsAPlaceIsKnownUntilItIsForgotten() {
        var all = EventHistory()
        all.limits.frames = 3
        let group = GroupHistory(forgotten: 0)
        for number in 1...5 { all.append(Self.frame(number), to: group) }
        #expect(group.missed(behind: 2, of: 5)?.map(\.position.sequence) == [3, 4, 5])
        #expect(group.missed(behind: 5, of: 5)?.isEmpty == true)
        #expect(group.missed(behind: 1, of: 5) == nil)
        #expect(group.missed(behind: 6, of: 5) == nil)
        all.prune(now: 40 + all.limits.window)
        #expect(group.missed(behind: 4, of: 5)?.count == 1)
        #expect(group.missed(behind: 3, of: 5) == nil)
    }

    @Test func withoutAWindowNothingIsKept() {
        var all = EventHistory()
        all.limits.window = 0
        let group = GroupHistory(forgotten: 0)
        all.append(Self.frame(1), to: group)
        #expect(all.bytes == 0 && group.missed(behind: 0, of: 1) == nil)
        #expect(group.missed(behind: 1, of: 1)?.isEmpty == true)
    }

    /// Whatever happens, no more is kept than may be, and the books are right.
    @Test(arguments: 0..<10) func theBoundsHold(seed: UInt64) {
        var random = SeededChance(seed)
        var all = EventHistory()
        all.limits = EventHistory.Limits(window: 1000, frames: 20, total: 100, bytes: 20_000)
        let groups = (0..<6).map { _ in GroupHistory(forgotten: 0) }
        for number in 1...3000 {
            let group = groups[random.next(6)]
            all.append(Self.frame(number, bytes: random.next(2000)), to: group)
            if number % 50 == 0 { all.prune(now: number * 10) }
            if number % 171 == 0 { all.forget(group, upTo: number) }
            let kept = groups.flatMap { Array($0.frames) }
            #expect(all.count == kept.count && all.bytes == kept.reduce(0) { $0 + $1.cost })
            #expect(all.bytes <= 20_000 && kept.count <= 100 && groups.allSatisfy { $0.frames.count <= 20 })
        }
    }

    @Test func aFrameThatWaitsForManyCountsOnce() {
        let ledger = QueueLedger(limit: 10_000)
        var queues = (0..<50).map { _ in SocketQueue(ledger: ledger) }
        let (first, second) = (Self.frame(1, bytes: 3000), Self.frame(2, bytes: 3000))
        for index in queues.indices {
            queues[index].append(first, .init())
            queues[index].append(second, .init())
        }
        #expect(ledger.frames == first.bytes.count + second.bytes.count && !ledger.isOver)
        for index in queues.indices { _ = queues[index].popFirst() }
        #expect(ledger.frames == second.bytes.count)
        for index in queues.indices { queues[index].removeAll() }
        #expect(ledger.total == 0)
    }
}
