import IIIProtocol
import IIIWorker

/// The trigger types `queue:dead_lettered` and `queue:drained`: functions that hear what becomes of queues.
extension Queue {
    /// What a trigger listens to: a queue or topic by name, or all of them.
    struct Listener {
        let target: TriggerTarget
        let condition: TriggerCondition?
        let queue: String?
    }

    enum Event: String, CaseIterable {
        case deadLettered = "queue:dead_lettered"
        case drained = "queue:drained"

        var description: String {
            switch self {
            case .deadLettered: "A message is dead"
            case .drained: "The last message of a queue is done"
            }
        }
    }

    func registerEvents(on link: WorkerLink) {
        for event in Event.allCases {
            listeners[event] = TriggerProvider(
                QueueSchemas.event(event), on: link,
                accept: { binding, _ throws(InvocationError) in
                    let name = (binding.config["queue"] ?? binding.config["topic"]) ?? .null
                    guard name.isNull || name.string?.isEmpty == false else {
                        throw InvocationError(
                            .triggerRegistrationFailed, "`queue` is the name of a queue or topic, or absent for all of them")
                    }
                    return Listener(
                        target: binding.target, condition: try TriggerCondition(config: binding.config), queue: name.string)
                }, release: { _, _, _ in })
        }
    }

    func hears(_ event: Event, _ queue: String) -> Bool {
        listeners[event]?.inForce.contains { $0.value.queue == nil || $0.value.queue == queue } ?? false
    }

    /// Fire and forget: an event that is not heard does not come again.
    func tell(_ event: Event, _ queue: String, _ members: [String: JSONValue]) {
        let payload = JSONValue.object(members.merging(["queue": .string(queue)]) { $1 }).bytes
        for (_, listener) in listeners[event]?.inForce ?? [] where listener.queue == nil || listener.queue == queue {
            context.calls.fire(listener.target, condition: listener.condition, payload: payload) { [self] outcome in
                guard case .failed(let error) = outcome else { return }
                context.logger.warning(
                    .deliveryFailed, "an event of a queue was not delivered",
                    metadata: ["queue": "\(queue)", "event": "\(event.rawValue)", "error": "\(error.code)"])
            }
        }
    }

    func tellOfEnd(_ key: QueueKey, _ message: StoredMessage, _ settlement: Settlement) {
        let name = Self.name(key)
        switch settlement {
        case .dead(let progress):
            tell(
                .deadLettered, name,
                [
                    "message_id": .string(message.message.id), "function_id": .string(message.message.target.id),
                    "error": .string(progress.failures.last?.text ?? "unknown"), "retries": JSONValue(progress.attempts),
                ])
        case .done where runners[key]?.machine.running.isEmpty == true && hears(.drained, name):
            store?.counts([key]) { [self] result in
                if case .success(let counts) = result, counts[key]?.live ?? 0 == 0 { tell(.drained, name, [:]) }
            }
        default: break
        }
    }
}
