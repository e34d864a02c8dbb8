import IIIStorage
import IIITelemetry
import Logging
import Testing

@testable import IIICron

/// What is kept of runs, and for how long.
@Suite struct JournalTests {
    static func record(_ number: Int, started: Int = WallClock.milliseconds(), status: RunStatus = .running) -> RunRecord {
        RunRecord(
            owner: "o\(number)", triggerID: "t\(number % 2)", identity: "i\(number % 2)", functionID: "f", kind: .tick, tick: number,
            attempt: 1, started: started, ended: status == .running ? nil : started + 5, status: status)
    }

    static func with(_ body: (any RunJournal) async throws -> Void) async throws {
        try await ClaimTests.withStore { store in
            try await body(StoredJournal(store: store, limits: HistoryLimits(), logger: Logger(label: "journal")))
        }
        try await body(MemoryJournal(limits: HistoryLimits()))
    }

    @Test func theNewestRunsComeFirstAndFiltersHold() async throws {
        try await Self.with { (journal: any RunJournal) async throws in
            for number in 1...10 { journal.began(Self.record(number)) }
            for number in 1...9 { journal.ended(Self.record(number, status: number == 3 ? .error : .ok)) }
            let all = try await journal.history(HistoryQuery())
            #expect(all.map(\.tick) == Array((1...10).reversed()) && all[0].status == .running && all[1].status == .ok)
            #expect(try await journal.history(HistoryQuery(triggerID: "t1", limit: 2)).map(\.tick) == [9, 7])
            #expect(try await journal.history(HistoryQuery(identity: "i0", status: .ok)).map(\.tick) == [8, 6, 4, 2])
            #expect(try await journal.history(HistoryQuery(functionID: "f", status: .error)).map(\.tick) == [3])
            #expect(try await journal.history(HistoryQuery(functionID: "g")).isEmpty)
        }
    }

    @Test func ofAShortRunOnlyTheEndIsWrittenAndOfALongOneTheBeginningToo() async throws {
        try await ClaimTests.withStore { store in
            let journal = StoredJournal(store: store, limits: HistoryLimits(), logger: Logger(label: "journal"))
            let before = store.status().numbers.writes
            journal.began(Self.record(1))
            journal.ended(Self.record(1, status: .ok))
            await journal.flush()
            #expect(store.status().numbers.writes == before + 2, "its end, and the flush")
            journal.began(Self.record(2))
            // By itself, without anybody asking.
            let count = SQL("SELECT count(*) FROM runs")
            while try await store.read({ try $0.first(count, { _ in }, { $0.int(0) }) }) != 2 {
                try await Task.sleep(for: .milliseconds(10))
            }
            #expect(try await journal.history(HistoryQuery()).map(\.status) == [.running, .ok])
        }
    }

    @Test func whatIsTooOldIsNotShown() async throws {
        try await Self.with { (journal: any RunJournal) async throws in
            journal.ended(Self.record(1, started: WallClock.milliseconds() - 8 * 86_400_000, status: .ok))
            journal.ended(Self.record(2, status: .ok))
            #expect(try await journal.history(HistoryQuery()).map(\.tick) == [2])
        }
    }

    @Test func theNumberOfRunsIsBounded() async throws {
        try await ClaimTests.withStore { store in
            let journal = StoredJournal(store: store, limits: HistoryLimits(maximumRuns: 100), logger: Logger(label: "journal"))
            for number in 1...2_000 { journal.ended(Self.record(number, status: .ok)) }
            await journal.flush()
            let count = try await store.read { try $0.first(SQL("SELECT count(*) FROM runs"), { _ in }, { $0.int(0) }) ?? 0 }
            #expect((100...400).contains(count))
            #expect(try await journal.history(HistoryQuery(limit: 1)).first?.tick == 2_000)
        }
        let memory = MemoryJournal(limits: HistoryLimits(maximumRuns: 100))
        for number in 1...2_000 { memory.ended(Self.record(number, status: .ok)) }
        #expect(await memory.history(HistoryQuery(limit: 1_000)).count <= 113)
    }

    @Test func runsOfAProcessThatDiedAreLostAndMemoriesStay() async throws {
        try await ClaimTests.withStore { store in
            let journal = StoredJournal(store: store, limits: HistoryLimits(), logger: Logger(label: "journal"))
            journal.began(Self.record(1))
            journal.began(Self.record(2))
            journal.ended(Self.record(2, status: .ok))
            let now = WallClock.milliseconds()
            let memory = JobMemory(signature: "s", since: 1, through: now / 1_000)
            journal.remember("i1", memory)
            journal.remember("i2", memory)
            journal.remember("i2", nil)
            await journal.flush()
            let next = StoredJournal(store: store, limits: HistoryLimits(), logger: Logger(label: "journal"))
            let found = try await next.load(now: now)
            #expect(found.lost == 1 && found.memories == ["i1": memory])
            #expect(try await next.history(HistoryQuery(status: .lost)).map(\.tick) == [1])
            // Known already: its row stays as it is.
            next.lost(Self.record(2, status: .lost))
            await next.flush()
            #expect(try await next.history(HistoryQuery(status: .lost)).count == 1)
        }
    }

    @Test func aChangedRowIsNotServed() async throws {
        try await ClaimTests.withStore { store in
            let journal = StoredJournal(store: store, limits: HistoryLimits(), logger: Logger(label: "journal"))
            for number in 1...3 { journal.ended(Self.record(number, status: .ok)) }
            await journal.flush()
            try await store.write { try $0.run(SQL("UPDATE runs SET tick = 99 WHERE owner = 'o2'")) { _ in } }
            #expect(try await journal.history(HistoryQuery()).map(\.tick) == [3, 1])
            await journal.flush()
            #expect(store.status().numbers.quarantinedRows == 1)
        }
    }
}
