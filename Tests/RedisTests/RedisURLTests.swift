import Testing

@testable import IIIRedis

@Suite struct RedisURLTests {
    @Test(
        arguments: [
            ("redis://localhost", "redis://localhost:6379/0", nil, nil),
            ("redis://:se%40cret@h:7/3", "redis://h:7/3", nil, "se@cret"),
            ("rediss://ann:pw@[::1]:7", "rediss://[::1]:7/0", "ann", "pw"),
            ("unix:///run/redis.sock?db=2", "unix:///run/redis.sock?db=2", nil, nil),
        ] as [(String, String, String?, String?)])
    func reads(_ text: String, _ shown: String, _ user: String?, _ password: String?) throws {
        let url = try RedisURL(text)
        #expect(url.displayText == shown && url.user == user && url.password == password)
    }

    @Test(arguments: [
        "", "localhost", "http://h", "redis://", "redis://:6379x", "redis://h:0", "redis://h:70000", "redis://h/x",
        "redis://u:secret@h:x/1",
        "redis://h?foo=1", "unix://relative", "redis://u:%zz@h",
    ])
    func refusesWithoutShowingSecrets(_ text: String) throws {
        let error = try #require(throws: RedisError.self) { try RedisURL(text) }
        #expect(error.code == .invalid && !error.message.contains("secret"))
    }
}

@Suite struct RedisGreetingTests {
    @Test func saysWhoWeAreBeforeAnythingElse() throws {
        var settings = RedisSettings(url: try RedisURL("redis://ann:pw@h/3"))
        settings.clientName = "x"
        var greeting = RedisGreeting(settings, scripts: [RedisScript("return 1")])
        #expect(
            String(buffer: greeting.begin())
                == "*3\r\n$4\r\nAUTH\r\n$3\r\nann\r\n$2\r\npw\r\n*3\r\n$6\r\nCLIENT\r\n$7\r\nSETNAME\r\n$1\r\nx\r\n"
                + "*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n*1\r\n$4\r\nINFO\r\n*3\r\n$6\r\nSCRIPT\r\n$4\r\nLOAD\r\n$8\r\nreturn 1\r\n")
        for _ in 0..<3 { #expect(greeting.received(.status("OK")) == .more) }
        #expect(
            greeting.received(
                .bytes(Array("redis_version:7.0\r\nrole:master\r\nmaxmemory:5\r\nmaxmemory_policy:allkeys-lru\r\naof_enabled:0\r\n".utf8)))
                == .more)
        guard case .done(let facts) = greeting.received(.bytes(Array("sha".utf8))) else { return #expect(Bool(false)) }
        #expect(facts.version == "7.0" && facts.warnings.count == 2)
    }

    @Test(arguments: [
        ("role:slave", RedisError.Code.rejected, false), ("loading:1", .rejected, false), ("cluster_enabled:1", .unusable, true),
    ])
    func leavesServersThatAreOfNoUse(_ line: String, _ code: RedisError.Code, _ isLasting: Bool) throws {
        var greeting = RedisGreeting(RedisSettings(url: try RedisURL("redis://h")), scripts: [])
        _ = greeting.begin()
        #expect(greeting.received(.status("OK")) == .more)
        guard case .failed(let error, isLasting) = greeting.received(.bytes(Array("\(line)\r\n".utf8))) else { return #expect(Bool(false)) }
        #expect(error.code == code)
    }

    @Test func scriptsAreNamedAsRedisNamesThem() {
        #expect(RedisScript("return 1").digest == "e0e1f9fabfc9d4800c877a703b823ac0578ff8db")
    }
}
