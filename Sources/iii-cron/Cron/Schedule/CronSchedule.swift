import IIICrypto
import IIIProtocol

/// An expression in its zone: which instants it means. Shared by all triggers that say the same.
public final class CronSchedule: Sendable {
    public let expression: CronExpression
    public let zoneName: String
    let zone: ZoneRules
    /// The same for every spelling of the same schedule in this zone, and for nothing else.
    let signature: String

    init(_ expression: CronExpression, zoneName: String, zone: ZoneRules) {
        self.expression = expression
        self.zoneName = zoneName
        self.zone = zone
        signature = SHA1Digest.hex(of: "\(expression.normalized)\u{0}\(zoneName)")
    }

    /// The first tick strictly after `time`, in epoch seconds.
    func next(after time: Int) -> Int? { expression.next(after: time, in: zone) }

    /// The newest `count` ticks in (`earliest`, `time`], ascending. Costs a number of steps that depends on `count` only.
    func newest(_ count: Int, atOrBefore time: Int, after earliest: Int) -> [Int] {
        var ticks: [Int] = []
        var last = earliest
        // Mostly there are few: they are named from the front.
        while ticks.count <= count, let tick = next(after: last), tick <= time {
            ticks.append(tick)
            last = tick
        }
        guard ticks.count > count else { return ticks }
        ticks = []
        last = time
        while ticks.count < count, let tick = expression.previous(atOrBefore: last, after: earliest, in: zone) {
            ticks.append(tick)
            last = tick - 1
        }
        return ticks.reversed()
    }

    /// How many ticks lie in (`earliest`, `time`]; counting ends at `limit`.
    func count(after earliest: Int, through time: Int, limit: Int) -> Int {
        var count = 0
        var last = earliest
        while count < limit, let tick = next(after: last), tick <= time {
            count += 1
            last = tick
        }
        return count
    }

    /// As `cron::next` shows an instant: local time with its offset.
    func text(of tick: Int) -> String { RFC3339.text(seconds: tick, offset: zone.stretch(at: tick).offset) }
}

/// Makes schedules, each once. Confined to the event loop.
struct CronSchedules {
    private static let maximum = 10_000

    private let zones: ZoneFiles
    private var known: [String: CronSchedule] = [:]

    init(zones: ZoneFiles = ZoneFiles()) { self.zones = zones }

    /// Throws the error that a registrant or a caller is told, as docs/reference/cron.md#errors-of-a-registration has it.
    mutating func schedule(_ text: String, zone: String) throws(InvocationError) -> CronSchedule {
        let key = "\(zone)\u{0}\(text)"
        if let schedule = known[key] { return schedule }
        let expression: CronExpression
        do throws(CronError) { expression = try CronParser.parse(text) } catch {
            throw InvocationError(.triggerRegistrationFailed, error.sentence)
        }
        let rules: ZoneRules
        do throws(ZoneFiles.Failure) { rules = try zones.rules(named: zone) } catch {
            throw InvocationError(.triggerRegistrationFailed, "\(error)")
        }
        let schedule = CronSchedule(expression, zoneName: zone, zone: rules)
        if known.count >= Self.maximum { known.removeAll() }
        known[key] = schedule
        return schedule
    }
}
