import IIIItemsContract
import IIIRedis
import IIITestSupport
import Logging
import NIOCore
import NIOPosix
import Synchronization
import Testing

@testable import IIIItems

/// The adapter `redis` on a real server.
@Suite struct RedisItemStoreTests {
    static let shared = Mutex<TemporaryRedisServer?>(nil)
    static let databases = Atomic(0)

    /// One server for all tests; each has a database of its own.
    static func address() throws -> RedisURL {
        let running = try shared.withLock { server in
            let running = try server ?? TemporaryRedisServer(["--databases", "1000", "--enable-debug-command", "local"])
            server = running
            return running
        }
        return try RedisURL("\(running.url)/\(databases.wrappingAdd(1, ordering: .relaxed).newValue)")
    }

    static func settings(_ url: RedisURL, prefix: String = "") -> RedisItemStoreSettings {
        RedisItemStoreSettings(url: url, prefix: prefix)
    }

    static func context(_ layout: ReferenceLayout = .state) -> ItemStoreContext {
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        return ItemStoreContext(entry: "test", layout: layout, logger: logger, on: MultiThreadedEventLoopGroup.singleton.next())
    }

    @Test(arguments: ItemStoreContract.cases) func keepsThePromisesOfAStore(_ promise: ItemStoreContract.Case) async throws {
        var settings = Self.settings(try Self.address())
        settings.usesServerClock = false
        let chosen = settings
        try await promise.run { try await RedisItemStore.open(chosen, $0) }
    }
}

/// Names of keys, and what is remembered.
@Suite struct RedisItemKeysTests {
    @Test func groupsAreFoundByTheReferencesKeys() throws {
        let state = try RedisItemKeys(prefix: "p:", kind: .state)
        #expect(state.values(of: ItemGroup(name: "a:b")) == "p:state:a:b")
        #expect(state.group(ofKey: Array("p:state:a:b".utf8)) == ItemGroup(name: "a:b"))
        #expect(state.group(ofKey: Array("state:a".utf8)) == nil)
        #expect(state.group(ofKey: Array("p:state:".utf8) + [0xFF]) == nil, "no UTF-8")
        let streams = try RedisItemKeys(prefix: "", kind: .streams)
        #expect(streams.values(of: ItemGroup(stream: "chat", name: "a:b")) == "stream:chat:a:b")
        #expect(streams.group(ofKey: Array("stream:chat:a:b".utf8)) == ItemGroup(stream: "chat", name: "a:b"))
        #expect(streams.values(of: ItemGroup(stream: "a:b", name: "c")) == "iii:stream:3:a:bc")
        #expect(streams.group(ofKey: Array("stream:alone".utf8)) == nil)
    }

    @Test func membersAreTakenApartAsTheyWereMade() {
        for (stream, name, key) in [("", "", ""), ("a:b", "1:c", "3:x"), ("é", "a\u{0}b", "😀")] {
            let group = ItemGroup(stream: ItemName(stream), name: ItemName(name))
            let item = ItemAddress(group: group, key: ItemName(key))
            #expect(RedisItemKeys.group(Array(RedisItemKeys.member(group).utf8)) == group)
            #expect(RedisItemKeys.address(mortal: Array(RedisItemKeys.mortal(item).utf8)) == item)
        }
        for text in ["", "x", "9:a", "-1:a", "1:", "99999999999999999999:a"] { #expect(RedisItemKeys.group(Array(text.utf8)) == nil) }
    }

    @Test(arguments: ["", "a:", "a:b:", "staging:eu:"]) func prefixesThatCannotMeetAreTaken(_ prefix: String) throws {
        _ = try RedisItemKeys(prefix: prefix, kind: .state)
    }

    @Test(arguments: ["a", "state:", "x:stream:", "iii:a:"]) func prefixesThatCouldMeetAreRefused(_ prefix: String) {
        #expect(throws: (any Error).self) { try RedisItemKeys(prefix: prefix, kind: .state) }
    }

    @Test func whatIsRememberedIsBounded() {
        var recent = RecentItems(maximumItems: 4, maximumBytes: 2000, maximumText: 100)
        func item(_ size: Int) -> StoredItem {
            StoredItem(text: Array(repeating: 49, count: size), revision: 1, createdAt: 0, updatedAt: 0)
        }
        func address(_ number: Int) -> ItemAddress { ItemAddress(group: ItemGroup(name: "g"), key: ItemName("\(number)")) }
        for number in 0..<100 {
            recent.remember(item(50), at: address(number))
            #expect(recent.count <= 4)
            #expect(recent[address(number)] != nil)
        }
        recent.remember(item(101), at: address(99))
        #expect(recent[address(99)] == nil, "too large a value is not the older one")
        recent.remember(nil, at: address(98))
        #expect(recent[address(98)] == nil)
    }

    @Test func eventsOfOthersAreReadOrNamed() throws {
        let item = ItemAddress(group: ItemGroup(stream: "s\"", name: "g"), key: "k")
        let middle = String(decoding: RedisItemFrame(item).middle, as: UTF8.self)
        let head = String(decoding: RedisItemFrame.head, as: UTF8.self)
        let text = "\(head)1\(middle)create\",\"data\":{\"n\":1.0}\(RedisItemFrame.tail(database: 3))77}}"
        let news = try #require(try RedisItemFrame.news(Array(text.utf8), database: 3))
        #expect(news.event == .created(Array(#"{"n":1.0}"#.utf8)) && news.group == item.group && news.key == "k" && news.revision == 77)
        #expect(try RedisItemFrame.news(Array(text.utf8), database: 0) == nil, "of another database")
        let own = RedisItemFrame.text(ItemNews(.custom(type: "t", data: [49]), in: item.group, key: nil), at: 5, database: 0)
        #expect(try RedisItemFrame.news(own, database: 0)?.event == .custom(type: "t", data: [49]))
        for text in ["", "{", "[]", "{}", #"{"event":{}}"#, #"{"event":{"type":"create"},"streamName":"a","groupId":"b"}"#] {
            #expect(throws: (any Error).self) { try RedisItemFrame.news(Array(text.utf8), database: 0) }
        }
    }
}
