import IIIProtocol
import IIIServer
import IIITelemetry
import Logging
import NIOCore

/// Says aloud which triggers cannot fire: nobody provides their type, nobody serves their function, or their provider refused them.
///
/// The first two are legal, and mostly over in a moment, so they are looked at once, after a grace of 10 s, and told of together:
/// however many triggers there are, it is one line for each type or function, and at most ten in ten seconds. Registrants are told as
/// far as their protocol goes (`triggerregistrationresult`, which SDKs from 0.16 on log).
final class TriggerWarnings {
    private static let grace = TimeAmount.seconds(10)
    /// From the first find to the lines about it and what else comes meanwhile, and between such groups of lines.
    private static let collecting = TimeAmount.seconds(3)
    private static let pause = TimeAmount.seconds(10)
    /// Triggers looked at in one turn of the loop.
    private static let batch = 2_000
    /// Lines, and messages to registrants, at a time.
    private static let maximumLines = 10
    private static let maximumMessages = 100
    /// Names compared with a misspelt one.
    private static let maximumCandidates = 500

    private unowned let engine: Engine
    private var doubts = TriggerDoubts()
    private var isScheduled = false
    private var lastTold = NIODeadline.uptimeNanoseconds(0)
    private var tellsAt: NIODeadline?
    private var durableRefusals = WarningAllowance(5, each: .seconds(10))

    init(engine: Engine) { self.engine = engine }

    func registered(_ trigger: TriggerRecord) {
        guard trigger.isParked || !isServed(trigger) else { return }
        doubts.add(trigger.id, due: .now() + Self.grace)
        schedule(after: Self.grace)
    }

    private func isServed(_ trigger: TriggerRecord) -> Bool {
        let key = FunctionKey(trigger.functionID.text, namespace: trigger.namespace)
        return engine.registry.functions.lookup(key) != nil || engine.httpFunctions.isAwaited(key) || engine.held.isExpected(key.id)
    }

    private func schedule(after delay: TimeAmount) {
        guard !isScheduled else { return }
        isScheduled = true
        let bound = NIOLoopBound(self, eventLoop: engine.eventLoop)
        engine.eventLoop.scheduleTask(in: delay) { bound.value.examine() }
    }

    private func examine() {
        isScheduled = false
        for id in doubts.takeDue(.now(), limit: Self.batch) {
            guard let trigger = engine.registry.triggers[trigger: id] else { continue }
            if trigger.isParked {
                doubts.count(.type(trigger.type), id)
            } else if !trigger.isRejected, !isServed(trigger) {
                doubts.count(.function(trigger.functionID.text, namespace: trigger.namespace), id)
            }
        }
        let now = NIODeadline.now()
        if doubts.hasFinds, tellsAt == nil { tellsAt = max(now + Self.collecting, lastTold + Self.pause) }
        if let time = tellsAt, time <= now, !doubts.isDue(now) {
            tellsAt = nil
            lastTold = now
            tell()
        }
        if let next = [doubts.nextDue, tellsAt].compactMap({ $0 }).min() { schedule(after: max(next - now, .milliseconds(50))) }
    }

    // MARK: Lines

    private func tell() {
        let (groups, unexamined) = doubts.takeGroups()
        guard !groups.isEmpty || unexamined > 0 else { return }
        var messages = Self.maximumMessages
        for group in groups.prefix(Self.maximumLines) {
            switch group.cause {
            case .type(let type): tellOfType(type, group, &messages)
            case .function(let function, let namespace): tellOfFunction(function, namespace, group)
            }
        }
        let others = groups.dropFirst(Self.maximumLines).reduce(unexamined) { $0 + $1.count }
        if others > 0 {
            engine.logger.warning(
                .triggerParked, "more triggers cannot fire",
                metadata: ["count": "\(others)", "cure": "engine::registered-triggers::list shows them"])
        }
    }

    private func tellOfType(_ type: String, _ group: TriggerDoubts.Group, _ messages: inout Int) {
        let known = engine.registry.triggers.allTypes.map(\.id) + KnownTriggerTypes.names
        let nearest = nearest(to: type, among: known)
        let cure =
            KnownTriggerTypes.entry(for: type).map { "add '- name: \($0)' to the config" } ?? nearest.map { "did you mean '\($0)'?" }
            ?? "start the worker that provides it"
        engine.logger.warning(
            .triggerParked, "triggers wait for a provider of their type",
            metadata: ["trigger_type": .string(Engine.short(type)), "cure": .string(cure)].merging(describe(group)) { $1 })
        for id in group.examples {
            guard messages > 0, let trigger = engine.registry.triggers[trigger: id], let owner = trigger.owner else { continue }
            messages -= 1
            engine.sendTriggerError(
                id, type, trigger.functionID.text, to: owner,
                InvocationError(.triggerTypeNotFound, "Trigger type \"\(type)\" not found (\(cure)); the trigger waits for a provider"))
        }
    }

    private func tellOfFunction(_ function: String, _ namespace: String, _ group: TriggerDoubts.Group) {
        let others = engine.registry.functions.otherNamespaces(serving: FunctionKey(function, namespace: namespace))
        let nearest = nearest(to: function, among: engine.registry.functions.all.lazy.filter { !$0.isPrivilegedOnly }.map(\.key.id))
        let cure =
            others.first.map { "it is served in namespace '\($0)'" } ?? nearest.map { "did you mean '\($0)'?" } ?? "register the function"
        engine.logger.warning(
            .functionMissing, "triggers name a function that nobody has registered",
            metadata: ["function": .string(Engine.short(function)), "cure": .string(cure)].merging(describe(group)) { $1 })
    }

    private func describe(_ group: TriggerDoubts.Group) -> Logger.Metadata {
        let example = group.examples.first ?? ""
        let owner = engine.registry.triggers[trigger: example]?.owner
        return [
            "count": "\(group.count)", "trigger": .string(Engine.short(example)),
            "worker": .string(owner.map { Engine.short($0.displayName) } ?? "(durable)"),
        ]
    }

    private func nearest(to word: String, among candidates: some Sequence<String>) -> String? {
        let length = word.utf8.count
        guard length <= 200 else { return nil }
        let similar = candidates.lazy.filter { abs($0.utf8.count - length) <= 2 && $0 != word }
        return EditDistance.nearest(to: word, among: Array(similar.prefix(Self.maximumCandidates)))
    }

    // MARK: Refusals

    /// A provider has refused what it was sent. The text is the provider's.
    func refused(_ trigger: TriggerRecord, _ refused: TriggerRequest, _ error: InvocationError) {
        guard let leftOut = trigger.owner.map({ $0.refusals.take(now: .now()) }) ?? durableRefusals.take(now: .now()) else { return }
        var metadata: Logger.Metadata = [
            "trigger": .string(Engine.short(trigger.id)), "trigger_type": .string(Engine.short(trigger.type)),
            "function": .string(Engine.short(refused.functionID.text)),
            "worker": .string(trigger.owner.map { Engine.short($0.displayName) } ?? "(durable)"),
            "reason": .string(Engine.short(error.message)),
        ]
        if !trigger.isRejected { metadata["in_force"] = .string(Engine.short(trigger.functionID.text)) }
        if leftOut > 0 { metadata["left_out"] = "\(leftOut)" }
        let message: Logger.Message =
            trigger.isRejected
            ? "a trigger was refused by its provider" : "an update of a trigger was refused: the former one stays in force"
        engine.logger.warning(.triggerRefused, message, metadata: metadata)
    }
}

/// The built-in entry that provides a well-known trigger type.
enum KnownTriggerTypes {
    private static let entries = [
        "http": "iii-http", "cron": "iii-cron", "subscribe": "iii-pubsub", "state": "iii-state", "durable:subscriber": "iii-queue",
        "stream": "iii-stream", "stream:join": "iii-stream", "stream:leave": "iii-stream", "log": "iii-observability",
    ]

    static func entry(for type: String) -> String? { entries[type] }
    static var names: [String] { Array(entries.keys) }
}
