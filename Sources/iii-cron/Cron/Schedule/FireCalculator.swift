import IIIProtocol

/// Answers questions of the kind of `cron::next` without a worker around it: for tools and tests.
public struct FireCalculator {
    private var schedules = CronSchedules()

    public init() {}

    /// From `{expression, timezone?, after, count?}` to `{next: [epoch seconds]}` or `{error}`, both as JSON texts; `after` in milliseconds.
    public mutating func answer(_ line: String) -> String {
        do {
            let input = try JSONValue(parsing: line)
            let schedule = try schedules.schedule(input["expression"]?.string ?? "", zone: try CronTrigger.zoneName(input))
            var last = RFC3339.floor(input["after"].flatMap(CronTime.milliseconds) ?? 0, 1_000)
            var ticks: [JSONValue] = []
            while ticks.count < Int(input["count"]?.integer ?? 1), let tick = schedule.next(after: last) {
                ticks.append(JSONValue(tick))
                last = tick
            }
            return JSONValue.object(["next": .array(ticks)]).text
        } catch {
            return JSONValue.object(["error": .string("\(error)")]).text
        }
    }
}
