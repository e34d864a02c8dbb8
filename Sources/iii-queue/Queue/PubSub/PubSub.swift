import CoreMetrics
import IIIProtocol
import IIISettings
import IIITelemetry
import IIIWorker
import Logging
import NIOCore
import Synchronization

/// The `iii-pubsub` core worker: the function `publish` and the trigger type `subscribe` (docs/reference/pubsub.md).
///
/// Every subscription of a topic gets every message, once, in the order of each publisher. Confined to the link's event loop.
public final class PubSub: CoreWorker {
    public static var role: String { "pubsub" }

    /// How messages may travel; a program of one's own registers further ones before it runs `PubSub`.
    public static let buses = Mutex<AdapterRegistry<any PubSubBus>>(
        {
            var registry = AdapterRegistry<any PubSubBus>("pub/sub bus")
            registry.register(PubsubSettings.local) { _ in LocalBus() }
            registry.register(PubsubSettings.redis) { try RedisBus($0) }
            return registry
        }())

    /// Opaque outside: the settings of the entry.
    public struct Configuration: Sendable {
        let bus: AdapterChoice
    }

    private let context: CoreWorkerContext
    private let configuration: Configuration
    private var bus: (any PubSubBus)?
    private var subscriptions = Subscriptions()
    private var provider: TriggerProvider<String?>?
    private let published = Counter(label: "iii.pubsub.published")
    private let delivered = Counter(label: "iii.pubsub.delivered")
    private let undelivered = Counter(label: "iii.pubsub.undelivered")
    private var counts = (published: 0, delivered: 0, undelivered: 0)

    public static func configuration(from json: JSONValue) throws -> Configuration {
        let adapter = buses.withLock { $0 }.setting(PubsubSettings.adapterText)
        do throws(InvalidSettings) {
            return Configuration(bus: try SettingGroup { adapter }.read(json)[adapter])
        } catch { throw ConfigurationError(error.description) }
    }

    public init(configuration: Configuration, context: CoreWorkerContext) throws {
        self.context = context
        self.configuration = configuration
    }

    public func start(on loop: isolated WorkerLoop) async throws {
        let bus = try await Self.buses.withLock { $0 }.open(configuration.bus)
        try await bus.start(
            PubSubContext(eventLoop: context.eventLoop, name: context.name, logger: context.logger) { [unowned self] in deliver($0, $1) },
            on: loop)
        self.bus = bus
    }

    public func end(on loop: isolated WorkerLoop) async { await bus?.close(on: loop) }

    public func registerTriggerTypes(on link: WorkerLink) {
        provider = TriggerProvider(
            PubSubSchemas.subscribe, on: link,
            accept: { [unowned self] binding, current throws(InvocationError) in try accept(binding, current) },
            release: { [unowned self] binding, topic, _ in
                if let topic { perform(subscriptions.remove(binding.id, from: topic)) }
            })
    }

    public func registerFunctions(on link: WorkerLink) {
        link.registerFunction("publish", description: "Publishes to every subscriber of a topic", requestFormat: PubSubSchemas.publish) {
            [self] call in publish(call)
        }
    }

    public func reconfigure(_ new: Configuration, on loop: isolated WorkerLoop) async -> Reconfiguration {
        .refused("another bus needs a restart")
    }

    public var status: String {
        var text = "\(subscriptions.topicCount) topics, \(provider?.count ?? 0) subscriptions, \(counts.published) published"
        if counts.undelivered > 0 { text += ", \(counts.undelivered) not delivered" }
        if let bus, !bus.status.isEmpty { text += ", \(bus.status)" }
        return text
    }

    // MARK: Subscribing

    /// The value of a binding is its topic; nil for one that names none, which is taken and never fires, as in the baseline.
    private func accept(_ binding: TriggerBinding, _ current: String??) throws(InvocationError) -> String? {
        let condition = try TriggerCondition(config: binding.config)
        let topic = binding.config["topic"]?.string.flatMap { $0.isEmpty ? nil : $0 }
        if let former = current ?? nil, former != topic { perform(subscriptions.remove(binding.id, from: former)) }
        guard let topic else {
            context.logger.warning(
                .triggerNeverFires, "a subscription without a topic never fires",
                metadata: ["trigger": "\(binding.id)", "function_id": "\(binding.target.functionID)"])
            return nil
        }
        perform(subscriptions.add(binding.id, to: topic, .init(target: binding.target, condition: condition)))
        return topic
    }

    private func perform(_ change: Subscriptions.Change) {
        switch change {
        case .none: break
        case .topicAppeared(let topic): bus?.subscribe(topic)
        case .topicEnded(let topic): bus?.unsubscribe(topic)
        }
    }

    // MARK: Publishing

    private func publish(_ call: IncomingCall) {
        let input: Publication
        do throws(InvocationError) { input = try Publication(call.payload, function: "publish") } catch { return call.fail(error) }
        guard let bus else { return call.fail(InvocationError(.functionUnavailable, "iii-pubsub is starting")) }
        counts.published += 1
        published.increment()
        bus.publish(input.topic, input.data) { error in
            if let error { call.fail(error) } else { call.reply(nil) }
        }
    }

    private func deliver(_ topic: String, _ payload: [UInt8]) {
        for subscription in subscriptions.of(topic) {
            context.calls.fire(subscription.target, condition: subscription.condition, payload: payload) { [self] outcome in
                switch outcome {
                case .completed, .skipped:
                    counts.delivered += 1
                    delivered.increment()
                case .failed(let error), .conditionFailed(let error):
                    counts.undelivered += 1
                    undelivered.increment()
                    notDelivered(topic, subscription, error)
                }
            }
        }
    }

    /// Nobody waits for the outcome of a delivery, so it is said here; never what was in the message.
    private func notDelivered(_ topic: String, _ subscription: Subscriptions.Subscription, _ error: InvocationError) {
        context.logger.warning(
            .deliveryFailed, "a message was not delivered",
            metadata: [
                "topic": "\(topic.prefix(200))", "function_id": "\(subscription.target.functionID)", "error": "\(error.code)",
            ])
    }
}
