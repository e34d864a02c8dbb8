import NIOCore

/// A connection for publish and subscribe, which subscribes again after every loss and says that there was a gap.
///
/// Redis keeps nothing for a subscriber that is away, and cuts one that does not keep up: after `subscribed(hadGap: true)` whatever was built
/// from messages must be read anew. A silent connection is found out by a PING every 10 s. Confined to `eventLoop`.
public final class RedisSubscriber: @unchecked Sendable {
    /// What a subscriber hears, in order.
    public enum Event: Sendable {
        /// `pattern` is nil for a plain channel.
        case message(channel: String, pattern: String?, payload: [UInt8])
        /// A channel or pattern is subscribed; nothing is missed from here on.
        case subscribed(String, hadGap: Bool)
        /// The connection is lost; it comes back by itself.
        case lost(RedisError)
        /// Redis refuses a subscription (rights): it is given up.
        case refused(RedisError)
    }

    /// Where everything of it is called, `onEvent` too.
    public let eventLoop: any EventLoop
    private let dialer: RedisDialer
    private let onEvent: (Event) -> Void
    private var subscriptions = RedisSubscriptions()
    private let maximumTopics: Int
    private var isReady = false
    private var heard = NIODeadline.now()
    private var heartbeat: Scheduled<Void>?

    private static let pingInterval = TimeAmount.seconds(10)

    /// `maximumTopics`: channels and patterns at most.
    public init(_ settings: RedisSettings, on eventLoop: any EventLoop, maximumTopics: Int = 100_000, onEvent: @escaping (Event) -> Void) {
        self.eventLoop = eventLoop
        self.onEvent = onEvent
        self.maximumTopics = maximumTopics
        var settings = settings
        // A replica passes messages on as well.
        settings.requiresPrimary = false
        dialer = RedisDialer(settings, on: eventLoop)
    }

    /// Connects, and again for ever until `stop`.
    public func start() {
        dialer.start(
            .init(
                ready: { [unowned self] _ in ready() }, received: { [unowned self] in received($0) }, readCompleted: {},
                lost: { [self] error, _ in
                    isReady = false
                    heartbeat?.cancel()
                    subscriptions.connectionLost()
                    onEvent(.lost(error))
                }))
    }

    /// Ends the connection; no event follows.
    public func stop() {
        heartbeat?.cancel()
        dialer.stop()
    }

    /// Gives the present connection up: whoever uses it knows that nothing comes over it any more. Another one follows, with a gap.
    public func reconnect(because reason: String) { dialer.connection?.close(RedisError(.notSent, reason)) }

    /// Answers false when there are too many.
    @discardableResult
    public func subscribe(channel: String) -> Bool { subscribe(.channel(channel)) }
    /// The same for a pattern (`PSUBSCRIBE`).
    @discardableResult
    public func subscribe(pattern: String) -> Bool { subscribe(.pattern(pattern)) }
    /// Messages that are on their way may still come.
    public func unsubscribe(channel: String) { unsubscribe(.channel(channel)) }
    /// The same for a pattern.
    public func unsubscribe(pattern: String) { unsubscribe(.pattern(pattern)) }

    private func subscribe(_ topic: RedisSubscriptions.Topic) -> Bool {
        guard subscriptions.count < maximumTopics else { return false }
        if subscriptions.add(topic), isReady { write([topic], isOn: true) }
        return true
    }

    private func unsubscribe(_ topic: RedisSubscriptions.Topic) {
        if subscriptions.remove(topic), isReady { write([topic], isOn: false) }
    }

    private func write(_ topics: [RedisSubscriptions.Topic], isOn: Bool) {
        guard !topics.isEmpty else { return }
        var arguments = RedisArguments(ByteBuffer())
        for topic in topics {
            arguments.head(2)
            switch topic {
            case .channel(let name):
                arguments.add(isOn ? "SUBSCRIBE" : "UNSUBSCRIBE")
                arguments.add(name)
            case .pattern(let name):
                arguments.add(isOn ? "PSUBSCRIBE" : "PUNSUBSCRIBE")
                arguments.add(name)
            }
        }
        dialer.connection?.write(arguments.buffer)
    }

    private func ready() {
        isReady = true
        heard = .now()
        write(subscriptions.wanted, isOn: true)
        beat()
    }

    private func received(_ value: RedisValue) {
        heard = .now()
        if case .error(let text) = value { return onEvent(.refused(RedisError(.unauthorized, "Redis: \(text)"))) }
        switch subscriptions.received(value) {
        case .nothing: break
        case .message(.channel, let channel, let payload): onEvent(.message(channel: channel, pattern: nil, payload: payload))
        case .message(.pattern(let pattern), let channel, let payload):
            onEvent(.message(channel: channel, pattern: pattern, payload: payload))
        case .subscribed(.channel(let name), let hadGap), .subscribed(.pattern(let name), let hadGap):
            onEvent(.subscribed(name, hadGap: hadGap))
        // PONG outside of subscribed mode is a plain status.
        case .unexpected where value.text == "PONG": break
        case .unexpected: dialer.connection?.close(RedisError(.failed, "Redis has answered what nobody asked"))
        }
    }

    private func beat() {
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        heartbeat = eventLoop.scheduleTask(in: Self.pingInterval) {
            let subscriber = bound.value
            guard subscriber.isReady else { return }
            if subscriber.heard + Self.pingInterval * 2 < .now() {
                subscriber.dialer.connection?.close(RedisError(.notSent, "Redis has been silent for 20 s"))
                return
            }
            var arguments = RedisArguments(ByteBuffer())
            arguments.head(1)
            arguments.add("PING")
            subscriber.dialer.connection?.write(arguments.buffer)
            subscriber.beat()
        }
    }
}
