import IIIProtocol
import IIITelemetry
import Testing

@testable import IIIEngine

@Suite struct FunctionStatisticsTests {
    private static func key(_ number: Int) -> FunctionKey { FunctionKey("f::\(number)") }

    private static func total(_ table: FunctionStatisticsTable) -> UInt64 {
        table.all.reduce(0) { $0 + $1.succeeded.count + $1.failed.count }
    }

    @Test func theFirstKeepTheirsAndTheRestShare() {
        var table = FunctionStatisticsTable(maximum: 10)
        for number in 0..<1_000 { table.statistics(of: Self.key(number), isRegistered: { _ in true }).succeeded(after: 1) }
        #expect(table.own.count == 10 && table.own[Self.key(0)]?.succeeded.count == 1)
        #expect(table.others.succeeded.count == 990 && Self.total(table) == 1_000)
    }

    @Test func thoseThatAreGoneMakeRoomAndNothingIsLost() {
        var table = FunctionStatisticsTable(maximum: 10)
        var early: [FunctionStatistics] = []
        for number in 0..<10 { early.append(table.statistics(of: Self.key(number), isRegistered: { _ in true })) }
        for statistics in early { statistics.succeeded(after: 1) }
        let new = table.statistics(of: Self.key(10), isRegistered: { $0 != Self.key(3) })
        #expect(new.key == Self.key(10) && table.own[Self.key(3)] == nil && table.others.succeeded.count == 1)
        // A call of the function that is gone ends late.
        early[3].failed("invocation_stopped", after: 1)
        #expect(table.others.failed.count == 1 && table.others.errors == ["invocation_stopped": 1] && Self.total(table) == 11)
    }

    @Test func durationsFallIntoTheirRange() {
        let statistics = FunctionStatistics(key: Self.key(0))
        for nanoseconds in [0, 500_000, 500_001, 60_000_000_000, 60_000_000_001] as [Int64] { statistics.succeeded(after: nanoseconds) }
        let buckets = statistics.succeeded.buckets
        #expect(buckets.first == 2 && buckets[1] == 1 && buckets[buckets.count - 2] == 1 && buckets.last == 1)
        guard case .histogram(let bounds, let counts, _) = statistics.succeeded.histogram else { return #expect(Bool(false)) }
        #expect(bounds.first == 0.0005 && bounds.last == 60 && counts == buckets)
    }

    @Test func calleesCannotInventCodesWithoutEnd() {
        let statistics = FunctionStatistics(key: Self.key(0))
        for number in 0..<1_000 { statistics.failed("code \(number)", after: 1) }
        statistics.failed(String(repeating: "x", count: 65), after: 1)
        #expect(statistics.errors.count == FunctionStatistics.maximumCodes + 1 && statistics.errors["other"] == 985)
    }
}

@Suite struct MetricFramesTests {
    private final class Peer {}

    @Test func theNewestOfEachIsKeptWithinTheTotal() {
        var frames = MetricFrames()
        let peers = (0..<3).map { _ in Peer() }
        func keep(_ text: String, _ peer: Peer) -> Bool {
            Array(text.utf8).withUnsafeBytes { frames.keep($0, of: ObjectIdentifier(peer), maximumBytes: 10) }
        }
        #expect(keep("aaaa", peers[0]) && keep("bbbb", peers[1]) && !keep("cccc", peers[2]))
        #expect(keep("AAAAAA", peers[0]) && frames.bytes == 10)
        #expect(!keep("AAAAAAA", peers[0]) && frames.bytes == 4, "what is too long now is not shown as it was")
        #expect(frames[ObjectIdentifier(peers[1])] == Array("bbbb".utf8))
        frames.forget(ObjectIdentifier(peers[1]))
        #expect(frames.bytes == 0 && frames.count == 0)
    }
}
