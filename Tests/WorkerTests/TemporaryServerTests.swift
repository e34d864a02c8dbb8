import Glibc
import IIITestSupport
import NIOPosix
import Testing

/// The servers that tests start are gone with their objects.
@Suite(.serialized) struct TemporaryServerTests {
    private func canConnect(_ port: Int) async -> Bool {
        do {
            try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton).connect(host: "127.0.0.1", port: port).get().close()
                .get()
            return true
        } catch {
            return false
        }
    }

    /// Servers block while they start; the threads of tasks are few.
    private func blocking<Value: Sendable>(_ work: @escaping @Sendable () throws -> Value) async throws -> Value {
        try await NIOThreadPool.singleton.runIfActive(work)
    }

    @Test func redisLeavesNothing() async throws {
        var server: TemporaryRedisServer? = try await blocking { try TemporaryRedisServer() }
        let (port, directory) = (try #require(server?.port), try #require(server?.directory))
        #expect(await canConnect(port))
        server = nil
        #expect(await !canConnect(port))
        #expect(access(directory, F_OK) != 0)
    }

    @Test func rabbitMQStartsAgainAfterAKill() async throws {
        let running = try await blocking { try TemporaryRabbitMQServer() }
        let (port, directory) = (running.port, running.directory)
        try await blocking { running.kill() }
        #expect(await !canConnect(port))
        try await blocking { try running.start() }
        #expect(await canConnect(port))
        try await blocking { running.kill() }
        #expect(await !canConnect(port))
        #expect(access(directory, F_OK) == 0, "the directory goes with the object")
    }
}
