import NIOCore
import Testing

@testable import IIIEngine

@Suite struct TriggerDoubtsTests {
    private let start = NIODeadline.uptimeNanoseconds(1)

    @Test func eachIsLookedAtOnceAndNotBeforeItsTime() {
        var doubts = TriggerDoubts()
        for id in ["a", "b", "a"] { doubts.add(id, due: start + .seconds(10)) }
        #expect(doubts.takeDue(start + .seconds(9), limit: 10).isEmpty && !doubts.isDue(start))
        #expect(doubts.takeDue(start + .seconds(10), limit: 1) == ["a"] && doubts.isDue(start + .seconds(10)))
        #expect(doubts.takeDue(start + .seconds(10), limit: 1) == ["b"] && doubts.nextDue == nil)
        doubts.add("a", due: start + .seconds(20))
        #expect(doubts.nextDue == start + .seconds(20))
    }

    @Test func manyBecomeAFewGroups() {
        var doubts = TriggerDoubts(maximumWaiting: 1_000, maximumGroups: 3)
        for index in 0..<1_500 { doubts.add("\(index)", due: start) }
        for id in doubts.takeDue(start, limit: 5_000) { doubts.count(.type("t\(id.utf8.count)"), id) }
        for id in ["x", "y"] { doubts.count(.function(id, namespace: "default"), id) }
        let (groups, unexamined) = doubts.takeGroups()
        #expect(groups.map(\.count) == [900, 90, 10] && groups[0].examples.count == 20)
        #expect(unexamined == 502)
        #expect(doubts.takeGroups().groups.isEmpty && doubts.takeGroups().unexamined == 0)
    }
}
