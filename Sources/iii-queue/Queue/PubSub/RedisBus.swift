import IIIProtocol
import IIIRedis
import IIISettings
import IIIWorker
import Logging
import NIOCore

/// Topics of several engines through one Redis: `PUBLISH` of the bare JSON value, as the reference does, so both can meet. Every engine that
/// subscribes gets each message once; what is published while a connection is lost is gone, which the log says.
final class RedisBus: PubSubBus {
    private let settings: RedisSettings
    private var client: RedisClient?
    private var subscriber: RedisSubscriber?
    private var context: PubSubContext?
    private var unreadable = 0
    private var gaps = 0

    init(_ values: SettingValues) throws(ConfigurationError) {
        do throws(RedisError) { settings = RedisSettings(url: try RedisURL(values[PubsubSettings.redisURL])) } catch {
            throw ConfigurationError("adapter.config.redis_url: \(error.message)")
        }
    }

    func start(_ context: PubSubContext, on loop: isolated WorkerLoop) async throws {
        self.context = context
        var settings = settings
        settings.clientName = "iii-pubsub"
        settings.commandTimeout = .seconds(4)
        settings.maximumReconnectDelay = .seconds(1)
        client = try await RedisClient.open(
            settings, on: context.eventLoop, logger: context.logger, consequence: "messages to topics are not delivered until it is back",
            keepsData: false)
        let subscriber = RedisSubscriber(settings, on: context.eventLoop) { [weak self] in self?.heard($0) }
        subscriber.start()
        self.subscriber = subscriber
    }

    func close(on loop: isolated WorkerLoop) async {
        subscriber?.stop()
        client?.stop()
    }

    func subscribe(_ topic: String) {
        guard subscriber?.subscribe(channel: topic) == false else { return }
        context?.logger.warning(
            .triggerNeverFires, "too many topics are subscribed", metadata: ["topic": "\(topic.prefix(200))"])
    }

    func unsubscribe(_ topic: String) { subscriber?.unsubscribe(channel: topic) }

    func publish(_ topic: String, _ payload: [UInt8], completion: @escaping (InvocationError?) -> Void) {
        guard let client else { return completion(InvocationError(.functionUnavailable, "iii-pubsub is starting")) }
        client.send(words: 3) {
            $0.add("PUBLISH")
            $0.add(topic)
            $0.add(payload)
        } completion: { result in
            guard case .failure(let error) = result else { return completion(nil) }
            completion(InvocationError(.publishFailed, "Redis: \(error.message)" + (error.isRetryable ? "; try again later" : "")))
        }
    }

    private func heard(_ event: RedisSubscriber.Event) {
        switch event {
        case .message(let channel, _, let payload):
            // Anybody may publish to a channel; a function gets JSON.
            guard (try? JSONValue(parsing: payload)) != nil else {
                unreadable += 1
                context?.logger.warning(
                    .deliveryFailed, "a message of a Redis channel is not JSON and is left out",
                    metadata: ["topic": "\(channel.prefix(200))"])
                return
            }
            context?.deliver(channel, payload)
        case .subscribed(let channel, let hadGap):
            guard hadGap else { return }
            gaps += 1
            context?.logger.warning(
                .messagesMissed, "messages of a topic may have been missed while Redis was away",
                metadata: ["topic": "\(channel.prefix(200))"])
        case .refused(let error):
            context?.logger.error(.redisUnreachable, "Redis refuses a subscription", metadata: ["error": "\(error.message)"])
        case .lost: break
        }
    }

    var status: String {
        var parts = [client?.isConnected == false ? "Redis is away" : ""]
        if gaps > 0 { parts.append("\(gaps) gaps") }
        if unreadable > 0 { parts.append("\(unreadable) not JSON") }
        return parts.filter { !$0.isEmpty }.joined(separator: ", ")
    }
}
