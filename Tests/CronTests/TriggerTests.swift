import IIIProtocol
import IIIWorker
import Testing

@testable import IIICron

/// What a registration may say, and how it is refused.
@Suite struct TriggerTests {
    static func refusal(_ config: JSONValue) throws -> String? {
        var cron = CronSimulation("2026-01-01T00:00:00")
        do {
            _ = try cron.trigger("a", config)
            return nil
        } catch let error as InvocationError {
            #expect(error.code == "trigger_registration_failed")
            return error.message
        }
    }

    @Test(
        arguments: [
            ([:], "Cron expression is required"), (["expression": ""], "Cron expression is required"),
            (["expression": 5], "Cron expression is required"),
            (["expression": "60 * * * * *"], "Invalid cron expression '60 * * * * *'"),
            (["expression": "0 0 0 31 2 *"], "never fires"), (["expression": "0 0 0 1 1 ? 2020"], "never fires"),
            (["expression": "@daily", "timezone": "Mars/Phobos"], "Mars/Phobos"), (["expression": "@daily", "timezone": ""], "timezone"),
            (["expression": "@daily", "timezone": "europe/berlin"], "europe/berlin"),
            (["expression": "@daily", "timezone": 5], "timezone"),
            (["expression": "@daily", "timezone": "EST5EDT "], "timezone"),
            (["expression": "@daily", "timezone": "../../etc/passwd"], "timezone"),
            (["expression": "@daily", "concurrency_policy": "forbit"], "did you mean 'forbid'"),
            (["expression": "@daily", "concurrency_policy": true], "concurrency_policy"),
            (["expression": "@daily", "catch_up": 1], "catch_up"),
            (["expression": "@daily", "catch_up_limit": 0], "catch_up_limit"), (["expression": "@daily", "timeout_ms": "5"], "timeout_ms"),
            (["expression": "@daily", "jitter_ms": -1], "jitter_ms"), (["expression": "@daily", "jitter_ms": 1.5], "jitter_ms"),
            (["expression": "@daily", "key": ""], "key"), (["expression": "@daily", "key": "a b"], "key"),
            (["expression": "@daily", "paused": "yes"], "paused"), (["expression": "@daily", "singleton": 1], "singleton"),
            (["expression": "@daily", "start_at": "tomorrow"], "start_at"), (["expression": "@daily", "max_runs": 0], "max_runs"),
            (["expression": "@daily", "start_at": 2_000, "end_at": 1_000], "end_at lies before start_at"),
            (["expression": "@daily", "starting_deadline_ms": 0], "starting_deadline_ms"),
            (["expression": "@daily", "on_lock_error": "x"], "on_lock_error"),
            (["expression": "@daily", "on_lost_claim": "again"], "on_lost_claim"),
            (["expression": "@daily", "condition_function_id": "core::fleet::list"], "core::fleet::list"),
        ] as [(JSONValue, String)])
    func refuses(config: JSONValue, words: String) throws {
        #expect(try Self.refusal(config)?.contains(words) == true)
    }

    @Test func nullIsAbsentEverywhere() throws {
        var config: [String: JSONValue] = ["expression": "@daily"]
        for key in CronTriggerOptions.keys where key != "expression" { config[key] = .null }
        let refusal = try Self.refusal(.object(config))
        #expect(refusal == nil)
    }

    @Test func unknownKeysAreNamed() {
        let sentences = CronTriggerOptions.unknownKeys(["expression": "@daily", "time_zone": "UTC", "x": 1])
        #expect(sentences.count == 2 && sentences[0].contains("did you mean 'timezone'?"))
    }

    @Test func identityIsWhatIsMeantAndNotHowItIsWritten() throws {
        var cron = CronSimulation("2026-01-01T00:00:00")
        func identity(_ config: JSONValue, function: String = "jobs::one") throws -> String {
            try cron.trigger("\(Int.random(in: 0...9_999))", config, function: function).identity
        }
        let first = try identity(["expression": "0 0 9 * * Mon"])
        #expect(try identity(["expression": "00 0 09 ? * 2", "timezone": "UTC"]) == first)
        #expect(try identity(["expression": "0 0 9 * * Mon"], function: "jobs::two") != first)
        #expect(try identity(["expression": "0 0 9 * * Mon", "timezone": "Europe/Berlin"]) != first)
        #expect(try identity(["expression": "@daily", "key": "k"]) == identity(["expression": "@hourly", "key": "k"]))
    }

    @Test(
        arguments: [
            ("2026-03-29T03:00:00+02:00", 1_774_746_000_000), ("2026-03-29T01:00:00Z", 1_774_746_000_000),
            ("1970-01-01T00:00:00.5Z", 500), ("1970-01-01t00:00:00.123456z", 123), ("2026-02-30T00:00:00Z", nil), ("2026-03-29", nil),
            ("2026-03-29T03:00:00", nil), ("2026-03-29T24:00:00Z", nil), ("2026-03-29T03:00:00.Z", nil), ("2026-03-29T03:00:00+2:00", nil),
        ] as [(String, Int?)])
    func readsTimes(text: String, expected: Int?) {
        #expect(RFC3339.milliseconds(text) == expected)
    }

    @Test func writesTimes() {
        #expect(RFC3339.text(seconds: 1_774_746_000, offset: 7_200) == "2026-03-29T03:00:00+02:00")
        #expect(RFC3339.text(seconds: 1_774_746_000, offset: -12_600) == "2026-03-28T21:30:00-03:30")
        #expect(RFC3339.text(nanoseconds: 1_774_746_000_001_842_117) == "2026-03-29T01:00:00.001842117+00:00")
        #expect(RFC3339.text(nanoseconds: 1_774_746_000_000_000_000) == "2026-03-29T01:00:00+00:00")
    }

    @Test func thePayloadIsTheReferencesAndSaysMoreOnlyWhereThereIsMore() throws {
        var cron = CronSimulation("2026-01-01T00:00:00")
        let trigger = try cron.trigger("5f0f4f0e", ["expression": "0 */5 * * * *"])
        var fire = Fire(id: 1, trigger: trigger, lane: LaneKey(identity: "", ordinal: 0), kind: .tick, tick: 1_767_225_900, stage: .running)
        let bytes = CronPayload.bytes(fire, now: 1_767_225_900_001_842_117)
        let expected =
            #"{"trigger":"cron","job_id":"5f0f4f0e","scheduled_time":"2026-01-01T00:05:00+00:00","#
            + #""actual_time":"2026-01-01T00:05:00.001842117+00:00"}"#
        #expect(String(decoding: bytes, as: UTF8.self) == expected)
        fire.attempt = 2
        #expect(try JSONValue(parsing: CronPayload.bytes(fire, now: 0))["attempt"] == 2)
    }
}
