import IIITelemetry
import Logging
import NIOCore

extension RedisClient {
    /// There was no connection in time, or the server cannot be used.
    public struct Unreachable: Error, CustomStringConvertible {
        /// Where, and why not.
        public let description: String

        /// `description` must hold no password.
        public init(description: String) { self.description = description }
    }

    private struct Progress {
        var isConnected = false
        var isAway = false
        var lastError: String?
        var said: Set<String> = []
    }

    /// A client with its first connection, which it has 5 s for; then it throws `Unreachable`.
    ///
    /// From then on the log is told when the server goes and comes back, and why it may lose what it answers. `consequence` says what becomes of
    /// the work meanwhile; `keepsData` whether it matters that the server may forget. `connected` is called at every connection, on the event loop.
    public static func open(
        _ settings: RedisSettings, scripts: [RedisScript] = [], on eventLoop: any EventLoop, logger: Logger, consequence: String,
        keepsData: Bool = true, connected: @escaping @Sendable (RedisServerFacts) -> Void = { _ in }
    ) async throws -> RedisClient {
        let address = settings.url.displayText
        let first = eventLoop.makePromise(of: RedisClient.self)
        let client = RedisClient(settings, on: eventLoop)
        let progress = NIOLoopBoundBox<Progress>.makeBoxSendingValue(Progress(), eventLoop: eventLoop)
        eventLoop.execute {
            client.onStateChange = { [unowned client] change in
                switch change {
                case .success(let facts):
                    if progress.value.isAway { logger.notice("Redis is back", metadata: ["redis": "\(address)"]) }
                    progress.value.isAway = false
                    for warning in facts.warnings where keepsData && progress.value.said.insert(warning).inserted {
                        logger.warning(.redisUnsafe, "\(warning)", metadata: ["redis": "\(address)"])
                    }
                    progress.value.isConnected = true
                    first.succeed(client)
                    connected(facts)
                case .failure(let error):
                    progress.value.lastError = error.message
                    // Once: every attempt to come back that fails says the same.
                    guard progress.value.isConnected, !progress.value.isAway else { return }
                    progress.value.isAway = true
                    logger.warning(
                        .redisUnreachable, "Redis cannot be reached; \(consequence)",
                        metadata: ["redis": "\(address)", "error": "\(error.message)"])
                }
            }
            client.start(scripts: scripts)
            eventLoop.scheduleTask(in: settings.connectTimeout) {
                let cause = progress.value.lastError.map { "Failed to connect to Redis at \(address): \($0)" }
                first.fail(
                    Unreachable(
                        description: cause
                            ?? "Redis connection timed out after 5s. Please ensure Redis is running at: \(address)"))
            }
        }
        do {
            return try await first.futureResult.get()
        } catch {
            eventLoop.execute { client.stop() }
            throw error
        }
    }
}
