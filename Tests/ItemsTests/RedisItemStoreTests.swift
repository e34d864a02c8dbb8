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
