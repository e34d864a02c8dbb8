import IIITestSupport

/// One Redis for all contract suites of this process; each run has a prefix of its own.
enum RedisUnderTest {
    static let server: TemporaryRedisServer = {
        do { return try TemporaryRedisServer(["--appendonly", "yes"]) } catch {
            preconditionFailure("redis-server does not start: \(error)")
        }
    }()
}
