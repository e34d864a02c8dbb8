import IIIItems
import Testing

@testable import IIIStream

/// What is left for a slow reader makes it hold what is stored.
@Suite struct SocketQueueTests {
    static let group = ItemGroup(stream: "st", name: "g")

    static func frame(_ event: StreamEvent, _ id: ItemName?, _ sequence: Int, in group: ItemGroup = group) -> StreamFrame {
        StreamFrame(event, in: group, id: id, at: StreamPosition(sequence: sequence, timestamp: 1000 + sequence), epoch: "e")
    }

    static func value(_ number: Int) -> [UInt8] { Array("\(number)".utf8) }

    static func drain(_ queue: inout SocketQueue) -> [StreamFrame] {
        var frames: [StreamFrame] = []
        while let frame = queue.popFirst() { frames.append(frame) }
        return frames
    }

    static func shown(_ frame: StreamFrame) -> String {
        let id = frame.id?.text ?? "-"
        switch frame.event {
        case .sync(let data): return "sync \(String(decoding: data, as: UTF8.self))"
        case .create(let data): return "\(id) create \(String(decoding: data, as: UTF8.self))"
        case .update(let data): return "\(id) update \(String(decoding: data, as: UTF8.self))"
        case .delete: return "\(id) delete"
        case .custom(let type, _): return "\(id) custom \(type)"
        default: return "other"
        }
    }

    /// Fills the queue until it merges: with nothing but custom events in front, so that the merge is all that happens.
    static func merged(_ events: [(ItemName, StreamEvent)]) -> [String] {
        var queue = SocketQueue()
        for (index, (id, event)) in events.enumerated() { queue.append(frame(event, id, index + 1), .init(frames: 1000)) }
        // One more than fits.
        queue.append(frame(.update(value(99)), "last", 500), .init(frames: events.count))
        return drain(&queue).map(shown)
    }

    @Test func updatesOfAnItemBecomeOne() {
        let events: [(ItemName, StreamEvent)] = (0..<10).map { ("k", .update(Self.value($0))) }
        #expect(Self.merged(events) == ["k update 9", "last update 99"])
    }

    @Test func aCreatedItemStaysCreatedWithItsNewestValue() {
        let events: [(ItemName, StreamEvent)] = [("k", .create(Self.value(1)))] + (2..<8).map { ("k", .update(Self.value($0))) }
        #expect(Self.merged(events) == ["k create 7", "last update 99"])
    }

    @Test func aDeleteTakesEverythingBeforeItAndKeepsTheCreateBehindIt() {
        let events: [(ItemName, StreamEvent)] = [
            ("k", .update(Self.value(1))), ("k", .delete(Self.value(1))), ("k", .create(Self.value(2))), ("k", .update(Self.value(3))),
            ("n", .create(Self.value(1))), ("n", .update(Self.value(2))), ("n", .delete(Self.value(2))), ("n", .create(Self.value(3))),
        ]
        #expect(Self.merged(events) == ["k delete", "k create 3", "n delete", "n create 3", "last update 99"])
    }

    @Test func numbersRiseInTheOrderThatIsLeft() {
        var queue = SocketQueue()
        for number in 1...100 {
            queue.append(Self.frame(.update(Self.value(number)), ItemName("k\(number % 7)"), number), .init(frames: 20))
        }
        let sequences = Self.drain(&queue).map(\.position.sequence)
        #expect(zip(sequences, sequences.dropFirst()).allSatisfy { $0 < $1 } && sequences.last == 100)
    }

    @Test func theFullestGroupIsToldAnewWhenMergingIsNotEnough() {
        var queue = SocketQueue()
        let other = ItemGroup(stream: "st", name: "other")
        queue.append(Self.frame(.update(Self.value(1)), "k", 1, in: other), .init(frames: 20))
        for number in 1...30 { queue.append(Self.frame(.create(Self.value(number)), ItemName("k\(number)"), number), .init(frames: 20)) }
        #expect(queue.stale == [Self.group])
        #expect(Self.drain(&queue).map(Self.shown) == ["k update 1"])
        let (stale, _, _) = queue.takeStale()
        #expect(stale == [Self.group] && queue.stale.isEmpty)
        // From then on it is told again.
        queue.append(Self.frame(.update(Self.value(2)), "k", 50), .init(frames: 20))
        #expect(Self.drain(&queue).count == 1)
    }

    @Test func theBytesAreBoundedToo() {
        var queue = SocketQueue()
        let long = Array("\"\(String(repeating: "x", count: 1000))\"".utf8)
        for number in 0..<100 { queue.append(Self.frame(.custom(type: "t", data: long), nil, number), .init(frames: 1000, bytes: 20_000)) }
        #expect(queue.bytes <= 20_000 && queue.dropped > 70)
        #expect(queue.lagged[Self.group] == queue.dropped)
    }

    @Test func snapshotsAreNoBacklog() {
        var queue = SocketQueue()
        let large = [UInt8](repeating: UInt8(ascii: "1"), count: 1 << 20)
        for number in 0..<3 { queue.append(Self.frame(.sync(large), nil, number), .init(frames: 20, bytes: 1000)) }
        #expect(Self.drain(&queue).count == 3 && queue.snapshotBytes == 0 && queue.stale.isEmpty)
    }

    /// A client of the published kind holds what is stored, whatever was merged or left out.
    @Test(arguments: 0..<40) func aClientEndsWithWhatIsStored(seed: UInt64) {
        var chance = SeededChance(seed)
        var queue = SocketQueue()
        var stored: [ItemName: Int] = [:]
        var client: [ItemName: Int] = [:]
        let limits = SocketQueue.Limits(frames: 16)
        for number in 1...400 {
            let id = ItemName("k\(chance.next(12))")
            if stored[id] != nil, chance.next(3) == 0 {
                stored[id] = nil
                queue.append(Self.frame(.delete(Self.value(number)), id, number), limits)
            } else {
                let isNew = stored.updateValue(number, forKey: id) == nil
                queue.append(Self.frame(isNew ? .create(Self.value(number)) : .update(Self.value(number)), id, number), limits)
            }
            guard chance.next(20) == 0 else { continue }
            for frame in Self.drain(&queue) { Self.apply(frame, &client) }
            let (stale, _, _) = queue.takeStale()
            if !stale.isEmpty { client = stored }
        }
        for frame in Self.drain(&queue) { Self.apply(frame, &client) }
        if !queue.takeStale().groups.isEmpty { client = stored }
        #expect(client == stored)
    }

    /// As the published clients do: a create of what is there and an update of what is not are passed over.
    private static func apply(_ frame: StreamFrame, _ client: inout [ItemName: Int]) {
        guard let id = frame.id else { return }
        switch frame.event {
        case .create(let data): if client[id] == nil { client[id] = Int(String(decoding: data, as: UTF8.self)) }
        case .update(let data): if client[id] != nil { client[id] = Int(String(decoding: data, as: UTF8.self)) }
        case .delete: client[id] = nil
        default: break
        }
    }
}

/// Numbers that are the same for the same seed.
struct SeededChance {
    private var state: UInt64
    init(_ seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }

    mutating func next(_ bound: Int) -> Int {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return Int(state % UInt64(bound))
    }
}
