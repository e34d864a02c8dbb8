import Glibc
import IIIRedis
import NIOCore
import NIOPosix

/// SET of 64 bytes over one connection, `depth` under way at a time; prints commands per second. `redis-benchmark -c 1 -P DEPTH` is its peer.
@main
struct RedisBench {
    static func main() async throws {
        let words = CommandLine.arguments
        guard words.count == 4, let depth = Int(words[2]), let total = Int(words[3]) else {
            print("usage: redis-bench URL DEPTH COMMANDS")
            exit(2)
        }
        let loop = MultiThreadedEventLoopGroup(numberOfThreads: 1).next()
        let client = RedisClient(RedisSettings(url: try RedisURL(words[1])), on: loop)
        try await loop.submit { client.start() }.get()
        _ = try await client.command("PING")
        let run = Run(client: client, total: total)
        let clock = ContinuousClock()
        let start = clock.now
        let done = loop.makePromise(of: Void.self)
        loop.execute {
            run.done = done
            for _ in 0..<depth { run.next() }
        }
        try await done.futureResult.get()
        print(Int(Double(total) / (start.duration(to: clock.now) / .seconds(1))))
    }
}

/// Confined to the client's event loop.
final class Run: @unchecked Sendable {
    private let client: RedisClient
    private let total: Int
    private var sent = 0
    private var answered = 0
    private let value = [UInt8](repeating: 120, count: 64)
    var done: EventLoopPromise<Void>?

    init(client: RedisClient, total: Int) {
        self.client = client
        self.total = total
    }

    func next() {
        guard sent < total else { return }
        sent += 1
        client.send(words: 3) {
            $0.add("SET")
            $0.add("key:bench")
            $0.add(value)
        } completion: { [self] result in
            if case .failure(let error) = result { done?.fail(error) }
            answered += 1
            if answered == total { done?.succeed(()) }
            next()
        }
    }
}
