import IIIProtocol
import IIITelemetry
import IIIWorker
import Logging
import NIOCore

/// Calls triggers of changed items: for one trigger and one item one after the other, in the order of the changes, others meanwhile.
///
/// So a handler never sees an older state of an item after a newer one, one that writes what it listens to runs once at a time, and
/// one that hangs holds up nobody else. Each call may take `timeout`. What waits is bounded; beyond it events are dropped and counted.
/// Confined to the event loop.
package final class OrderedFires {
    package struct Limits {
        /// Events that wait for their turn, and bytes of their payloads. Defaults 16 384 and 64 MiB.
        package var waiting = 16_384
        package var waitingBytes = 64 << 20
        /// Of one call. Default 30 s.
        package var timeout = TimeAmount.seconds(30)

        package init() {}
    }

    /// What a trigger is told, and the span of everything that follows from the change.
    package struct Event {
        package let payload: [UInt8]
        let span: FanOutSpan

        /// `count`: triggers that are told.
        package init(payload: [UInt8], span: TraceSpan, count: Int) {
            self.payload = payload
            self.span = FanOutSpan(span, count: count)
        }
    }

    /// One trigger and one item; it exists while a call is under way.
    private final class Lane {
        let target: TriggerTarget
        let condition: TriggerCondition?
        let item: ItemAddress
        let trigger: String
        var waiting = CircularBuffer<Event>()

        init(_ trigger: String, _ item: ItemAddress, _ target: TriggerTarget, _ condition: TriggerCondition?) {
            self.trigger = trigger
            self.item = item
            self.target = target
            self.condition = condition
        }
    }

    private let calls: OutboundCalls
    private let limits: Limits
    private let logger: Logger
    private var lanes: [String: [ItemAddress: Lane]] = [:]
    /// Calls whose turn has come; with the link down each ends at once, and all would recurse.
    private var due = CircularBuffer<(Lane, Event)>()
    private var isStarting = false
    package private(set) var waiting = 0
    private var waitingBytes = 0
    package let counters: EventCounters

    package init(calls: OutboundCalls, limits: Limits = Limits(), counters: EventCounters, logger: Logger) {
        self.calls = calls
        self.counters = counters
        self.limits = limits
        self.logger = logger
    }

    package func fire<Filter>(_ trigger: TriggerIndex<Filter>.Entry, about item: ItemAddress, _ event: Event) {
        guard let lane = lanes[trigger.id]?[item] else {
            let lane = Lane(trigger.id, item, trigger.target, trigger.condition)
            lanes[trigger.id, default: [:]][item] = lane
            return start(lane, event)
        }
        guard waiting < limits.waiting, waitingBytes + event.payload.count <= limits.waitingBytes else {
            counters.dropped.add()
            event.span.ended(failed: true)
            return logger.warning(
                .eventsDropped, "an event was dropped: too many wait for slow functions",
                metadata: ["function_id": "\(trigger.target.functionID)", "waiting": "\(waiting)", "dropped": "\(counters.dropped.value)"])
        }
        lane.waiting.append(event)
        waiting += 1
        waitingBytes += event.payload.count
    }

    /// The trigger is no more: what waits for it is not called.
    package func ended(_ trigger: String) {
        for lane in (lanes.removeValue(forKey: trigger) ?? [:]).values {
            for event in lane.waiting {
                waiting -= 1
                waitingBytes -= event.payload.count
                event.span.ended(failed: false)
            }
            lane.waiting.removeAll()
        }
    }

    private func start(_ lane: Lane, _ event: Event) {
        due.append((lane, event))
        guard !isStarting else { return }
        isStarting = true
        while let (lane, event) = due.popFirst() { call(lane, event) }
        isStarting = false
    }

    private func call(_ lane: Lane, _ event: Event) {
        calls.fire(
            lane.target, condition: lane.condition, payload: event.payload, trace: event.span.context, timeout: limits.timeout
        ) { [self] outcome in
            var isFailure = true
            switch outcome {
            case .completed, .skipped: isFailure = false
            case .conditionFailed: break
            case .failed(let error):
                logger.warning(
                    .deliveryFailed, "a function of a trigger failed",
                    metadata: ["function_id": "\(lane.target.functionID)", "trigger": "\(lane.trigger)", "error": "\(error.code)"])
            }
            (isFailure ? counters.failed : counters.delivered).add()
            event.span.ended(failed: isFailure)
            finished(lane)
        }
    }

    private func finished(_ lane: Lane) {
        guard lanes[lane.trigger]?[lane.item] === lane else { return }
        guard let next = lane.waiting.popFirst() else {
            lanes[lane.trigger]?[lane.item] = nil
            if lanes[lane.trigger]?.isEmpty == true { lanes[lane.trigger] = nil }
            return
        }
        waiting -= 1
        waitingBytes -= next.payload.count
        start(lane, next)
    }
}
