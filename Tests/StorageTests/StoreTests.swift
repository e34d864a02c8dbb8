import CSQLite
import Foundation
import Logging
import Synchronization
import Testing

@testable import IIIStorage

@Suite struct StoreTests {
    static let migrations = [
        Migration(
            sql: "CREATE TABLE items(id INTEGER PRIMARY KEY, name TEXT UNIQUE, body BLOB NOT NULL, checksum INTEGER NOT NULL) STRICT")
    ]
    static let insert = SQL("INSERT INTO items VALUES(?, ?, ?, ?)")
    static let count = SQL("SELECT count(*) FROM items")
    static let all = SQL("SELECT id, name, body, checksum FROM items ORDER BY id")

    struct Refused: Error {}

    static func open(
        _ scratch: ScratchDirectory, _ durability: Durability = .full, migrations: [Migration] = migrations,
        _ change: (inout StoreSettings) -> Void = { _ in }
    ) throws -> Store {
        var settings = StoreSettings(directory: scratch.path + "/data", durability: durability)
        change(&settings)
        return try Store.open(settings, migrations: migrations, logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }))
    }

    static func put(_ id: Int, _ name: String?, size: Int = 10, into transaction: borrowing Transaction) throws {
        try transaction.run(insert) {
            $0.int(id)
            $0.text(name)
            $0.bytes([UInt8](repeating: 1, count: size))
            $0.checksum()
        }
    }

    static func rows(_ store: Store) async throws -> Int {
        try await store.read { try $0.first(count) { $0.int(0) } ?? 0 }
    }

    @Test(arguments: Durability.allCases) func whatIsAnsweredCanBeReadAtOnceAndAfterwards(_ durability: Durability) async throws {
        let scratch = try ScratchDirectory()
        let store = try Self.open(scratch, durability)
        #expect(store.isNew)
        for id in 0..<20 {
            try await store.write { try Self.put(id, "n\(id)", into: $0) }
            #expect(try await Self.rows(store) == id + 1)
        }
        store.close()
        let again = try Self.open(scratch)
        #expect(!again.isNew && again.foundSchemaVersion == 1)
        #expect(try await Self.rows(again) == 20)
        again.close()
    }

    @Test func valuesComeBackAsTheyWere() async throws {
        let scratch = try ScratchDirectory()
        let store = try Self.open(
            scratch, migrations: [Migration(sql: "CREATE TABLE t(a INTEGER, b REAL, c TEXT, d BLOB, e INTEGER, f INTEGER) STRICT")])
        let insert = SQL("INSERT INTO t VALUES(?, ?, ?, ?, ?, ?)")
        try await store.write { transaction in
            for text in ["", "grüße\u{0}😀"] {
                try transaction.run(insert) {
                    $0.int(.min)
                    $0.double(-0.5)
                    $0.text(text)
                    $0.bytes([UInt8]())
                    $0.null()
                    $0.checksum()
                }
            }
        }
        let read = try await store.read { snapshot in
            var found: [String] = []
            try snapshot.query(SQL("SELECT * FROM t")) { row in
                let isAsWritten =
                    row.int(0) == .min && row.double(1) == -0.5 && row.bytes(3) == [] && !row.isNull(3) && row.optionalInt(4) == nil
                let isIntact = row.isIntact(columns: 0..<5)
                #expect(isAsWritten)
                #expect(isIntact)
                found.append(row.text(2))
            }
            return found
        }
        #expect(read == ["", "grüße\u{0}😀"])
        store.close()
    }

    @Test(arguments: Durability.allCases) func aRefusedWriteNeverFailsItsNeighbours(_ durability: Durability) async throws {
        let scratch = try ScratchDirectory()
        let store = try Self.open(scratch, durability)
        let outcomes = await withTaskGroup(of: (Int, Bool).self) { group in
            for id in 0..<300 {
                group.addTask {
                    do {
                        try await store.write { transaction in
                            // Some refuse before they change anything, some after, some break a rule of the schema.
                            if id % 7 == 1 { throw Refused() }
                            try Self.put(id, id % 7 == 2 ? "same" : "n\(id)", into: transaction)
                            if id % 7 == 3 { throw Refused() }
                        }
                        return (id, true)
                    } catch {
                        return (id, false)
                    }
                }
            }
            return await group.reduce(into: [Int: Bool]()) { $0[$1.0] = $1.1 }
        }
        let stored = try await store.read { snapshot in
            var ids: Set<Int> = []
            try snapshot.query(Self.all) { ids.insert($0.int(0)) }
            return ids
        }
        #expect(stored == Set(outcomes.filter(\.value).map(\.key)))
        for id in 0..<300 where ![1, 2, 3].contains(id % 7) { #expect(stored.contains(id)) }
        #expect(stored.filter { $0 % 7 == 2 }.count == 1)
        #expect(stored.allSatisfy { $0 % 7 != 1 && $0 % 7 != 3 })
        store.close()
    }

    @Test func writesOfOneCommitAreAnsweredInOneHopAndInOrder() async throws {
        let scratch = try ScratchDirectory()
        let store = try Self.open(scratch)
        let hops = Mutex(0)
        let order = Mutex<[Int]>([])
        let gate = DispatchSemaphore(value: 0)
        let done = DispatchSemaphore(value: 0)
        let executor = StoreExecutor { work in
            hops.withLock { $0 += 1 }
            work()
        }
        // Holds the writer, so that the others arrive while it is busy.
        await Self.hold(store, gate)
        for id in 0..<100 {
            store.write(on: executor) {
                try Self.put(id, nil, into: $0)
            } completion: { _ in
                if order.withLock({
                    $0.append(id); return $0.count
                }) == 100 {
                    done.signal()
                }
            }
        }
        gate.signal()
        await Self.wait(done)
        #expect(order.withLock { $0 } == Array(0..<100))
        #expect(hops.withLock { $0 } == 1)
        #expect(store.status().numbers.commits <= 3)
        store.close()
    }

    @Test func tooMuchThatWaitsIsRefusedAtOnce() async throws {
        let scratch = try ScratchDirectory()
        let store = try Self.open(scratch) {
            $0.maximumPendingWrites = 3
            $0.maximumPendingBytes = 1000
        }
        let gate = DispatchSemaphore(value: 0)
        await Self.hold(store, gate)
        store.write(cost: 600) {
            try Self.put(1, nil, into: $0)
        } completion: { _ in
        }
        let refusals = Mutex<[StorageError.Code]>([])
        func attempt(_ cost: Int) {
            store.write(cost: cost) { _ in
            } completion: { result in
                if case .failure(let error as StorageError) = result { refusals.withLock { $0.append(error.code) } }
            }
        }
        attempt(600)
        #expect(refusals.withLock { $0 } == [.overloaded])
        attempt(1)
        attempt(1)
        #expect(refusals.withLock { $0 } == [.overloaded, .overloaded])
        #expect(store.status().pendingWrites == 3)
        gate.signal()
        while store.status().pendingWrites > 0 { await Task.yield() }
        try await store.write { try Self.put(2, nil, into: $0) }
        #expect(store.status().numbers.refusedWrites == 2)
        store.close()
        await #expect(throws: StorageError.self) { try await store.write { _ in } }
    }

    @Test func aReachedQuotaFailsWhatNeedsRoomAndDeletingHelps() async throws {
        let scratch = try ScratchDirectory()
        let store = try Self.open(scratch) { $0.quota = 1 << 20 }
        var stored = 0
        var failure: StorageError?
        while failure == nil, stored < 1000 {
            do {
                try await store.write { [stored] in try Self.put(stored, nil, size: 50_000, into: $0) }
                stored += 1
            } catch let error as StorageError {
                failure = error
            }
        }
        #expect(failure?.code == .quotaExceeded && failure?.isRetryable == true)
        // Beside a large one, a small one that still fits.
        async let large: Void = store.write { try Self.put(5000, nil, size: 900_000, into: $0) }
        async let small: Void = store.write { try $0.run(SQL("DELETE FROM items WHERE id < 5")) }
        let isLargeStored = (try? await large) != nil
        #expect(!isLargeStored)
        try await small
        try await store.write { try Self.put(6000, nil, size: 50_000, into: $0) }
        #expect(try await Self.rows(store) == stored - 5 + 1)
        store.close()
    }

    @Test func aNewerSchemaIsRefused() throws {
        let scratch = try ScratchDirectory()
        try Self.open(scratch, migrations: Self.migrations + [Migration(sql: "CREATE TABLE more(id INTEGER)")]).close()
        let error = try #require(throws: StorageError.self) { try Self.open(scratch) }
        #expect(error.code == .newerSchema && error.message.contains("schema version 2") && error.message.contains("knows 1"))
        // And the refusal has changed nothing.
        try Self.open(scratch, migrations: Self.migrations + [Migration(sql: "CREATE TABLE more(id INTEGER)")]).close()
    }

    @Test func aFailedMigrationLeavesTheVersionBefore() async throws {
        let scratch = try ScratchDirectory()
        try Self.open(scratch).close()
        #expect(throws: StorageError.self) {
            try Self.open(
                scratch, migrations: Self.migrations + [Migration(sql: "CREATE TABLE more(id INTEGER); CREATE TABLE items(id INTEGER)")])
        }
        let store = try Self.open(scratch, migrations: Self.migrations + [Migration(sql: "CREATE TABLE more(id INTEGER)")])
        #expect(store.foundSchemaVersion == 1)
        store.close()
    }

    @Test func aStoreThatVanishedIsNotBegunAnew() throws {
        let scratch = try ScratchDirectory()
        try Self.open(scratch).close()
        for damage in [Data(), nil] {
            let path = scratch.path + "/data/store.db"
            if let damage { try damage.write(to: URL(filePath: path)) } else { try FileManager.default.removeItem(atPath: path) }
            let error = try #require(throws: StorageError.self) { try Self.open(scratch) }
            #expect(error.code == .corrupt && error.message.contains("gone or empty"))
        }
    }

    @Test func filesOfOthersAreRefusedUntouched() throws {
        let scratch = try ScratchDirectory()
        let directory = scratch.path + "/data"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        let path = directory + "/store.db"
        try Data("not a database at all".utf8).write(to: URL(filePath: path))
        #expect(try #require(throws: StorageError.self) { try Self.open(scratch) }.code == .foreignFile)
        #expect(try Data(contentsOf: URL(filePath: path)) == Data("not a database at all".utf8))
        try FileManager.default.removeItem(atPath: path)
        let foreign = try SQLiteConnection(path: path, access: .create)
        try foreign.execute("CREATE TABLE theirs(x)")
        foreign.close()
        #expect(try #require(throws: StorageError.self) { try Self.open(scratch) }.code == .foreignFile)
    }

    @Test func aDamagedRowIsQuarantinedNamedAndCounted() async throws {
        let scratch = try ScratchDirectory()
        let store = try Self.open(scratch)
        try await store.write { try Self.put(1, "it's", into: $0) }
        try await store.write { try Self.put(2, "two", into: $0) }
        try await store.write { try $0.run(SQL("UPDATE items SET body = x'00ff' WHERE id = 1")) }
        let damaged = try await store.read { snapshot in
            var ids: [Int] = []
            try snapshot.query(Self.all) { if !$0.isIntact(columns: 0..<3) { ids.append($0.int(0)) } }
            return ids
        }
        #expect(damaged == [1])
        #expect(try await store.write { try $0.quarantine(table: "items", row: 1, reason: "checksum") })
        #expect(try await !store.write { try $0.quarantine(table: "items", row: 1, reason: "checksum") })
        #expect(store.status().numbers.quarantinedRows == 1)
        let content = try await store.read { try $0.first(SQL("SELECT source || ': ' || content FROM iii_quarantine")) { $0.text(0) } }
        #expect(content?.hasPrefix(#"items: INSERT INTO "items"("id", "name", "body", "checksum") VALUES(1, 'it''s', X'00FF', "#) == true)
        #expect(try await Self.rows(store) == 1)
        store.close()
    }

    @Test func aReadThatNeverEndsIsEnded() async throws {
        let scratch = try ScratchDirectory()
        let store = try Self.open(scratch) { $0.readTimeout = .milliseconds(20) }
        let endless = SQL("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n")
        let error = await #expect(throws: StorageError.self) { try await store.read { try $0.first(endless) { $0.int(0) } } }
        #expect(error?.code == .timedOut)
        #expect(try await Self.rows(store) == 0)
        store.close()
    }

    @Test func readsCannotWrite() async throws {
        let scratch = try ScratchDirectory()
        let store = try Self.open(scratch)
        let error = await #expect(throws: StorageError.self) { try await store.read { try $0.query(SQL("DELETE FROM items")) { _ in } } }
        #expect(error?.code == .readOnly)
        store.close()
    }

    @Test func checksumsAreThoseOfTheStandard() {
        var fast = RowChecksum()
        var slow = RowChecksum()
        Array("123456789".utf8).withUnsafeBytes {
            fast.update($0)
            slow.updateByTable($0)
        }
        #expect(fast.value == 0xE306_9283)
        #expect(slow.value == 0xE306_9283)
    }

    /// Returns once the writer waits for `gate`.
    private static func hold(_ store: Store, _ gate: DispatchSemaphore) async {
        let held = DispatchSemaphore(value: 0)
        store.write(cost: 1) { _ in
            held.signal()
            _ = gate.wait(timeout: .now() + 600)
        } completion: { _ in
        }
        await wait(held)
    }

    private static func wait(_ semaphore: DispatchSemaphore) async {
        await withCheckedContinuation { continuation in
            DispatchQueue.global().async {
                #expect(semaphore.wait(timeout: .now() + 600) == .success)
                continuation.resume()
            }
        }
    }
}
