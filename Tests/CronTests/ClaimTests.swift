import Glibc
import IIICronContract
import IIIProtocol
import IIISettings
import IIIStorage
import IIITestSupport
import Logging
import NIOCore
import NIOPosix
import Synchronization
import Testing

@testable import IIICron

/// Every lock store passes the one contract suite: `kv` on disk and in memory, `redis` on a real server.
@Suite struct ClaimTests {
    static let redis = Mutex<TemporaryRedisServer?>(nil)

    static let contract = AdapterContract(
        FireClaims.registry,
        configs: [
            "kv": { [:] },
            "redis": { ["redis_url": .string(try server().url), "lease_ms": 5_000] },
        ])

    /// One server for all clauses; each has jobs of its own.
    static func server() throws -> TemporaryRedisServer {
        try redis.withLock { server in
            let running = try server ?? TemporaryRedisServer()
            server = running
            return running
        }
    }

    /// What `iii-cron` hands a lock store, with a store of the test's own where it keeps one.
    static func site(_ store: Store?, _ tag: String) -> @Sendable (String) throws -> FireClaimSite {
        { name in
            var logger = Logger(label: "claims")
            logger.logLevel = .critical
            return FireClaimSite(
                instance: "\(tag)/\(name)", store: store, eventLoop: MultiThreadedEventLoopGroup.singleton.next(), logger: logger)
        }
    }

    static func withStore<Result>(_ body: (Store) async throws -> Result) async throws -> Result {
        var template = Array("/tmp/iii-cron-XXXXXX".utf8CString)
        #expect(mkdtemp(&template) != nil)
        let directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let store = try Store.open(
            StoreSettings(directory: directory + "/store"), migrations: CronStore.migrations, logger: Logger(label: "store"))
        defer {
            store.close()
            for name in ["store.db", "store.db-wal", "store.db-shm", "store.lock"] { unlink(directory + "/store/" + name) }
            rmdir(directory + "/store")
            rmdir(directory)
        }
        return try await body(store)
    }

    @Test(arguments: contract.names, FireClaimContract.clauses)
    func holds(name: String, clause: FireClaimContract.Clause) async throws {
        try await Self.withStore { store in
            try await Self.contract.run(name) { maker in
                try await clause.check(maker, site: Self.site(store, "\(UInt64.random(in: .min ... .max))"))
            }
        }
    }

    @Test(arguments: FireClaimContract.clauses)
    func holdsInMemory(clause: FireClaimContract.Clause) async throws {
        let claims = MemoryClaims()
        try await clause.check({ _ in claims }, site: Self.site(nil, "memory"))
    }

    @Test(arguments: FireClaimContract.leaseClauses)
    func redisHoldsLeases(clause: FireClaimContract.Clause) async throws {
        try await Self.contract.run("redis") { maker in
            try await clause.check(maker, site: Self.site(nil, "\(UInt64.random(in: .min ... .max))"))
        }
    }

    @Test func fencesGrowOverAnEmptiedServer() async throws {
        let server = try TemporaryRedisServer()
        let maker = try await FireClaims.registry.open(Self.choice(server))
        let store = try await maker(Self.site(nil, "emptied")("a"))
        func fence(_ tick: Int) async throws -> Int {
            var request = ClaimRequest(identity: "j", ordinal: 0, tick: tick, owner: "o\(tick)", timeToLive: 60_000)
            request.lease = .tick
            guard case .granted(let fence, _) = try await store.claim(request) else { return 0 }
            return fence
        }
        let before = try await fence(1)
        server.kill()
        try server.start()
        #expect(try await fence(2) > before)
        await store.close()
    }

    @Test func anUnreachableServerIsSaidWithinFiveSeconds() async throws {
        let server = try TemporaryRedisServer()
        server.kill()
        let maker = try await FireClaims.registry.open(Self.choice(server))
        await #expect {
            _ = try await maker(Self.site(nil, "none")("a"))
        } throws: { error in
            "\(error)".contains("Failed to connect to Redis at redis://127.0.0.1:\(server.port)")
        }
    }

    static func choice(_ server: TemporaryRedisServer) throws -> AdapterChoice {
        let setting = FireClaims.registry.setting("")
        let values = try SettingGroup { setting }.read(["adapter": ["name": "redis", "config": ["redis_url": .string(server.url)]]])
        return values[setting]
    }
}
