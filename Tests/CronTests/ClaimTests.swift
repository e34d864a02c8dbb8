import ExampleLocks
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
            "redis": { ["redis_url": .string(try server().url), "lease_ms": 3_000] },
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

    @Test(arguments: FireClaimContract.clauses)
    func holdsForTheExample(clause: FireClaimContract.Clause) async throws {
        let claims = TableClaims()
        try await clause.check({ _ in claims }, site: Self.site(nil, "example"))
    }

    @Test(arguments: FireClaimContract.leaseClauses)
    func redisHoldsLeases(clause: FireClaimContract.Clause) async throws {
        try await Self.contract.run("redis") { maker in
            try await clause.check(maker, site: Self.site(nil, "\(UInt64.random(in: .min ... .max))"))
        }
    }

    @Test func whatMaxRunsCountedIsForgottenWhenNobodyHasAskedForLong() async throws {
        try await Self.withStore { store in
            let claims = StoredClaims(store: store)
            func claim(_ job: String, _ tick: Int) async throws -> ClaimOutcome {
                var request = ClaimRequest(identity: job, ordinal: 0, tick: tick, owner: "\(job)/\(tick)", timeToLive: 60_000)
                request.maximumRuns = 1
                return try await claims.claim(request)
            }
            for job in ["old", "asked"] { #expect(try await claim(job, 1) != .exhausted) }
            try await store.write { try $0.run(SQL("UPDATE run_counts SET asked = 5")) { _ in } }
            #expect(try await claim("asked", 2) == .exhausted)
            for tick in 1...64 {
                _ = try await claims.claim(ClaimRequest(identity: "other", ordinal: 0, tick: tick, owner: "o", timeToLive: 1))
            }
            let left = try await store.read { try $0.first(SQL("SELECT group_concat(identity) FROM run_counts"), { _ in }, { $0.text(0) }) }
            #expect(left == "asked")
            #expect(try await claim("asked", 3) == .exhausted)
        }
    }

    /// A lock store that hears nothing for a while.
    private actor DeafClaims: FireClaim {
        nonisolated var lease: Int? { nil }
        var isDeaf = true
        var heard: [Int] = []

        func listen() { isDeaf = false }
        func recover() -> [HeldClaim] { [] }
        func claim(_ request: ClaimRequest) -> ClaimOutcome { .paused }
        func renew(_ claims: [HeldClaim]) -> [String] { [] }
        func finish(_ claim: HeldClaim) throws {
            if isDeaf { throw CancellationError() }
            heard.append(claim.tick)
        }
        func setPaused(_ identity: String, _ isPaused: Bool?) {}
        func pauses() -> [String: Bool] { [:] }
        func close() {}
    }

    @Test func whatTheLockStoreDidNotHearIsSaidAgainInBounds() async throws {
        let claims = DeafClaims()
        let unfinished = UnfinishedClaims(claims)
        for tick in 1...20_000 { unfinished.add(HeldClaim(identity: "j", ordinal: 0, tick: tick, owner: "o", lease: .tick)) }
        await claims.listen()
        while await claims.heard.last != 20_000 { try await Task.sleep(for: .milliseconds(20)) }
        let heard = await claims.heard
        #expect(heard == heard.sorted() && heard.count <= 16_000 && heard.count > 10_000)
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
