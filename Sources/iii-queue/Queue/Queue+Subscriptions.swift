import IIIProtocol
import IIITelemetry
import IIIWorker

/// The trigger type `durable:subscriber`: subscriptions that outlive their worker's connection, and this process.
extension Queue {
    static let subscriberType = "durable:subscriber"

    func restoreSubscriptions(_ bindings: [StoredBinding]) {
        restored = bindings.filter { $0.instance == nil }
        takeForeign(bindings)
        for binding in restored {
            guard let subscriber = try? subscriber(binding.subscription, config: Self.json(binding.config), binding.metadata) else {
                continue
            }
            subscribers.put(binding.id, subscriber)
            seen[binding.id] = binding.seenAt
            makeRunner(.subscription(binding.subscription))
        }
    }

    /// Subscriptions that workers of other instances have, as they are now. Whoever publishes here publishes for them too.
    func takeForeign(_ bindings: [StoredBinding]) {
        let now = Dictionary(bindings.filter { $0.instance != nil }.map { ($0.id, $0) }, uniquingKeysWith: { $1 })
        for (id, former) in foreign where now[id] == nil {
            foreign[id] = nil
            // It may have come to us meanwhile.
            if provider?.isAttached(id) != true, seen[id] == nil { subscribers.remove(id) }
            refresh(.subscription(former.subscription))
        }
        for (id, binding) in now where foreign[id] != binding && seen[id] == nil {
            let isNew = foreign[id].map { $0.subscription != binding.subscription || $0.config != binding.config } ?? true
            foreign[id] = binding
            guard isNew, let subscriber = try? subscriber(binding.subscription, config: Self.json(binding.config), binding.metadata) else {
                continue
            }
            subscribers.put(id, subscriber)
            makeRunner(.subscription(binding.subscription))
            refresh(.subscription(binding.subscription))
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
        if let missing = abilities?.missing(for: configuration.options) {
            return registration.refuse(InvocationError(.triggerRegistrationFailed, missing))
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
        foreign[binding.id] = nil
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

    /// Ends what nobody has come back for, and notes who is there, for whoever looks after a crash of this process.
    func endOldSubscriptions() {
        guard settings.subscriptionTTL > 0 else { return }
        let now = clock.now
        for (binding, subscriber) in provider?.inForce ?? [] {
            guard let subscriber, provider?.isAttached(binding.id) == true, let seenAt = seen[binding.id],
                now - seenAt >= min(settings.subscriptionTTL / 4, Self.seenInterval)
            else { continue }
            seen[binding.id] = now
            store?.keep(
                StoredBinding(
                    id: binding.id, subscription: subscriber.subscription, config: binding.config.bytes, metadata: binding.target.metadata,
                    seenAt: now)
            ) { _ in }
        }
        for (id, seenAt) in seen where provider?.isAttached(id) == false && seenAt + settings.subscriptionTTL <= now {
            guard provider?.forget(id) != nil else { continue }
            end(id)
        }
        for (id, binding) in foreign where binding.seenAt + settings.subscriptionTTL <= now {
            foreign[id] = nil
            end(id)
        }
    }

    /// Between two notes that a worker is there, in milliseconds.
    private static let seenInterval = 3_600_000

    private func end(_ id: String) {
        context.logger.notice("a subscription has ended because its worker did not come back", metadata: ["trigger": "\(id)"])
        endSubscription(id)
        store?.forget(bindings: [id]) { _ in }
    }
}
