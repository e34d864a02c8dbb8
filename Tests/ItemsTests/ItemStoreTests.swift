import Foundation
import IIIItemsContract
import IIIStorage
import IIITelemetry
import Logging
import Testing

@testable import IIIItems

/// Both stores of the adapter `kv`, and what only the one on disk does.
@Suite struct ItemStoreTests {
    static let logger = {
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        return logger
    }()

    static func directory() -> URL { FileManager.default.temporaryDirectory.appending(path: "items-\(UUID())") }

    static func context(_ layout: ReferenceLayout = .state) -> ItemStoreContext {
        ItemStoreContext(entry: "test", layout: layout, logger: logger) { $0() }
    }

    @Test(arguments: ItemStoreContract.cases) func theStoreInMemoryKeepsItsPromises(_ promise: ItemStoreContract.Case) async throws {
        try await promise.run { MemoryItemStore(maximumBytes: 1 << 30, now: $0.now) }
    }

    @Test(arguments: ItemStoreContract.cases) func theStoreOnDiskKeepsItsPromises(_ promise: ItemStoreContract.Case) async throws {
        let directory = Self.directory()
        defer { try? FileManager.default.removeItem(at: directory) }
        try await promise.run { try EmbeddedItemStore(StoreSettings(directory: directory.path), context: $0) }
    }

    static func set(_ store: any ItemStore, _ group: ItemGroup, _ key: ItemName, _ text: String) async throws -> ItemChange {
        try await withCheckedThrowingContinuation { waiting in
            store.change(ItemAddress(group: group, key: key), cost: 0) { _ in
                ItemEdit(.store(Array(text.utf8)))
            } completion: {
                waiting.resume(with: $0)
            }
        }
    }

    static func list(_ store: any ItemStore, _ group: ItemGroup) async throws -> [String] {
        let listing: ItemListing = try await withCheckedThrowingContinuation { waiting in
            store.list(group, ItemPage()) { waiting.resume(with: $0) }
        }
        return listing.entries.map { "\($0.key)=\(String(decoding: $0.item.text, as: UTF8.self))" }
    }

    @Test func orderAndRevisionsSurviveARestart() async throws {
        let directory = Self.directory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let scope = ItemGroup(name: "s")
        var store = try EmbeddedItemStore(StoreSettings(directory: directory.path), context: Self.context())
        for key in ["c", "a", "b"] { _ = try await Self.set(store, scope, ItemName(key), "1") }
        let last = try await Self.set(store, scope, "a", "2").revision
        await store.close()
        store = try EmbeddedItemStore(StoreSettings(directory: directory.path), context: Self.context())
        #expect(try await Self.list(store, scope) == ["c=1", "a=2", "b=1"])
        #expect(try await Self.set(store, scope, "c", "3").revision > last)
        await store.close()
    }

    @Test func aDamagedValueIsNeverServed() async throws {
        let directory = Self.directory()
        defer { try? FileManager.default.removeItem(at: directory) }
        let scope = ItemGroup(name: "s")
        var store = try EmbeddedItemStore(StoreSettings(directory: directory.path), context: Self.context())
        for key in ["a", "b"] { _ = try await Self.set(store, scope, ItemName(key), "\"kept-\(key)\"") }
        await store.close()
        let path = directory.appending(path: "store.db")
        var bytes = try Data(contentsOf: path)
        let place = try #require(bytes.range(of: Data("kept-a".utf8)))
        bytes[place.lowerBound] = UInt8(ascii: "K")
        try bytes.write(to: path)
        store = try EmbeddedItemStore(StoreSettings(directory: directory.path), context: Self.context())
        #expect(try await Self.list(store, scope) == ["b=\"kept-b\""])
        // The next write of it begins anew.
        #expect(try await Self.set(store, scope, "a", "1").old == nil)
        #expect(try await Self.list(store, scope) == ["b=\"kept-b\"", "a=1"])
        await store.close()
    }

    @Test func theStoreInMemoryHasAnEnd() async throws {
        let store = MemoryItemStore(maximumBytes: 1000, now: WallClock.milliseconds)
        let scope = ItemGroup(name: "s")
        let long = "\"" + String(repeating: "x", count: 500) + "\""
        _ = try await Self.set(store, scope, "a", long)
        await #expect(throws: (any Error).self) { try await Self.set(store, scope, "b", long) }
        _ = try await Self.set(store, scope, "a", "1")
        _ = try await Self.set(store, scope, "b", long)
        #expect(try await Self.list(store, scope).count == 2)
    }

    // MARK: Files of the reference

    static func write(_ files: [String: String]) throws -> URL {
        let directory = directory()
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        for (name, text) in files { try Data(text.utf8 + [0xFF, 0, 3, 0]).write(to: directory.appending(path: name)) }
        return directory
    }

    @Test func filesOfTheReferenceAreTakenOverOnceInTheirOrder() async throws {
        let directory = try Self.write([
            "users.bin": #"{"z": {"n": 9007199254740993}, "a": 1.0}"#, "a%20b%C3%A9.bin": #"{"k":null}"#, "users.bin.tmp": "junk",
        ])
        defer { try? FileManager.default.removeItem(at: directory) }
        for _ in 0..<2 {
            let store = try EmbeddedItemStore(StoreSettings(directory: directory.path), context: Self.context())
            #expect(try await Self.list(store, ItemGroup(name: "users")) == [#"z={"n":9007199254740993}"#, "a=1.0"])
            #expect(try await Self.list(store, ItemGroup(name: "a bé")) == ["k=null"])
            await store.close()
        }
        #expect(FileManager.default.fileExists(atPath: directory.appending(path: "users.bin").path))
    }

    @Test func streamsOfTheReferenceAreTakenOver() async throws {
        let directory = try Self.write(["stream%3Achat%3Aroom-1.bin": #"{"m1":{"id":"m1"}}"#])
        defer { try? FileManager.default.removeItem(at: directory) }
        let store = try EmbeddedItemStore(StoreSettings(directory: directory.path), context: Self.context(.streams))
        #expect(try await Self.list(store, ItemGroup(stream: "chat", name: "room-1")) == [#"m1={"id":"m1"}"#])
        await store.close()
    }

    @Test(arguments: ["{\"a\":", "junk", ""]) func aFileThatCannotBeReadEndsTheStart(_ text: String) async throws {
        let directory = try Self.write(["good.bin": #"{"a":1}"#, "users.bin": text])
        defer { try? FileManager.default.removeItem(at: directory) }
        let settings = StoreSettings(directory: directory.path)
        let error = #expect(throws: StorageError.self) { try EmbeddedItemStore(settings, context: Self.context()) }
        #expect(error?.message.contains("users.bin") == true && error?.message.contains("move it away") == true)
        try FileManager.default.removeItem(at: directory.appending(path: "users.bin"))
        let store = try EmbeddedItemStore(settings, context: Self.context())
        #expect(try await Self.list(store, ItemGroup(name: "good")) == ["a=1"])
        await store.close()
    }
}
