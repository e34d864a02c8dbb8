import IIIProtocol
import IIITelemetry
import IIIWorker

/// `engine::alerts::*` (docs/reference/observability.md#alerts).
struct AlertFunctions {
    let alerts: Alerts

    private static let none = "Alert manager not initialized"

    func register(on link: WorkerLink) {
        link.registerFunction(
            "engine::alerts::list", description: "Alert rules and where they stand", requestFormat: InputSchema.object([:])
        ) {
            [alerts] call in
            let (states, firing) = alerts.list
            var answer: [String: JSONValue] = [
                "alerts": .array(states.filter { $0.lastEvaluated != nil }.map(\.json)), "firing_count": JSONValue(firing),
                "timestamp": Self.now,
            ]
            if states.isEmpty { answer["message"] = .string(Self.none) }
            call.reply(.object(answer))
        }
        link.registerFunction(
            "engine::alerts::evaluate", description: "Looks at all alert rules now and does what they say",
            requestFormat: InputSchema.object([:])
        ) { [alerts] call in
            guard alerts.ruleCount > 0 else {
                return call.reply(["evaluated": false, "message": .string(Self.none), "timestamp": Self.now])
            }
            alerts.evaluate { triggered in
                call.reply(["evaluated": true, "triggered_alerts": .array(triggered), "timestamp": Self.now])
            }
        }
    }

    private static var now: JSONValue { .integer(Int64(WallClock.milliseconds())) }
}
