import IIIRedis
import IIITelemetry
import Logging
import NIOCore

/// Hears what all engines do to the items of one Redis. Confined to the event loop.
///
/// The scripts publish what they store, so events come once each and in the order of the commits. A subscription that was lost comes back with a gap.
/// One that is deaf without knowing it (it hangs at a server that is no longer the one which takes the writes) is found out by an *echo*: every five
/// seconds, and after every new connection for commands, something is published that only this process subscribes to; if Redis says that nobody
/// has received it, the subscription is made anew.
final class RedisItemFeed: @unchecked Sendable {
    var tell: (@Sendable (ItemFeed) -> Void)?
    private(set) var isListening = false

    private let keys: RedisItemKeys
    private let database: Int
    private let echo: String
    private let logger: Logger
    private let eventLoop: any EventLoop
    private var subscriber: RedisSubscriber?
    private weak var client: RedisClient?
    private var first: EventLoopPromise<Void>?
    private var isEchoSubscribed = false
    private var beat: RepeatedTask?
    private var hasWarned: NIODeadline?

    private static let interval = TimeAmount.seconds(5)

    init(_ settings: RedisSettings, _ keys: RedisItemKeys, _ instance: String, on eventLoop: any EventLoop, logger: Logger) {
        self.keys = keys
        self.eventLoop = eventLoop
        self.logger = logger
        database = settings.url.database
        echo = keys.echo(instance)
        subscriber = RedisSubscriber(settings, on: eventLoop) { [unowned self] in heard($0) }
    }

    /// Listens; returns once nothing is missed from there on. Throws when that does not come about within 5 s.
    func open(with client: RedisClient) async throws {
        try await eventLoop.flatSubmit { [self] () -> EventLoopFuture<Void> in
            self.client = client
            let promise = eventLoop.makePromise(of: Void.self)
            first = promise
            subscriber?.subscribe(channel: keys.channel)
            subscriber?.subscribe(channel: echo)
            subscriber?.start()
            eventLoop.scheduleTask(in: .seconds(5)) { [self] in
                settle(.failure(RedisClient.Unreachable(description: "Redis takes no subscription within 5 s")))
            }
            beat = eventLoop.scheduleRepeatedTask(initialDelay: Self.interval, delay: Self.interval) { [weak self] _ in self?.check() }
            return promise.futureResult
        }.get()
    }

    func stop() {
        beat?.cancel()
        subscriber?.stop()
        subscriber = nil
        tell = nil
        settle(.failure(RedisError(.notSent, "the Redis client was stopped")))
    }

    private func settle(_ result: Result<Void, any Error>) {
        first?.completeWith(result)
        first = nil
    }

    /// Commands go somewhere else now, perhaps: do events still come from there?
    func commandsConnected(_ facts: RedisServerFacts) { check() }

    private func check() {
        guard isListening, isEchoSubscribed, let client else { return }
        client.send(words: 3) {
            $0.add("PUBLISH")
            $0.add(echo)
            $0.add("")
        } completion: { [weak self] result in
            guard let self, isListening, isEchoSubscribed, case .success(let value) = result, value.int == 0 else { return }
            subscriber?.reconnect(because: "commands go to another server than events come from")
        }
    }

    private func heard(_ event: RedisSubscriber.Event) {
        switch event {
        case .message(let channel, _, let payload): if channel == keys.channel { received(payload) }
        case .subscribed(echo, _): isEchoSubscribed = true
        case .subscribed(_, let hadGap):
            isListening = true
            settle(.success(()))
            guard hadGap else { return }
            logger.notice("events of Redis come again; all clients are shown anew what there is")
            tell?(.gap)
        case .lost(let error):
            guard isListening else { return }
            isListening = false
            isEchoSubscribed = false
            logger.warning(
                .redisUnreachable, "events do not come from Redis; clients are shown what they have missed when they do",
                metadata: ["error": "\(error.message)"])
        case .refused(let error):
            logger.warning(.redisUnreachable, "Redis refuses the subscription to events", metadata: ["error": "\(error.message)"])
            settle(.failure(error))
        }
    }

    private func received(_ message: [UInt8]) {
        do throws(InputProblem) {
            if let news = try RedisItemFrame.news(message, database: database) { tell?(.news(news)) }
        } catch {
            guard hasWarned.map({ $0 + .minutes(1) < .now() }) ?? true else { return }
            hasWarned = .now()
            logger.warning(
                .redisForeignValue, "an event that another program has published cannot be read; it is left out",
                metadata: ["channel": "\(keys.channel)", "error": "\(error.message)"])
        }
    }
}
