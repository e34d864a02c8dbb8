import Foundation
import Testing

@testable import IIIStorage

@Suite struct StoreToolTests {
    @Test func aRunningStoreIsBackedUpAndRestoredOnceItIsStopped() async throws {
        let scratch = try ScratchDirectory()
        let tool = StoreTool(directory: scratch.path + "/data")
        let backup = scratch.path + "/backup.db"
        let store = try StoreTests.open(scratch)
        for id in 0..<50 { try await store.write { try StoreTests.put(id, nil, size: 5000, into: $0) } }
        // Writes go on while it is copied; the copy is of one moment.
        async let more: Void = {
            for id in 50..<100 { try await store.write { try StoreTests.put(id, nil, size: 5000, into: $0) } }
        }()
        try tool.backUp(to: backup)
        try await more
        #expect(throws: StorageError.self) { try tool.backUp(to: backup) }
        let report = try tool.check()
        #expect(report.findings.isEmpty && report.schemaVersion == 1 && report.holder == "\(getpid())")
        let refusal = try #require(throws: StorageError.self) { try tool.restore(from: backup) }
        #expect(refusal.code == .inUse && refusal.message.contains("process \(getpid())"))
        store.close()

        let kept = try #require(try tool.restore(from: backup))
        #expect(fileSize(kept) > 0)
        #expect(try tool.check().holder == nil)
        let again = try StoreTests.open(scratch)
        let rows = try await StoreTests.rows(again)
        #expect((50...100).contains(rows))
        again.close()
    }

    /// As a process has it that was forked and has not come to its `exec` yet.
    @Test func aCopyOfTheDescriptorDoesNotKeepTheLock() throws {
        let scratch = try ScratchDirectory()
        let path = scratch.path + "/store.lock"
        var lock: StoreLock? = try StoreLock(path: path)
        #expect(StoreLock.holder(path: path) == "\(getpid())" && lock?.path == path)
        let copies = try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").compactMap { name -> Int32? in
            guard let target = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\(name)"), target == path else {
                return nil
            }
            return Int32(name).map { dup($0) }
        }
        #expect(!copies.isEmpty)
        lock = nil
        #expect(StoreLock.holder(path: path) == nil)
        for copy in copies { close(copy) }
    }

    @Test func theCopyOfAStoreIsMadeWhileItRunsByItself() async throws {
        let scratch = try ScratchDirectory()
        let store = try StoreTests.open(scratch)
        try await store.write { try StoreTests.put(1, nil, into: $0) }
        try store.backUp(to: scratch.path + "/copy.db")
        store.close()
        #expect(try FileManager.default.contentsOfDirectory(atPath: scratch.path).sorted() == ["copy.db", "data"])
    }

    @Test func whatIsNoBackupChangesNothing() async throws {
        let scratch = try ScratchDirectory()
        let tool = StoreTool(directory: scratch.path + "/data")
        let store = try StoreTests.open(scratch)
        try await store.write { try StoreTests.put(1, nil, into: $0) }
        store.close()
        let path = scratch.path + "/other"
        #expect(try #require(throws: StorageError.self) { try tool.restore(from: path) }.message.contains("No such file"))
        for content in ["", "this is no database, whatever its name says"] {
            try Data(content.utf8).write(to: URL(filePath: path))
            #expect(try #require(throws: StorageError.self) { try tool.restore(from: path) }.code == .foreignFile)
        }
        let again = try StoreTests.open(scratch)
        #expect(try await StoreTests.rows(again) == 1)
        again.close()
    }

    @Test func aDamagedStoreIsRefusedAndRestored() async throws {
        let scratch = try ScratchDirectory()
        let tool = StoreTool(directory: scratch.path + "/data")
        let store = try StoreTests.open(scratch)
        for id in 0..<50 { try await store.write { try StoreTests.put(id, nil, size: 3000, into: $0) } }
        try store.backUp(to: scratch.path + "/backup.db")
        store.close()
        // The head of a page in the middle.
        for offset in 0..<8 { try flip(scratch.path + "/data/store.db", at: 4096 * 5 + offset, with: 0xff) }
        #expect(try !tool.check().findings.isEmpty)
        #expect(throws: StorageError.self) { try tool.backUp(to: scratch.path + "/bad.db") }
        _ = try tool.restore(from: scratch.path + "/backup.db")
        #expect(try tool.check().findings.isEmpty)
        let again = try StoreTests.open(scratch)
        #expect(try await StoreTests.rows(again) == 50)
        again.close()
    }

    @Test func aStoreThatIsNotThereIsNotMadeByLooking() throws {
        let scratch = try ScratchDirectory()
        #expect(throws: StorageError.self) { try StoreTool(directory: scratch.path + "/data").check() }
        #expect(!FileManager.default.fileExists(atPath: scratch.path + "/data"))
    }
}
