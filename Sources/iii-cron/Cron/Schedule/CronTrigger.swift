import IIICrypto
import IIIProtocol
import IIIWorker

/// A trigger of type `cron` that is in force: what runs, when, under which rules. Immutable.
public final class CronTrigger: Sendable {
    /// The trigger's id, which payloads call the job's.
    public let id: String
    public let target: TriggerTarget
    let condition: TriggerCondition?
    public let schedule: CronSchedule
    public let options: CronTriggerOptions
    /// What makes registrations the same job, whoever registers them wherever: the `key`, else namespace, function, schedule and zone.
    public let identity: String

    init(id: String, target: TriggerTarget, condition: TriggerCondition? = nil, schedule: CronSchedule, options: CronTriggerOptions) {
        self.id = id
        self.target = target
        self.condition = condition
        self.schedule = schedule
        self.options = options
        let namespace = target.namespace ?? "default"
        if let key = options.key {
            identity = "key:\(namespace):\(key)"
        } else {
            identity = "job:" + SHA1Digest.hex(of: "\(namespace)\u{0}\(target.functionID.text)\u{0}\(schedule.signature)")
        }
    }

    /// Reads a registration. Refuses, naming what is wrong, what would never fire or is not what its author can have meant.
    /// `now` is in milliseconds.
    convenience init(_ binding: TriggerBinding, schedules: inout CronSchedules, now: Int) throws(InvocationError) {
        guard let text = binding.config["expression"]?.string, !text.isEmpty else {
            throw InvocationError(.triggerRegistrationFailed, "Cron expression is required")
        }
        let zone = try Self.zoneName(binding.config)
        let schedule = try schedules.schedule(text, zone: zone)
        let options = try CronTriggerOptions(config: binding.config)
        self.init(
            id: binding.id, target: binding.target, condition: try TriggerCondition(config: binding.config), schedule: schedule,
            options: options)
        guard schedule.next(after: RFC3339.floor(now, 1_000)) != nil else {
            throw InvocationError(.triggerRegistrationFailed, "Cron expression '\(text)' never fires: no such time comes before 2101")
        }
    }

    /// The key `timezone` of a config or an input; UTC when absent or null.
    static func zoneName(_ config: JSONValue) throws(InvocationError) -> String {
        switch config["timezone"] {
        case nil, .null: return "UTC"
        case .string(let name): return name
        default:
            throw InvocationError(.triggerRegistrationFailed, "timezone must be an IANA name such as 'Europe/Berlin'")
        }
    }

    /// The first tick strictly after `time` within `start_at` and `end_at`, in epoch seconds.
    func next(after time: Int) -> Int? {
        let earliest = options.startAt.map { RFC3339.floor($0 + 999, 1_000) - 1 } ?? time
        guard let tick = schedule.next(after: max(time, earliest)) else { return nil }
        if let end = options.endAt, tick * 1_000 > end { return nil }
        return tick
    }

    /// When a tick is due, in milliseconds: `jitter_ms` spreads it, in the same way on every instance, and never past the next tick, so
    /// that ticks become due in their order.
    func due(_ tick: Int) -> Int {
        guard options.jitter > 0 else { return tick * 1_000 }
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in identity.utf8 { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        var generator = SeededGenerator(seed: hash ^ UInt64(bitPattern: Int64(tick)))
        let room = schedule.next(after: tick).map { min(options.jitter, ($0 - tick) * 1_000) } ?? options.jitter
        return tick * 1_000 + Int(generator.next() % UInt64(room + 1))
    }
}
