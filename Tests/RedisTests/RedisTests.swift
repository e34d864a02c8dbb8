import Testing

@testable import IIIRedis

@Suite struct RedisTests {
}
