import IIIProtocol
import IIITelemetry
import IIIWorker

/// The trigger type `durable:subscriber`: subscriptions that outlive their worker's connection, and this process.
extension Queue {
    static let subscriberType = "durable:subscriber"

    func restoreSubscriptions(_ bindings: [StoredBinding]) {
        restored = bindings
        for binding in bindings {
            guard let subscriber = try? subscriber(binding.subscription, config: Self.json(binding.config), binding.metadata) else {
                continue
            }
            subscribers.put(binding.id, subscriber)
            seen[binding.id] = binding.seenAt
            makeRunner(.subscription(binding.subscription))
        }
    }

    private static func json(_ text: [UInt8]) -> JSONValue { (try? JSONValue(parsing: text)) ?? .null }

    private func subscriber(
        _ subscription: QueueKey.Subscription, config: JSONValue, _ metadata: [UInt8]?
    ) throws(InvocationError) -> Subscriber? {
        guard let configuration = try SubscriberConfiguration(config, defaults: settings.subscriptionDefaults) else { return nil }
        return Subscriber(
            subscription: subscription, options: configuration.options, condition: configuration.condition, metadata: metadata)
    }

    func registerSubscriber(on link: WorkerLink) {
        provider = TriggerProvider(
            QueueSchemas.subscriber, on: link, registration: { [unowned self] in registered($0) }, release: { [unowned self] in ended($0) })
        for binding in restored {
            guard let subscriber = subscribers.of(binding.id),
                let target = try? TriggerTarget(
                    function: binding.subscription.function, namespace: binding.subscription.namespace, metadata: binding.metadata)
            else { continue }
            provider?.restore(
                TriggerBinding(id: binding.id, triggerType: Self.subscriberType, target: target, config: Self.json(binding.config)),
                subscriber)
        }
        restored = []
    }

    private func registered(_ registration: TriggerRegistration<Subscriber?>) {
        let binding = registration.binding
        let configuration: SubscriberConfiguration?
        do throws(InvocationError) {
            configuration = try SubscriberConfiguration(binding.config, defaults: settings.subscriptionDefaults)
        } catch { return registration.refuse(error) }
        guard let configuration else {
            context.logger.warning(
                .triggerNeverFires, "a durable subscription without a topic never fires",
                metadata: ["trigger": "\(binding.id)", "function_id": "\(binding.target.functionID)"])
            endSubscription(binding.id)
            return registration.accept(nil)
        }
        if !configuration.ignored.isEmpty {
            context.logger.warning(
                .configurationSuspicious, "settings of a durable subscription cannot be used and are left out",
                metadata: ["trigger": "\(binding.id)", "keys": "\(configuration.ignored.joined(separator: ", "))"])
        }
        let subscription = QueueKey.Subscription(
            topic: configuration.topic, function: binding.target.functionID.text, namespace: binding.target.namespace)
        let subscriber = Subscriber(
            subscription: subscription, options: configuration.options, condition: configuration.condition,
            metadata: binding.target.metadata)
        let stored = StoredBinding(
            id: binding.id, subscription: subscription, config: binding.config.bytes, metadata: binding.target.metadata, seenAt: clock.now)
        // In force at once: what its worker publishes next is for it. It is stored before any message that comes later.
        let former = subscribers.put(binding.id, subscriber)
        seen[binding.id] = stored.seenAt
        makeRunner(.subscription(subscription))
        refresh(.subscription(subscription))
        store?.keep(stored) { [self] error in
            if let error {
                subscribers.remove(binding.id)
                if let former { subscribers.put(binding.id, former) }
                refresh(.subscription(subscription))
                return registration.refuse(InvocationError(.triggerRegistrationFailed, error.message))
            }
            if let former, former.subscription != subscription { refresh(.subscription(former.subscription)) }
            registration.accept(subscriber)
            forgetDetached(of: subscription, but: binding.id)
        }
    }

    private func ended(_ release: TriggerRelease<Subscriber?>) {
        guard let subscriber = release.value else { return release.complete() }
        let others = subscribers.triggers(of: subscriber.subscription).filter { $0 != release.binding.id }
        guard release.reason == .unregistered || others.contains(where: { provider?.isAttached($0) == true }) else {
            // Its worker is gone and may come back: what is published meanwhile is for it.
            seen[release.binding.id] = clock.now
            return release.keep()
        }
        endSubscription(release.binding.id)
        store?.forget(bindings: [release.binding.id]) { _ in release.complete() }
        // Who takes its subscription back means all that its earlier processes have left behind, too.
        guard release.reason == .unregistered else { return }
        forgetDetached(of: subscriber.subscription, but: release.binding.id)
    }

    /// Earlier processes of a worker leave subscriptions under other ids behind; a newer one stands for all of them.
    private func forgetDetached(of subscription: QueueKey.Subscription, but kept: String) {
        let old = subscribers.triggers(of: subscription).filter { $0 != kept && provider?.isAttached($0) == false }
        for id in old where provider?.forget(id) != nil {
            endSubscription(id)
            store?.forget(bindings: [id]) { _ in }
        }
    }

    private func endSubscription(_ trigger: String) {
        seen[trigger] = nil
        guard let subscriber = subscribers.remove(trigger) else { return }
        refresh(.subscription(subscriber.subscription))
    }

    /// Nobody has come back for them.
    func endOldSubscriptions() {
        guard settings.subscriptionTTL > 0 else { return }
        for (id, seenAt) in seen where provider?.isAttached(id) == false && seenAt + settings.subscriptionTTL <= clock.now {
            guard provider?.forget(id) != nil else { continue }
            context.logger.notice("a subscription has ended because its worker did not come back", metadata: ["trigger": "\(id)"])
            endSubscription(id)
            store?.forget(bindings: [id]) { _ in }
        }
    }
}
