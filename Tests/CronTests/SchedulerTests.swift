import IIIProtocol
import Testing

@testable import IIICron

/// What fires when, on a clock of the test: the cases that others got wrong, and the policies.
@Suite struct SchedulerTests {
    // MARK: Clocks

    @Test func anEarlyWakeUpFiresNothingAndNothingTwice() throws {
        var cron = CronSimulation("2026-01-01T11:30:00")
        try cron.register("a", ["expression": "0 0 * * * *"])
        cron.serve()
        cron.now = ExpressionTests.epoch("2026-01-01T12:00:00") * 1_000 - 3
        cron.wake()
        #expect(cron.calls.isEmpty)
        cron.setClock("2026-01-01T11:59:55")
        cron.wake()
        #expect(cron.calls.isEmpty)
        cron.run(until: "2026-01-01T12:59:59")
        #expect(cron.ticks == ["2026-01-01T12:00:00"])
        #expect(cron.scheduler.job("a")?.next == ExpressionTests.epoch("2026-01-01T13:00:00"))
    }

    @Test func wakeLatencyDoesNotAddUp() throws {
        var cron = CronSimulation("2026-09-08T16:14:09")
        cron.now += 1
        try cron.register("a", ["expression": "* * * * * *"])
        cron.serve()
        cron.run(untilMilliseconds: cron.now + 10_000_000, wakeLatency: 3)
        let first = ExpressionTests.epoch("2026-09-08T16:14:10")
        #expect(cron.calls.map(\.tick) == Array(first..<(first + cron.calls.count)) && cron.calls.count >= 9_999)
        #expect(cron.calls.allSatisfy { $0.at == $0.tick * 1_000 + 3 })
    }

    @Test func aClockThatWasAheadForAMinuteSilencesNothing() throws {
        var cron = CronSimulation("2026-01-01T15:00:30")
        try cron.register("a", ["expression": "0 * * * * *"])
        cron.serve()
        cron.setClock("2026-01-01T17:00:30")
        cron.run(until: "2026-01-01T17:01:30")
        cron.setClock("2026-01-01T15:01:30")
        let before = cron.calls.count
        cron.run(until: "2026-01-01T17:30:00")
        let after = cron.calls.dropFirst(before).map(\.tick)
        #expect(after.first == ExpressionTests.epoch("2026-01-01T15:02:00"))
        #expect(Set(cron.calls.map(\.tick)).count == cron.calls.count, "a tick was fired twice")
        // One a minute, but for those that were fired ahead of their time.
        #expect(cron.calls.count >= before + 145)
    }

    @Test func aStepForwardFiresWhatIsNotTooLateAndCountsTheRest() throws {
        var cron = CronSimulation("2026-01-01T15:00:30")
        try cron.register("daily", ["expression": "0 0 16 * * *"])
        try cron.register("minutely", ["expression": "0 * * * * *"], function: "jobs::two")
        cron.serve()
        cron.setClock("2026-01-01T16:00:02")
        #expect(cron.calls.contains { $0.id == "daily" && $0.at - $0.tick * 1_000 == 2_000 })
        #expect(cron.skips.first == .init(tick: ExpressionTests.epoch("2026-01-01T15:58:00"), reason: .missed, count: 58))
    }

    @Test func aYearInAZoneOnSimulatedTime() throws {
        var cron = CronSimulation("2026-01-01T00:00:00")
        try cron.register("fixed", ["expression": "0 30 2 * * *", "timezone": "America/New_York"])
        try cron.register("hourly", ["expression": "0 0 * * * *", "timezone": "America/New_York"], function: "jobs::two")
        cron.serve()
        cron.run(until: "2027-01-01T05:00:00")
        let fixed = cron.calls.filter { $0.id == "fixed" }
        #expect(fixed.count == 365, "once a day, also on the days of the changes")
        #expect(cron.calls.filter { $0.id == "hourly" }.count == 365 * 24 + 5, "every hour that passed")
        #expect(cron.calls.allSatisfy { $0.at == $0.tick * 1_000 })
        #expect(cron.skips.isEmpty)
    }

    // MARK: Catching up

    static func after(_ policy: String, _ expression: String, last: String, until: String) throws -> CronSimulation {
        let config: JSONValue = ["expression": .string(expression), "key": "job", "catch_up": .string(policy)]
        var before = CronSimulation(last)
        before.now -= 500
        try before.register("a", config)
        before.serve()
        before.run(until: last)
        #expect(before.ticks.last == last)
        // The process is gone; what it has stored is there.
        var cron = CronSimulation(until, claims: before.claims, memories: before.memories)
        try cron.register("b", config)
        cron.serve()
        return cron
    }

    @Test func policiesAfterAShortDowntime() throws {
        func ticks(_ policy: String) throws -> [String] {
            var cron = try Self.after(policy, "0/15 * * * * ?", last: "2026-01-01T16:43:45", until: "2026-01-01T16:44:42")
            cron.run(until: "2026-01-01T16:44:59")
            return cron.ticks.map { String($0.suffix(8)) }
        }
        #expect(try ticks("none") == ["16:44:45"])
        #expect(try ticks("last") == ["16:44:30", "16:44:45"])
        #expect(try ticks("all") == ["16:44:00", "16:44:15", "16:44:30", "16:44:45"])
    }

    @Test func aSlowCatchUpSkipsTheOrdinaryTickAndRunsInOrder() throws {
        var cron = try Self.after("all", "0/15 * * * * ?", last: "2026-01-01T16:43:45", until: "2026-01-01T16:44:42")
        #expect(cron.ticks == cron.times("2026-01-01", "16:44:00"), "one after the other")
        cron.duration = 2_000
        cron.run(until: "2026-01-01T16:44:59")
        #expect(cron.ticks == cron.times("2026-01-01", "16:44:00", "16:44:15", "16:44:30"))
        #expect(cron.calls.allSatisfy { $0.kind == .catchUp })
        #expect(cron.skips.contains { $0.reason == .overlap && $0.tick == ExpressionTests.epoch("2026-01-01T16:44:45") })
    }

    @Test func fifteenDaysOfMissedMinutesAreBounded() throws {
        for (policy, expected) in [("none", 0), ("last", 1), ("all", 100)] {
            var cron = try Self.after(policy, "0 * * * * *", last: "2026-01-01T00:00:00", until: "2026-01-16T00:00:30")
            cron.run(until: "2026-01-16T00:00:59")
            #expect(cron.calls.count == expected)
            #expect(cron.ticks == cron.ticks.sorted())
            if let newest = cron.ticks.last { #expect(newest == "2026-01-16T00:00:00") }
            cron.run(until: "2026-01-16T00:05:59")
            #expect(cron.calls.count == expected + 5, "\(policy): ordinary ticks go on")
        }
    }

    @Test func anEditedScheduleOwesNothing() throws {
        var cron = CronSimulation("2017-12-29T11:00:00")
        try cron.register("a", ["expression": "0 30 11 * * Fri", "key": "news", "catch_up": "last"])
        cron.serve()
        cron.run(until: "2018-01-04T23:49:00")
        cron.unregister("a", isWithdrawn: false)
        try cron.register("b", ["expression": "0 0 11 * * Fri", "key": "news", "catch_up": "last"])
        cron.run(until: "2018-01-05T11:00:00")
        #expect(cron.ticks == ["2017-12-29T11:30:00", "2018-01-05T11:00:00"])
    }

    @Test func whatItsOwnerTookBackOwesNothingAndWhatWasCutOffDoes() throws {
        for (isWithdrawn, expected) in [(true, 0), (false, 1)] {
            var cron = CronSimulation("2026-01-01T00:00:30")
            let config: JSONValue = ["expression": "0 * * * * *", "catch_up": "last"]
            try cron.register("a", config)
            cron.serve()
            cron.unregister("a", isWithdrawn: isWithdrawn)
            cron.run(until: "2026-01-01T00:10:30")
            try cron.register("b", config)
            #expect(cron.calls.count == expected)
        }
    }

    @Test func theStartingDeadlineComesBeforeCatchingUp() throws {
        let config: JSONValue = ["expression": "0 0 * * * *", "key": "job", "catch_up": "all", "starting_deadline_ms": 7_200_000]
        var before = CronSimulation("2026-01-01T00:59:59")
        try before.register("a", config)
        before.serve()
        before.run(until: "2026-01-01T01:00:00")
        var cron = CronSimulation("2026-01-01T10:30:00", claims: before.claims, memories: before.memories)
        try cron.register("a", config)
        cron.serve()
        cron.run(until: "2026-01-01T10:31:00")
        #expect(cron.ticks == cron.times("2026-01-01", "09:00:00", "10:00:00"))
        #expect(cron.skips.first == .init(tick: ExpressionTests.epoch("2026-01-01T10:00:00"), reason: .missed, count: 7))
    }

    @Test func whileTheEngineIsAwayTicksWaitAndAreNotTooLate() throws {
        var cron = CronSimulation("2026-01-01T00:00:30")
        try cron.register("a", ["expression": "0 * * * * *"])
        cron.serve()
        cron.scheduler.suspend()
        #expect(cron.scheduler.nextWake == nil)
        cron.run(until: "2026-01-01T00:01:20")
        cron.serve()
        #expect(cron.ticks == ["2026-01-01T00:01:00"])
    }

    // MARK: Policies

    static func busy(_ policy: String, ticks: Int = 3) throws -> CronSimulation {
        var cron = CronSimulation("2026-01-01T00:00:00")
        cron.duration = nil
        try cron.register("a", ["expression": "0/10 * * * * *", "concurrency_policy": .string(policy)])
        cron.serve()
        cron.run(untilMilliseconds: cron.now + ticks * 10_000)
        return cron
    }

    @Test func forbidSkipsTicksOfARunningJob() throws {
        var cron = try Self.busy("forbid")
        #expect(cron.calls.count == 1 && cron.skips.map(\.reason) == [.overlap, .overlap])
        cron.end(cron.calls[0].tick, .timedOut)
        cron.run(untilMilliseconds: cron.now + 10_000)
        #expect(cron.calls.count == 2 && cron.ended.first?.status == .timedOut)
    }

    @Test func allowRunsBesideIt() throws {
        #expect(try Self.busy("allow").calls.count == 3)
    }

    @Test func replaceAbandonsTheOldRun() throws {
        var cron = try Self.busy("replace")
        #expect(cron.calls.count == 3 && cron.ended.map(\.status) == [.replaced, .replaced])
        // The late answer of an abandoned run changes nothing.
        cron.end(cron.calls[0].tick)
        #expect(cron.ended.count == 2)
    }

    @Test func queueOneRunsOneMoreRightBehind() throws {
        var cron = try Self.busy("queue_one", ticks: 4)
        #expect(cron.calls.count == 1 && cron.skips.map(\.reason) == [.overlap, .overlap])
        cron.end(cron.calls[0].tick)
        #expect(cron.calls.count == 2 && cron.calls[1].tick == cron.calls[0].tick + 10)
    }

    @Test func maxRunsEndsTheJobForAllTime() throws {
        var cron = CronSimulation("2026-01-01T00:00:00")
        try cron.register("a", ["expression": "* * * * * *", "max_runs": 3])
        cron.serve()
        cron.run(until: "2026-01-01T00:01:00")
        #expect(cron.calls.count == 3 && cron.scheduler.nextWake == nil)
        try cron.register("a", ["expression": "* * * * * *", "max_runs": 3])
        cron.run(until: "2026-01-01T00:02:00")
        #expect(cron.calls.count == 3)
    }

    @Test func boundsHold() throws {
        var cron = CronSimulation("2026-01-01T00:00:00")
        try cron.register(
            "a", ["expression": "0 0 * * * *", "start_at": "2026-01-01T03:00:00Z", "end_at": "2026-01-01T06:00:00+01:00"])
        cron.serve()
        cron.run(until: "2026-01-02T00:00:00")
        #expect(cron.ticks == cron.times("2026-01-01", "03:00:00", "04:00:00", "05:00:00"))
    }

    @Test func pausedTicksAreNotMissed() throws {
        var cron = CronSimulation("2026-01-01T00:00:30")
        let config: JSONValue = ["expression": "0 * * * * *", "catch_up": "all", "paused": true]
        try cron.register("a", config)
        cron.serve()
        cron.run(until: "2026-01-01T00:10:30")
        #expect(cron.calls.isEmpty && cron.skips.allSatisfy { $0.reason == .paused })
        cron.claims.pauses[try #require(cron.scheduler.trigger("a")).identity] = false
        cron.run(until: "2026-01-01T00:11:30")
        #expect(cron.ticks == ["2026-01-01T00:11:00"])
    }

    @Test func jitterIsTheSameEverywhereAndBounded() throws {
        var (one, two) = (CronSimulation("2026-01-01T00:00:00"), CronSimulation("2026-01-01T00:00:00"))
        let config: JSONValue = ["expression": "0 * * * * *", "jitter_ms": 20_000]
        try one.register("a", config)
        try two.register("b", config)
        one.serve()
        two.serve()
        one.run(until: "2026-01-01T02:00:30")
        two.run(until: "2026-01-01T02:00:30")
        #expect(one.calls.map(\.at) == two.calls.map(\.at) && one.calls.count == 120)
        let delays = one.calls.map { $0.at - $0.tick * 1_000 }
        #expect(delays.allSatisfy { (0...20_000).contains($0) } && Set(delays).count > 100)
    }

    @Test func jitterThatIsLongerThanThePeriodLosesNoTickAndNoOrder() throws {
        for (jitter, policy) in [(86_400_000, "allow"), (5_000, "forbid"), (200_000, "forbid")] {
            var cron = CronSimulation("2026-01-01T00:00:00")
            try cron.register("a", ["expression": "*/2 * * * * *", "jitter_ms": JSONValue(jitter), "concurrency_policy": .string(policy)])
            cron.serve()
            cron.run(until: "2026-01-01T00:30:02")
            let first = ExpressionTests.epoch("2026-01-01T00:00:02")
            #expect(cron.calls.prefix(899).map(\.tick) == (0..<899).map { first + 2 * $0 })
            #expect(cron.calls.allSatisfy { (0...2_000).contains($0.at - $0.tick * 1_000) } && cron.skips.isEmpty)
        }
    }

    @Test func aTickThatHasWaitedBeyondItsDeadlineIsMissed() throws {
        var cron = CronSimulation("2026-01-01T00:00:00")
        cron.duration = nil
        try cron.register("a", ["expression": "0/10 * * * * *", "concurrency_policy": "queue_one", "starting_deadline_ms": 25_000])
        cron.serve()
        cron.run(until: "2026-01-01T00:00:50")
        cron.end(cron.calls[0].tick)
        #expect(cron.calls.count == 1 && cron.skips.last == .init(tick: cron.calls[0].tick + 10, reason: .missed, count: 1))
        #expect(cron.claims.table.values.allSatisfy { !$0.isOpen })
        cron.run(until: "2026-01-01T00:01:00")
        #expect(cron.calls.count == 2, "the next tick fires")
    }

    @Test func aReplacedRunLeavesNoOpenClaim() throws {
        let cron = try Self.busy("replace")
        #expect(cron.claims.table.values.filter(\.isOpen).count == 1, "that of the run under way")
    }

    @Test func aRunThatLostItsLeaseLeavesItsClaimOpenOnlyForARetry() throws {
        for (policy, isOpen) in [("skip", false), ("retry", true)] {
            var cron = CronSimulation("2026-01-01T00:00:00")
            cron.duration = nil
            try cron.register("a", ["expression": "0 * * * * *", "on_lost_claim": .string(policy)])
            cron.serve()
            cron.run(until: "2026-01-01T00:01:00")
            let fire = try #require(cron.scheduler.fires.keys.first)
            cron.perform(cron.scheduler.leaseLost(fire, now: cron.now))
            #expect(cron.claims.table.values.map(\.isOpen) == [isOpen] && cron.ended.map(\.status) == [.lost])
        }
    }

    /// The fire that these effects ask a claim for.
    private static func claim(_ effects: [CronEffect]) throws -> Fire {
        try #require(effects.lazy.compactMap { if case .claim(let fire) = $0 { fire } else { nil } }.first)
    }

    @Test func aClaimOfWhichNothingWasHeardIsGivenBack() throws {
        var cron = CronSimulation("2026-01-01T00:00:00")
        try cron.register("a", ["expression": "0 * * * * *"])
        cron.serve()
        cron.now = ExpressionTests.epoch("2026-01-01T00:01:00") * 1_000
        let effects = cron.scheduler.advance(now: cron.now)
        let fire = try Self.claim(effects)
        let answer = cron.scheduler.claimFailed(fire.id, now: cron.now)
        #expect(answer.contains { if case .release(let given) = $0 { given.id == fire.id } else { false } })
    }

    @Test func theLateAnswerAboutATriggerThatWasChangedDoesNotEndTheNewOne() throws {
        var cron = CronSimulation("2026-01-01T00:00:00")
        try cron.register("a", ["expression": "0 * * * * *", "max_runs": 1])
        cron.serve()
        cron.now = ExpressionTests.epoch("2026-01-01T00:01:00") * 1_000
        let fire = try Self.claim(cron.scheduler.advance(now: cron.now))
        try cron.register("a", ["expression": "0 * * * * *"])
        cron.perform(cron.scheduler.claimed(fire.id, .exhausted, now: cron.now))
        cron.run(until: "2026-01-01T00:02:00")
        #expect(cron.ticks == ["2026-01-01T00:02:00"])
    }

    @Test func aManualRunIsBesideTheSchedule() throws {
        var cron = CronSimulation("2026-01-01T00:00:30")
        cron.duration = nil
        try cron.register("a", ["expression": "0 0 * * * *", "paused": true])
        cron.serve()
        let trigger = try #require(cron.scheduler.trigger("a"))
        let run = cron.scheduler.runByHand(trigger, now: cron.now)
        cron.perform(run?.effects ?? [])
        #expect(cron.calls.map(\.kind) == [.manual])
        let second = cron.scheduler.runByHand(trigger, now: cron.now)
        #expect(second == nil, "forbid holds for it")
    }

    // MARK: Identity

    @Test func twoDeliberateRegistrationsBothFireAndOneOnTwoEnginesOnce() throws {
        let claims = CronSimulation.Claims()
        var (one, two) = (CronSimulation("2026-01-01T00:00:30", claims: claims), CronSimulation("2026-01-01T00:00:30", claims: claims))
        // Ids are random per process: the engines know different ones.
        for id in ["a", "c"] { try one.register(id, ["expression": "0 * * * * *"]) }
        for id in ["b", "d"] { try two.register(id, ["expression": "0 * * * * ?"]) }
        one.serve()
        two.serve()
        one.run(until: "2026-01-01T00:10:30")
        two.run(until: "2026-01-01T00:10:30")
        #expect(one.calls.count + two.calls.count == 20)
    }

    @Test func replicasWithAKeyFireOnce() throws {
        var cron = CronSimulation("2026-01-01T00:00:30")
        for id in ["a", "b", "c"] { try cron.register(id, ["expression": "0 * * * * *", "key": "report"]) }
        cron.serve()
        cron.run(until: "2026-01-01T00:10:30")
        #expect(cron.calls.count == 10 && Set(cron.calls.map(\.tick)).count == 10)
        cron.unregister("a", isWithdrawn: false)
        cron.run(until: "2026-01-01T00:20:30")
        #expect(cron.calls.count == 20)
    }

    @Test(arguments: [2, 50]) func clocksThatDifferFireEveryTickOnce(seconds: Int) throws {
        let claims = CronSimulation.Claims()
        var one = CronSimulation("2026-01-01T00:00:30", claims: claims)
        var two = CronSimulation("2026-01-01T00:00:30", claims: claims)
        one.duration = 5
        two.duration = 5
        two.now += seconds * 1_000
        try one.register("a", ["expression": "0 * * * * *", "key": "k"])
        try two.register("b", ["expression": "0 * * * * *", "key": "k"])
        one.serve()
        two.serve()
        for minute in 1...10 {
            let end = ExpressionTests.epoch("2026-01-01T00:00:30") * 1_000 + minute * 60_000
            two.run(untilMilliseconds: end + seconds * 1_000)
            one.run(untilMilliseconds: end)
        }
        let ticks = (one.calls + two.calls).map(\.tick)
        #expect(Set(ticks).count == ticks.count && ticks.count >= 10)
    }

    @Test func anErrorOfTheLockStoreIsNoClaim() throws {
        for (policy, expected) in [("skip", 0), ("run", 3)] {
            var cron = CronSimulation("2026-01-01T00:00:30")
            try cron.register("a", ["expression": "0 * * * * *", "on_lock_error": .string(policy)])
            cron.serve()
            cron.claims.isAway = true
            cron.run(until: "2026-01-01T00:03:30")
            #expect(cron.calls.count == expected)
            cron.claims.isAway = false
            cron.run(until: "2026-01-01T00:04:30")
            #expect(cron.calls.count == expected + 1)
        }
    }

    @Test func aLostClaimStaysLostOrIsRetriedOnce() throws {
        for (policy, expected) in [("skip", []), ("retry", [2])] {
            let config: JSONValue = ["expression": "0 * * * * *", "on_lost_claim": .string(policy)]
            var before = CronSimulation("2026-01-01T00:00:30")
            before.duration = nil
            try before.register("a", config)
            before.serve()
            before.run(until: "2026-01-01T00:01:00")
            let trigger = try #require(before.scheduler.trigger("a"))
            let tick = before.calls[0].tick
            let left = HeldClaim(identity: trigger.identity, ordinal: 0, tick: tick, owner: "gone", lease: .tick)
            var cron = CronSimulation("2026-01-01T00:01:20", claims: before.claims, left: [left])
            cron.serve()
            try cron.register("b", config)
            cron.run(until: "2026-01-01T00:01:30")
            #expect(cron.calls.map(\.attempt) == expected)
            #expect(cron.ended.contains { $0.tick == tick && $0.status == .lost })
            cron.run(until: "2026-01-01T00:02:00")
            #expect(cron.calls.last?.tick == tick + 60, "the next tick fires")
        }
    }

    // MARK: Bounds

    @Test func moreThanCanBeUnderWayWaitsInsteadOfBeingLost() throws {
        var cron = CronSimulation("2026-01-01T00:00:30")
        cron.scheduler = Scheduler(limits: .init(fires: 10))
        cron.duration = 100
        for index in 0..<100 { try cron.register("\(index)", ["expression": "0 * * * * *"], function: "jobs::\(index)") }
        cron.serve()
        cron.run(until: "2026-01-01T00:01:30")
        #expect(cron.calls.count == 100 && cron.skips.isEmpty)
        #expect(cron.calls.map(\.at).max() ?? 0 <= ExpressionTests.epoch("2026-01-01T00:01:01") * 1_000)
    }

    @Test func registrationsThatComeAndGoLeaveNothingBehind() throws {
        var cron = CronSimulation("2026-01-01T00:00:30")
        cron.serve()
        for round in 0..<50 {
            for index in 0..<100 { try cron.register("\(round)-\(index)", ["expression": "0 * * * * *"]) }
            cron.run(untilMilliseconds: cron.now + 60_000)
            for index in 0..<100 { cron.unregister("\(round)-\(index)", isWithdrawn: true) }
        }
        #expect(cron.calls.count == 5_000)
        #expect(cron.scheduler.count == 0 && cron.scheduler.lanes.isEmpty && cron.scheduler.peers.isEmpty)
        #expect(cron.scheduler.heap.count <= 200 && cron.scheduler.slots.count == 100)
    }

    @Test func lanesGoWithTheTriggersThatHadThem() throws {
        var cron = CronSimulation("2026-01-01T00:00:30")
        cron.serve()
        for id in ["a", "b", "c"] { try cron.register(id, ["expression": "0 * * * * *"]) }
        cron.run(until: "2026-01-01T00:01:30")
        #expect(cron.scheduler.lanes.count == 3)
        cron.unregister("b", isWithdrawn: true)
        #expect(cron.scheduler.lanes.count == 2)
        cron.duration = nil
        cron.run(until: "2026-01-01T00:02:00")
        cron.unregister("a", isWithdrawn: true)
        cron.unregister("c", isWithdrawn: true)
        #expect(cron.scheduler.lanes.count == 2, "runs are under way")
        for fire in cron.scheduler.fires.keys.sorted() { cron.perform(cron.scheduler.ended(fire, .ok, now: cron.now)) }
        #expect(cron.scheduler.lanes.isEmpty)
    }

    /// What a worker with many triggers leaves when it goes must not hold up everybody else's ticks.
    @Test(.timeLimit(.minutes(1))) func thousandsOfJobsThatHaveFiredGoInNoTime() throws {
        var cron = CronSimulation("2026-01-01T00:00:30")
        cron.serve()
        for index in 0..<30_000 {
            // Half of them equal, half of them jobs of their own.
            try cron.register("\(index)", ["expression": "0 * * * * *", "key": index % 2 == 0 ? .null : .string("k\(index)")])
        }
        cron.now = ExpressionTests.epoch("2026-01-01T00:01:00") * 1_000
        cron.wake()
        for index in 0..<30_000 { cron.unregister("\(index)", isWithdrawn: false) }
        for fire in cron.scheduler.fires.keys.sorted() { cron.perform(cron.scheduler.ended(fire, .ok, now: cron.now)) }
        #expect(cron.scheduler.lanes.isEmpty && cron.scheduler.count == 0)
    }

    @Test func claimsThatWereLeftAreSettledWhenTheirJobsComeBackOrAreTooOld() throws {
        var before = CronSimulation("2026-01-01T00:00:30")
        try before.register("a", ["expression": "0 * * * * *", "key": "back"])
        let identity = try #require(before.scheduler.trigger("a")).identity
        let tick = ExpressionTests.epoch("2026-01-01T00:00:00")
        let left = [
            HeldClaim(identity: identity, ordinal: 0, tick: tick, owner: "one", lease: .tick),
            HeldClaim(identity: "key:default:gone", ordinal: 0, tick: tick, owner: "two", lease: .tick),
        ]
        var cron = CronSimulation("2026-01-01T00:00:30", left: left)
        cron.serve()
        #expect(cron.scheduler.left.count == 2)
        try cron.register("a", ["expression": "0 * * * * *", "key": "back"])
        #expect(cron.scheduler.left.keys.map { $0 } == ["key:default:gone"] && cron.ended.map(\.status) == [.lost])
        cron.run(until: "2026-01-01T01:01:00")
        #expect(cron.scheduler.left.isEmpty && cron.scheduler.oldestLeft == nil)
    }

    @Test func jobsThatNobodyRegistersAnyMoreAreForgottenAtTheBound() throws {
        var cron = CronSimulation("2026-01-01T00:00:30")
        cron.scheduler = Scheduler(limits: .init(memories: 100))
        cron.serve()
        for index in 0..<1_000 {
            try cron.register("\(index)", ["expression": "0 * * * * *", "key": .string("k\(index)"), "catch_up": "last"])
            cron.unregister("\(index)", isWithdrawn: false)
        }
        #expect(cron.scheduler.memories.count <= 100 && cron.memories.compactMapValues { $0 }.count <= 100)
    }

    @Test func listingGoesThroughAllInPages() throws {
        var cron = CronSimulation("2026-01-01T00:00:30")
        for index in (0..<250).shuffled() {
            try cron.register("t\(1_000 + index)", ["expression": "@daily"], function: index % 2 == 0 ? "jobs::even" : "jobs::odd")
        }
        var seen: [String] = []
        while true {
            let page = cron.scheduler.page(after: seen.last, limit: 40, function: "jobs::even")
            #expect(page.total == 125)
            seen += page.triggers.map(\.id)
            if page.isLast { break }
        }
        #expect(seen == stride(from: 1_000, to: 1_250, by: 2).map { "t\($0)" })
    }
}
