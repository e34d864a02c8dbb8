import NIOCore

/// Connections for commands that wait in the server (BLPOP, XREADGROUP … BLOCK), each with one command at a time, so that no waiting holds up
/// others. Confined to `eventLoop`.
public final class RedisBlockingPool: @unchecked Sendable {
    private struct Waiting {
        let words: Int
        let encode: (inout RedisArguments) -> Void
        let deadline: NIODeadline
        let completion: RedisClient.Completion
    }

    /// Where everything of it is called, completions too.
    public let eventLoop: any EventLoop
    private let settings: RedisSettings
    private let maximumConnections: Int
    private let maximumWaiting: Int
    private var free: [RedisClient] = []
    private var busy: [ObjectIdentifier: RedisClient] = [:]
    private var waiting = CircularBuffer<Waiting>()
    private var isStopped = false

    /// `longestBlock`: the longest time any command is told to wait in the server; `commandTimeout` comes on top.
    public init(
        _ settings: RedisSettings, on eventLoop: any EventLoop, longestBlock: TimeAmount, maximumConnections: Int = 16,
        maximumWaiting: Int = 1024
    ) {
        self.eventLoop = eventLoop
        self.settings = {
            var settings = settings
            settings.commandTimeout = longestBlock + settings.commandTimeout
            settings.waitReplicas = 0
            return settings
        }()
        self.maximumConnections = maximumConnections
        self.maximumWaiting = maximumWaiting
    }

    /// Gives a command to a free connection, or to the next that becomes free; it has an outcome within the timeout either way.
    public func send(words: Int, _ encode: @escaping (inout RedisArguments) -> Void, completion: @escaping RedisClient.Completion) {
        eventLoop.preconditionInEventLoop()
        guard !isStopped else { return completion(.failure(RedisError(.notSent, "the Redis client is stopped"))) }
        guard let client = free.popLast() ?? open() else {
            guard waiting.count < maximumWaiting else {
                return completion(.failure(RedisError(.overloaded, "\(waiting.count) blocking commands wait for a connection already")))
            }
            waiting.append(Waiting(words: words, encode: encode, deadline: .now() + settings.commandTimeout, completion: completion))
            expireLater(in: settings.commandTimeout)
            return
        }
        lend(client, words, encode, completion)
    }

    /// Ends all connections. What has no outcome fails.
    public func stop() {
        isStopped = true
        let error = RedisError(.notSent, "the Redis client is stopped")
        for waiting in waiting { waiting.completion(.failure(error)) }
        waiting = []
        for client in free + Array(busy.values) { client.stop() }
        free = []
    }

    private func open() -> RedisClient? {
        guard busy.count < maximumConnections else { return nil }
        let client = RedisClient(settings, on: eventLoop)
        client.start()
        return client
    }

    private func lend(
        _ client: RedisClient, _ words: Int, _ encode: (inout RedisArguments) -> Void, _ completion: @escaping RedisClient.Completion
    ) {
        busy[ObjectIdentifier(client)] = client
        client.send(words: words, encode) { [self] result in
            busy[ObjectIdentifier(client)] = nil
            if !isStopped { takeBack(client) }
            completion(result)
        }
    }

    private func takeBack(_ client: RedisClient) {
        guard let next = waiting.popFirst() else { return free.append(client) }
        lend(client, next.words, next.encode, next.completion)
    }

    private func expireLater(in time: TimeAmount) {
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        eventLoop.scheduleTask(in: time) {
            let pool = bound.value
            while let first = pool.waiting.first, first.deadline <= .now() {
                pool.waiting.removeFirst()
                first.completion(.failure(RedisError(.notSent, "no connection for a blocking command became free in time")))
            }
        }
    }
}
