/// What not every store can do.
public enum QueueAbility: String, Sendable, CaseIterable {
    /// Named queues: `enqueue` outside of topics.
    case namedQueues = "have named queues"
    case priorities = "order by priority"
    /// `NewMessage.due`, to the millisecond.
    case delays = "delay messages"
    case groups = "keep the order of groups"
    case idempotencyKeys = "remember idempotency keys"
    /// `NewMessage.maxDepth`, exactly.
    case depthLimits = "limit the length of a queue"
    /// `deadLetters`, `redrive`, `discard`.
    case deadLetters = "show and redrive dead messages"
    /// Redrive and discard by function, error and time, and at a rate.
    case selections = "choose among dead messages"
    case purging = "purge queues"
    case cancelling = "cancel messages"
    /// `find`, also of what is done while its result is kept.
    case finding = "find a message by its receipt"
    /// `configure`: pauses and definitions outlive the process.
    case records = "keep pauses and definitions"
    /// Several processes may work on it at the same time.
    case sharing = "be shared by several instances"
}

extension Set<QueueAbility> {
    public static var all: Set { Set(QueueAbility.allCases) }

    /// What `options` ask for and the store cannot do, as a sentence; nil when there is nothing.
    func missing(for options: QueueOptions) -> String? {
        first(
            (.groups, options.groupField != nil || options.isSerial, "type: fifo"), (.delays, options.delay > 0, "a delay"),
            (.depthLimits, options.maxDepth > 0, "max_depth"), (.idempotencyKeys, options.deduplicationField != nil, "dedupe_field"),
            (.priorities, options.priorityField != nil, "priority_field"), (.finding, options.resultTTL > 0, "result_ttl_ms"))
    }

    /// The same of one message.
    func missing(for new: NewMessage) -> String? {
        first(
            (.delays, new.due != nil, "a delay"), (.priorities, new.message.priority > 0, "a priority"),
            (.groups, new.message.group != nil, "a group"), (.idempotencyKeys, new.message.deduplicationKey != nil, "an idempotency key"))
    }

    private func first(_ demands: (ability: QueueAbility, isMade: Bool, what: String)...) -> String? {
        demands.first { $0.isMade && !contains($0.ability) }.map {
            "\($0.what) is asked for, and this store cannot \($0.ability.rawValue)"
        }
    }
}
