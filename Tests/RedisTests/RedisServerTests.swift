import Foundation
import IIITestSupport
import NIOCore
import NIOPosix
import Synchronization
import Testing

@testable import IIIRedis

/// Against a real redis-server that is killed, paused, restarted and failed over.
@Suite(.serialized) struct RedisServerTests {
    static let loop = MultiThreadedEventLoopGroup(numberOfThreads: 1).next()

    static func client(
        _ server: TemporaryRedisServer, scripts: [RedisScript] = [], _ change: (inout RedisSettings) -> Void = { _ in }
    ) async throws -> RedisClient {
        var settings = RedisSettings(url: try RedisURL(server.url))
        settings.maximumReconnectDelay = .milliseconds(200)
        change(&settings)
        let client = RedisClient(settings, on: loop)
        try await loop.submit { client.start(scripts: scripts) }.get()
        return client
    }

    static func stop(_ client: RedisClient) async throws { try await loop.submit { client.stop() }.get() }

    static func eventually(_ what: String, _ condition: () async throws -> Bool) async throws {
        for _ in 0..<600 {
            if try await condition() { return }
            try await Task.sleep(for: .milliseconds(50))
        }
        Issue.record("not within 30 s: \(what)")
    }

    @Test func valuesComeBackAsTheyWere() async throws {
        let server = try TemporaryRedisServer()
        let client = try await Self.client(server)
        #expect(try await client.command("SET", "k", "grüße") == .status("OK"))
        #expect(try await client.command("GET", "k").text == "grüße")
        #expect(try await client.command("GET", "none").isNull)
        #expect(try await client.command("RPUSH", "l", "a", "", "c").int == 3)
        #expect(try await client.command("LRANGE", "l", "0", "-1") == .array([.bytes([97]), .bytes([]), .bytes([99])]))
        let error = await #expect(throws: RedisError.self) { try await client.command("INCR", "l") }
        #expect(error?.code == .failed && error?.message.contains("WRONGTYPE") == true)
        let facts = try await Self.loop.submit { client.facts }.get()
        #expect(facts?.role == "master" && facts?.isCluster == false)
        #expect(facts?.warnings.contains { $0.contains("append-only") } == true)
        try await Self.stop(client)
        await #expect(throws: RedisError.self) { try await client.command("PING") }
    }

    @Test func scriptsSurviveAFlushOfTheServersScripts() async throws {
        let server = try TemporaryRedisServer()
        let script = RedisScript("redis.call('RPUSH', KEYS[1], ARGV[1]) return redis.call('LLEN', KEYS[1])")
        let client = try await Self.client(server, scripts: [script])
        #expect(try await client.run(script, keys: ["l"], arguments: [[1]]).int == 1)
        _ = try await client.command("SCRIPT", "FLUSH")
        #expect(try await client.run(script, keys: ["l"], arguments: [[2]]).int == 2)
        try await Self.stop(client)
    }

    @Test func aWrongPasswordIsSaidAndTheRightOneWorks() async throws {
        let server = try TemporaryRedisServer(["--requirepass", "s3cret"])
        for (url, isRight) in [("redis://:s3cret@127.0.0.1", true), ("redis://:wrong@127.0.0.1", false), ("redis://127.0.0.1", false)] {
            let client = try await Self.client(server) {
                $0.url = (try? RedisURL("\(url):\(server.port)")) ?? $0.url
                $0.commandTimeout = .seconds(isRight ? 20 : 1)
            }
            if isRight {
                #expect(try await client.command("PING") == .status("PONG"))
            } else {
                let error = await #expect(throws: RedisError.self) { try await client.command("PING") }
                #expect(error?.code == .notSent && error?.message.contains("password") == true)
                #expect(error?.message.contains("wrong@") == false)
            }
            try await Self.stop(client)
        }
    }

    @Test func aClusterIsRefusedWithASentence() async throws {
        let server = try TemporaryRedisServer(["--cluster-enabled", "yes"])
        let client = try await Self.client(server)
        let error = await #expect(throws: RedisError.self) { try await client.command("GET", "k") }
        #expect(error?.code == .unusable && error?.message.contains("Redis Cluster") == true)
        try await Self.stop(client)
    }

    /// Commands under load while `disturb` happens: each ends, and what is stored is in order, each once.
    static func load(_ client: RedisClient, key: String, _ disturb: @Sendable () async throws -> Void) async throws -> (
        succeeded: [Int], unknown: Set<Int>
    ) {
        let isDone = Atomic(false)
        let sent = Mutex(0)
        let outcomes = Mutex<[Int: Result<RedisValue, RedisError>]>([:])
        @Sendable func feed() {
            guard !isDone.load(ordering: .relaxed) else { return }
            for _ in 0..<10 {
                let number = sent.withLock { count in
                    count += 1
                    return count
                }
                client.send(words: 3, isWrite: true) {
                    $0.add("RPUSH")
                    $0.add(key)
                    $0.add(number)
                } completion: { result in
                    outcomes.withLock { $0[number] = result }
                }
            }
            loop.scheduleTask(in: .milliseconds(5)) { feed() }
        }
        loop.execute { feed() }
        try await disturb()
        isDone.store(true, ordering: .relaxed)
        try await eventually("all commands end") {
            try await loop.submit { outcomes.withLock { $0.count } == sent.withLock { $0 } }.get()
        }
        let all = outcomes.withLock { $0 }
        var succeeded: [Int] = []
        var unknown: Set<Int> = []
        for (number, outcome) in all {
            switch outcome {
            case .success: succeeded.append(number)
            case .failure(let error): if !error.isRetryable { unknown.insert(number) }
            }
        }
        return (succeeded.sorted(), unknown)
    }

    static func verify(_ client: RedisClient, key: String, _ succeeded: [Int], _ unknown: Set<Int>) async throws {
        let stored = try await client.command("LRANGE", key, "0", "-1").array?.compactMap(\.int) ?? []
        #expect(!succeeded.isEmpty)
        #expect(stored == stored.sorted(), "order is not kept")
        #expect(Set(stored).count == stored.count, "something is stored twice")
        #expect(Set(succeeded).subtracting(stored).isEmpty, "something that succeeded is not stored")
        #expect(Set(stored).subtracting(succeeded).isSubset(of: unknown), "something that failed is stored")
    }

    @Test func killedAndRestartedUnderLoad() async throws {
        let server = try TemporaryRedisServer(["--appendonly", "yes", "--appendfsync", "always"])
        let client = try await Self.client(server)
        _ = try await client.command("PING")
        let (succeeded, unknown) = try await Self.load(client, key: "l") {
            for _ in 0..<3 {
                try await Task.sleep(for: .milliseconds(100))
                server.kill()
                try await Task.sleep(for: .milliseconds(100))
                try server.start()
            }
            try await Self.eventually("reconnected") { try await Self.loop.submit { client.isConnected }.get() }
        }
        try await Self.verify(client, key: "l", succeeded, unknown)
        try await Self.stop(client)
    }

    @Test(arguments: ["SIGSTOP", "DEBUG SLEEP"]) func pausedUnderLoad(_ how: String) async throws {
        let server = try TemporaryRedisServer(["--enable-debug-command", "yes"])
        let client = try await Self.client(server) { $0.commandTimeout = .milliseconds(400) }
        let other = try await Self.client(server) { $0.commandTimeout = .seconds(20) }
        _ = try await other.command("PING")
        let (succeeded, unknown) = try await Self.load(client, key: "l") {
            try await Task.sleep(for: .milliseconds(200))
            if how == "SIGSTOP" {
                server.pause()
                try await Task.sleep(for: .seconds(1))
                server.resume()
            } else {
                _ = try await other.command("DEBUG", "SLEEP", "1")
            }
            try await Self.eventually("reconnected") { try await Self.loop.submit { client.isConnected }.get() }
        }
        #expect(!unknown.isEmpty)
        try await Self.verify(other, key: "l", succeeded, unknown)
        try await Self.stop(client)
        try await Self.stop(other)
    }

    /// The address leads to the old primary, which becomes a replica of the new one: READONLY, then the change back.
    @Test func failedOverUnderLoad() async throws {
        let first = try TemporaryRedisServer()
        let second = try TemporaryRedisServer(["--replicaof", "127.0.0.1 \(first.port)"])
        let watcher = try await Self.client(second) { $0.requiresPrimary = false }
        try await Self.eventually("replica in step") {
            try await watcher.command("INFO", "replication").text?.contains("master_link_status:up") == true
        }
        let client = try await Self.client(first) {
            $0.waitReplicas = 1
            $0.waitTimeout = .seconds(5)
            $0.commandTimeout = .seconds(20)
        }
        let admin = try await Self.client(first) { $0.requiresPrimary = false }
        let (succeeded, unknown) = try await Self.load(client, key: "l") {
            try await Task.sleep(for: .milliseconds(200))
            _ = try await admin.command("FAILOVER", "TO", "127.0.0.1", "\(second.port)", "FORCE", "TIMEOUT", "3000")
            try await Self.eventually("the second is primary") {
                try await watcher.command("INFO", "replication").text?.contains("role:master") == true
            }
            try await Task.sleep(for: .milliseconds(200))
            // Back, so that the client's address is a primary again.
            try await Self.eventually("the first follows") {
                try await admin.command("INFO", "replication").text?.contains("master_link_status:up") == true
            }
            _ = try await watcher.command("FAILOVER", "TO", "127.0.0.1", "\(first.port)", "FORCE", "TIMEOUT", "3000")
            try await Self.eventually("reconnected") { try await Self.loop.submit { client.isConnected }.get() }
        }
        try await Self.verify(admin, key: "l", succeeded, unknown)
        for client in [client, admin, watcher] { try await Self.stop(client) }
    }

    @Test func subscriptionsComeBackAndTheGapIsSaid() async throws {
        let server = try TemporaryRedisServer()
        let events = Mutex<[String]>([])
        let subscriber = try await Self.loop.submit {
            let subscriber = RedisSubscriber(
                RedisSettings(url: try RedisURL(server.url)), on: Self.loop,
                onEvent: { event in
                    let line =
                        switch event {
                        case .message(let channel, let pattern, let payload):
                            "\(pattern ?? "-") \(channel) \(String(decoding: payload, as: UTF8.self))"
                        case .subscribed(let name, let hadGap): "subscribed \(name) \(hadGap)"
                        case .lost: "lost"
                        case .refused: "refused"
                        }
                    events.withLock { if $0.last != line { $0.append(line) } }
                })
            subscriber.subscribe(channel: "a")
            subscriber.subscribe(pattern: "b*")
            subscriber.start()
            return subscriber
        }.get()
        let client = try await Self.client(server)
        func has(_ line: String) -> Bool { events.withLock { $0.contains(line) } }
        try await Self.eventually("subscribed") { has("subscribed a false") && has("subscribed b* false") }
        _ = try await client.command("PUBLISH", "a", "1")
        _ = try await client.command("PUBLISH", "bc", "2")
        try await Self.eventually("messages") { has("- a 1") && has("b* bc 2") }
        server.kill()
        try server.start()
        try await Self.eventually("subscribed again") { has("subscribed a true") && has("subscribed b* true") }
        _ = try await client.command("PUBLISH", "a", "3", isRepeatable: true)
        try await Self.eventually("message") { has("- a 3") }
        try await Self.loop.submit { subscriber.stop() }.get()
        try await Self.stop(client)
    }

    @Test func blockingCommandsHoldUpNobody() async throws {
        let server = try TemporaryRedisServer()
        let client = try await Self.client(server)
        let pool = RedisBlockingPool(
            RedisSettings(url: try RedisURL(server.url)), on: Self.loop, longestBlock: .seconds(20), maximumConnections: 2,
            maximumWaiting: 1)
        let popped = Mutex<[String]>([])
        try await Self.loop.submit {
            for _ in 0..<4 {
                pool.send(words: 3) {
                    $0.add("BLPOP")
                    $0.add("q")
                    $0.add("20")
                } completion: { result in
                    let line =
                        switch result {
                        case .success(let value): value.array?.last?.text ?? "none"
                        case .failure(let error): error.code.rawValue
                        }
                    popped.withLock { $0.append(line) }
                }
            }
        }.get()
        #expect(popped.withLock { $0 } == ["overloaded"])
        for number in 1...3 { _ = try await client.command("RPUSH", "q", "\(number)") }
        try await Self.eventually("all popped") { popped.withLock { Set($0) == ["overloaded", "1", "2", "3"] } }
        try await Self.loop.submit { pool.stop() }.get()
        try await Self.stop(client)
    }

    /// Has the server listen for TLS on a port that nobody else has taken.
    private static func tlsPort(of client: RedisClient) async throws -> Int {
        var refusal: (any Error)?
        for _ in 0..<50 {
            let port = Int.random(in: 20_000..<32_000)
            do {
                _ = try await client.command("CONFIG", "SET", "tls-port", "\(port)")
                return port
            } catch { refusal = error }
        }
        throw refusal ?? CancellationError()
    }

    @Test func tlsIsVerified() async throws {
        let directory = FileManager.default.temporaryDirectory.appending(path: "iii-redis-tls-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let certificate = directory.appending(path: "cert.pem").path
        let key = directory.appending(path: "key.pem").path
        let openssl = Process()
        openssl.executableURL = URL(filePath: "/usr/bin/openssl")
        openssl.arguments = [
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=redis.test", "-addext",
            "subjectAltName=DNS:localhost",
            "-keyout", key, "-out", certificate,
        ]
        openssl.standardError = FileHandle.nullDevice
        try openssl.run()
        openssl.waitUntilExit()
        let server = try TemporaryRedisServer([
            "--tls-port", "0", "--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate,
            "--tls-auth-clients", "no",
        ])
        let plain = try await Self.client(server)
        let port = try await Self.tlsPort(of: plain)
        for (host, authority, isRight) in [
            ("localhost", certificate, true), ("127.0.0.1", certificate, false), ("localhost", nil, false),
        ] as [(String, String?, Bool)] {
            let client = try await Self.client(server) {
                $0.url = (try? RedisURL("rediss://\(host):\(port)")) ?? $0.url
                $0.authorityFile = authority
                $0.commandTimeout = .seconds(isRight ? 20 : 1)
            }
            if isRight {
                #expect(try await client.command("PING") == .status("PONG"))
            } else {
                let error = await #expect(throws: RedisError.self) { try await client.command("PING") }
                #expect(error?.message.contains("certificate") == true, "\(String(describing: error))")
            }
            try await Self.stop(client)
        }
        try await Self.stop(plain)
    }
}
