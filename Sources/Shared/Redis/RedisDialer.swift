import IIIProtocol
import IIITLS
import NIOCore

/// Keeps one connection alive: dials, dials again with growing pauses, until it is stopped. Confined to its event loop.
final class RedisDialer {
    struct Events {
        var ready: (RedisServerFacts) -> Void
        var received: (RedisValue) -> Void
        var readCompleted: () -> Void
        /// Also after each attempt that has failed. The next one follows by itself.
        var lost: (_ error: RedisError, _ isLasting: Bool) -> Void
    }

    let settings: RedisSettings
    let eventLoop: any EventLoop
    var scripts: [RedisScript] = []
    private(set) var connection: RedisConnection?
    private var tls: TLSClientContext?
    private var backoff: ReconnectBackoff
    private var generator = SystemRandomNumberGenerator()
    private var isStopped = false
    private var nextAttempt: Scheduled<Void>?
    private var events: Events?
    /// The next attempt follows at once: the server is fine, only this connection was not.
    var dialsAtOnce = false

    init(_ settings: RedisSettings, on eventLoop: any EventLoop) {
        self.settings = settings
        self.eventLoop = eventLoop
        backoff = ReconnectBackoff(
            first: .nanoseconds(settings.firstReconnectDelay.nanoseconds), maximum: .nanoseconds(settings.maximumReconnectDelay.nanoseconds)
        )
    }

    func start(_ events: Events) {
        guard self.events == nil else { return }
        self.events = events
        dial()
    }

    func stop() {
        isStopped = true
        nextAttempt?.cancel()
        if let connection { connection.close(RedisError(.notSent, "the client was stopped")) } else { events = nil }
    }

    private func dial() {
        guard !isStopped, connection == nil, let events else { return }
        do {
            if settings.url.isTLS, tls == nil { tls = try TLSClientContext(authorityFile: settings.authorityFile) }
            connection = try RedisConnection.dial(
                settings, tls: tls, scripts: scripts, on: eventLoop,
                .init(
                    ready: { [unowned self] facts in
                        backoff.reset()
                        events.ready(facts)
                    }, received: events.received, readCompleted: events.readCompleted,
                    ended: { [self] error, isLasting in ended(error, isLasting) }))
        } catch {
            ended(error as? RedisError ?? RedisError(.invalid, "TLS to Redis cannot begin: \(error)"), false)
        }
    }

    private func ended(_ error: RedisError, _ isLasting: Bool) {
        connection = nil
        if !isStopped {
            let delay = dialsAtOnce ? .zero : TimeAmount(backoff.next(using: &generator))
            dialsAtOnce = false
            let bound = NIOLoopBound(self, eventLoop: eventLoop)
            nextAttempt = eventLoop.scheduleTask(in: delay) { bound.value.dial() }
        }
        let lost = events?.lost
        // Whoever owns us is held by the events: no longer than we are of use.
        if isStopped { events = nil }
        lost?(error, isLasting)
    }
}
