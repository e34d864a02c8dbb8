import Testing

@testable import IIISupervision

@Suite struct SaveStabilityTests {
    static func content(_ size: Int64, inode: UInt64 = 1) -> SaveStability.Fingerprint {
        SaveStability.Fingerprint(device: 1, inode: inode, size: size, mode: 0o100644, seconds: 0, nanoseconds: 0)
    }

    @Test func aChangeIsDueOnceWhenItHasBeenStill() {
        var save = SaveStability(Self.content(10))
        save.observed(Self.content(10), now: .seconds(1))
        #expect(save.deadline == nil)
        save.observed(Self.content(0), now: .seconds(2))
        save.observed(Self.content(20), now: .milliseconds(2400))
        #expect(save.deadline == .milliseconds(2400) + SaveStability.debounce)
        #expect(save.isDue(now: .milliseconds(2600)) == false)
        #expect(save.isDue(now: .seconds(3)) == true)
        #expect(save.isDue(now: .seconds(4)) == false)
        #expect(save.deadline == nil)
    }

    @Test func whoeverHasTheFileOpenIsWaitedFor() {
        var save = SaveStability(Self.content(10))
        save.written(now: .seconds(1))
        save.observed(Self.content(0), now: .seconds(1))
        #expect(save.isDue(now: .seconds(5)) == false)
        save.written(now: .seconds(6))
        save.closed()
        #expect(save.isDue(now: .seconds(6) + SaveStability.debounce) == true)
    }

    @Test func aWriterWhoNeverClosesIsNotWaitedForForEver() {
        var save = SaveStability(Self.content(10))
        save.written(now: .seconds(1))
        #expect(save.deadline == .seconds(1) + SaveStability.writerPatience)
        #expect(save.isDue(now: .seconds(1) + SaveStability.writerPatience) == true)
    }

    @Test func aFileThatIsRenamedOverHasNoWriter() {
        var save = SaveStability(Self.content(10))
        save.written(now: .seconds(1))
        save.observed(Self.content(10, inode: 2), now: .seconds(2))
        #expect(save.isDue(now: .seconds(2) + SaveStability.debounce) == true)
    }

    @Test func aWriteThatLeavesSizeAndTimeIsAChange() {
        var save = SaveStability(Self.content(10))
        save.written(now: .seconds(1))
        save.closed()
        save.observed(Self.content(10), now: .seconds(1))
        #expect(save.isDue(now: .seconds(2)) == true)
    }

    @Test func aFileThatIsGoneIsNoChangeAndItsReturnIsOne() {
        var save = SaveStability(Self.content(10))
        save.observed(nil, now: .seconds(1))
        #expect(save.deadline == nil)
        save.observed(Self.content(10, inode: 2), now: .seconds(2))
        #expect(save.deadline != nil)
    }

    @Test func aRemovalIsHeldUntilTheFileHasBeenStillForLonger() {
        var save = SaveStability(Self.content(10))
        save.observed(Self.content(5), now: .seconds(1))
        #expect(save.isDue(now: .seconds(2)) == true)
        #expect(save.hold(for: .seconds(3), now: .seconds(2)) == true)
        #expect(save.isDue(now: .seconds(3)) == false)
        #expect(save.isDue(now: .seconds(4)) == true)
        #expect(save.hold(for: .seconds(3), now: .seconds(4)) == false)
        // The rest of the file comes meanwhile.
        save.observed(Self.content(6), now: .seconds(5))
        #expect(save.isDue(now: .seconds(6)) == true)
        #expect(save.hold(for: .seconds(3), now: .seconds(6)) == true)
        save.observed(Self.content(9), now: .seconds(7))
        #expect(save.isDue(now: .milliseconds(7500)) == true)
    }

    @Test func whatSomebodyHasReadAlreadyIsNotDue() {
        var save = SaveStability(Self.content(10))
        save.observed(Self.content(5), now: .seconds(1))
        save.wasRead()
        #expect(save.isDue(now: .seconds(9)) == false)
    }
}
