import IIIProtocol
import IIIWorker

/// The trigger type `cron` as it is announced to the core.
enum CronTriggerType {
    static let declaration = TriggerTypeDeclaration(
        id: "cron", description: "Cron-based scheduled triggers", triggerRequestFormat: triggerSchema, callRequestFormat: callSchema)

    private static func words<Choice: RawRepresentable<String> & CaseIterable>(_: Choice.Type) -> JSONValue {
        ["enum": .array(Choice.allCases.map { .string($0.rawValue) })]
    }
    private static let positive: JSONValue = ["type": ["integer", "null"], "minimum": 1]
    private static let time: JSONValue = ["type": ["string", "integer", "null"]]

    private static let triggerSchema: JSONValue = [
        "$schema": "http://json-schema.org/draft-07/schema#", "title": "CronTriggerConfig", "type": "object", "required": ["expression"],
        "properties": [
            "expression": ["type": "string"], "condition_function_id": ["type": ["string", "null"]],
            "timezone": ["type": ["string", "null"]], "concurrency_policy": words(ConcurrencyPolicy.self),
            "catch_up": words(CatchUpPolicy.self), "catch_up_limit": positive, "catch_up_window_ms": positive,
            "starting_deadline_ms": positive, "timeout_ms": ["type": ["integer", "null"], "minimum": 0],
            "jitter_ms": ["type": ["integer", "null"], "minimum": 0], "key": ["type": ["string", "null"]],
            "singleton": ["type": ["boolean", "null"]], "start_at": time, "end_at": time, "max_runs": positive,
            "paused": ["type": ["boolean", "null"]], "on_lock_error": words(LockErrorPolicy.self),
            "on_lost_claim": words(LostClaimPolicy.self),
        ],
    ]

    private static let callSchema: JSONValue = [
        "$schema": "http://json-schema.org/draft-07/schema#", "title": "CronCallRequest", "type": "object",
        "required": ["trigger", "job_id", "scheduled_time", "actual_time"],
        "properties": [
            "trigger": ["type": "string"], "job_id": ["type": "string"], "scheduled_time": ["type": "string"],
            "actual_time": ["type": "string"],
        ],
    ]
}

/// What a condition and a function get (docs/reference/cron.md#what-a-function-gets).
enum CronPayload {
    /// `now` in nanoseconds since the epoch.
    static func bytes(_ fire: Fire, now: Int) -> [UInt8] {
        var payload = JSONObjectText()
        payload.set("trigger", "cron")
        payload.set("job_id", .string(fire.trigger.id))
        payload.set("scheduled_time", .string(RFC3339.text(seconds: fire.tick)))
        payload.set("actual_time", .string(RFC3339.text(nanoseconds: now)))
        // The rest is there only where it says something, so that the payload is the reference's as a rule.
        if fire.kind == .manual { payload.set("manual", true) }
        if fire.kind == .catchUp { payload.set("missed", true) }
        if fire.attempt > 1 { payload.set("attempt", JSONValue(fire.attempt)) }
        if fire.trigger.options.key != nil, let fence = fire.fence { payload.set("fencing_token", JSONValue(fence)) }
        return payload.finish()
    }
}
