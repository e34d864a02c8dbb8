import IIIProtocol
import IIITestSupport
import Testing

@testable import IIIWorker

/// The link against an engine that the test plays.
@Suite struct WorkerLinkTests {
    private static func invocation(_ id: String, _ function: String) -> JSONValue {
        ["type": "invokefunction", "invocation_id": .string(id), "function_id": .string(function), "data": [:]]
    }

    private static let id = "00000000-0000-4000-8000-0000000000aa"

    @Test func aCallThatIsDroppedFailsByItself() throws {
        let engine = FakeEngine()
        engine.link.registerFunction("drops") { _ in }
        try engine.connect()
        _ = try engine.received()
        try engine.send(Self.invocation(Self.id, "drops"))
        let answers = try engine.received("invocationresult")
        #expect(answers.count == 1 && answers[0]["error"]?["code"] == "invocation_failed")
        #expect(engine.link.runningCalls == 0)
    }

    @Test func aDroppedCallOfAnEarlierConnectionIsNotAnsweredOnTheNext() throws {
        let engine = FakeEngine()
        var kept: IncomingCall?
        engine.link.registerFunction("keeps") { kept = $0 }
        try engine.connect()
        try engine.send(Self.invocation(Self.id, "keeps"))
        #expect(kept != nil && engine.link.runningCalls == 1)
        try engine.disconnect()
        try engine.connect()
        kept = nil
        #expect(try engine.received("invocationresult").isEmpty && engine.link.runningCalls == 0)
    }

    @Test func theReplayEndsWithTheBarrier() throws {
        let engine = FakeEngine()
        let provider = TriggerProvider<Int>(
            TriggerTypeDeclaration(id: "kind", description: "k"), on: engine.link, accept: { _, _ in 1 }, release: { _, _, _ in })
        try engine.connect()
        let said = try engine.received()
        #expect(said.compactMap { $0["type"]?.string }.prefix(2) == ["registertriggertype", "ping"])
        try engine.send(Self.registration("t", ["n": 1]))
        #expect(!provider.isReplayed)
        try engine.answerBarriers(said)
        #expect(provider.isReplayed && provider["t"] == 1 && provider.isAttached("t"))
        #expect(try engine.received("triggerregistrationresult").map { $0["error"] } == [nil])
    }

    private static func registration(_ id: String, _ config: JSONValue, function: String = "f") -> JSONValue {
        ["type": "registertrigger", "id": .string(id), "trigger_type": "kind", "function_id": .string(function), "config": config]
    }

    @Test func readinessWaitsForSlowDecisions() throws {
        let engine = FakeEngine()
        var open: [TriggerRegistration<Int>] = []
        let provider = TriggerProvider<Int>(
            TriggerTypeDeclaration(id: "kind", description: "k"), on: engine.link, registration: { open.append($0) }, release: { _ in })
        try engine.connect()
        var isReplayed: Bool?
        engine.link.whenReplayed { isReplayed = $0 }
        let said = try engine.received()
        try engine.send(Self.registration("t", [:]))
        try engine.answerBarriers(said)
        #expect(isReplayed == nil && !provider.isReplayed)
        open.removeFirst().accept(7)
        #expect(isReplayed == true && provider.isReplayed && provider["t"] == 7)
    }

    @Test func aRegistrationThatNobodyDecidesIsRefused() throws {
        let engine = FakeEngine()
        let provider = TriggerProvider<Int>(
            TriggerTypeDeclaration(id: "kind", description: "k"), on: engine.link, registration: { _ in }, release: { _ in })
        try engine.connect()
        try engine.send(Self.registration("t", [:]))
        let answers = try engine.received("triggerregistrationresult")
        #expect(answers.map { $0["error"]?["code"] } == ["trigger_registration_failed"] && provider.count == 0)
    }

    @Test(arguments: ["core::fleet::list", "builtin::x::drain", ""]) func aPrivateTargetNeverReachesAProvider(function: String) throws {
        let engine = FakeEngine()
        let provider = TriggerProvider<Int>(
            TriggerTypeDeclaration(id: "kind", description: "k"), on: engine.link,
            accept: { binding, _ in
                Issue.record("asked about \(binding.target.functionID)")
                return 0
            }, release: { _, _, _ in })
        try engine.connect()
        try engine.send(Self.registration("t", [:], function: function))
        let answers = try engine.received("triggerregistrationresult")
        #expect(answers.map { $0["error"]?["code"] } == ["trigger_registration_failed"] && provider.count == 0)
    }

    @Test func theReasonOfAnUnregistrationReachesTheProvider() throws {
        let engine = FakeEngine()
        var reasons: [UnregistrationReason] = []
        let provider = TriggerProvider<Int>(
            TriggerTypeDeclaration(id: "kind", description: "k"), on: engine.link, accept: { _, _ in 1 },
            release: { _, _, reason in reasons.append(reason) })
        try engine.connect()
        for (id, reason) in [("a", "unregistered"), ("b", "disconnected"), ("c", nil)] {
            try engine.send(Self.registration(id, [:]))
            try engine.send(["type": "unregistertrigger", "id": .string(id), "trigger_type": "kind", "reason": JSONValue(reason)])
        }
        try engine.send(Self.registration("d", [:]))
        try engine.disconnect()
        try engine.connect()
        try engine.answerBarriers(try engine.received())
        #expect(reasons == [.unregistered, .disconnected, .unregistered, .notReplayed] && provider.count == 0)
    }

    @Test func aSweepWaitsForItsDelay() throws {
        let engine = FakeEngine()
        var released: [String] = []
        let provider = TriggerProvider<Int>(
            TriggerTypeDeclaration(id: "kind", description: "k"), on: engine.link, sweepDelay: .seconds(5), accept: { _, _ in 1 },
            release: { binding, _, _ in released.append(binding.id) })
        try engine.connect()
        for id in ["kept", "gone"] { try engine.send(Self.registration(id, [:])) }
        try engine.disconnect()
        try engine.connect()
        try engine.answerBarriers(try engine.received())
        engine.advanceTime(by: .seconds(4))
        #expect(released.isEmpty && provider.count == 2)
        try engine.send(Self.registration("kept", [:]))
        engine.advanceTime(by: .seconds(2))
        #expect(released == ["gone"] && provider["kept"] == 1)
    }

    @Test func aBarrierOfALostConnectionSaysSo() throws {
        let engine = FakeEngine()
        var outcomes: [Bool] = []
        engine.link.barrier { outcomes.append($0) }
        try engine.connect()
        engine.link.barrier { outcomes.append($0) }
        try engine.disconnect()
        #expect(outcomes == [false, false])
    }

    @Test func aLinkThatIsStoppedWhileConnectingNeverServes() throws {
        let engine = FakeEngine()
        engine.link.registerFunction("serves") { $0.reply(nil) }
        let finish = try engine.beginConnecting()
        var told: Bool?
        engine.link.whenConnected(within: .seconds(60)) { told = $0 }
        var hasStopped = false
        engine.link.stop { hasStopped = true }
        #expect(told == false && hasStopped, "whoever waits for the connection is told at once")
        try finish()
        #expect(try engine.received().isEmpty && engine.link.session == 0 && !engine.link.isConnected)
        try engine.send(Self.invocation(Self.id, "serves"))
        #expect(try engine.received().isEmpty)
    }
}

@Suite struct TriggerConditionTests {
    @Test(arguments: [
        ("false", TriggerCondition.Verdict.skip), (" false\n", .skip), ("true", .run), ("null", .run), ("0", .run), ("\"false\"", .run),
        ("{\"a\":false}", .run), ("falsey", .run),
    ])
    func onlyFalseSkips(_ answer: String, _ verdict: TriggerCondition.Verdict) {
        let bytes = Array(answer.utf8)
        #expect(bytes.withUnsafeBytes { TriggerCondition.verdict(.result($0)) } == verdict)
    }

    @Test func noResultRunsAndAnErrorDoesNot() {
        let error = InvocationError(.functionNotFound, "gone")
        #expect(TriggerCondition.verdict(.result(nil)) == .run)
        #expect(TriggerCondition.verdict(.failure(error)) == .failed(error))
    }

    @Test func isReadFromAConfig() throws {
        #expect(try TriggerCondition(config: [:]) == nil)
        #expect(try TriggerCondition(config: ["condition_function_id": nil]) == nil)
        #expect(try TriggerCondition(config: ["condition_function_id": "ok::it"])?.functionID == "ok::it")
        for bad: JSONValue in [7, "", "core::fleet::stop", ["x"]] {
            #expect(throws: InvocationError.self) { try TriggerCondition(config: ["condition_function_id": bad]) }
        }
    }
}

@Suite struct OutboundCallsTests {
    private static func target(_ function: String = "f") throws -> TriggerTarget { try TriggerTarget(function: function) }

    private static func name(_ outcome: OutboundCalls.Outcome) -> String {
        switch outcome {
        case .completed(let bytes): "completed \(bytes.map { String(decoding: $0, as: UTF8.self) } ?? "-")"
        case .skipped: "skipped"
        case .conditionFailed(let error): "condition \(error.code)"
        case .failed(let error): "failed \(error.code)"
        }
    }

    private func answer(_ engine: FakeEngine, _ call: JSONValue, _ member: String, _ value: JSONValue) throws {
        try engine.send(
            ["type": "invocationresult", "invocation_id": call["invocation_id"] ?? .null, "function_id": "x", member: value])
    }

    @Test func theConditionDecidesWithTheSamePayload() throws {
        let engine = FakeEngine()
        try engine.connect()
        let calls = OutboundCalls(link: engine.link)
        let condition = try TriggerCondition(config: ["condition_function_id": "c"])
        var outcomes: [String] = []
        for _ in 0..<3 {
            calls.fire(try Self.target(), condition: condition, payload: Array(#"{"n":1}"#.utf8)) { outcomes.append(Self.name($0)) }
        }
        let asked = try engine.received("invokefunction")
        #expect(asked.count == 3 && asked.allSatisfy { $0["function_id"] == "c" && $0["data"] == ["n": 1] })
        try answer(engine, asked[0], "result", false)
        try answer(engine, asked[1], "error", ["code": "boom", "message": "m"])
        try answer(engine, asked[2], "result", true)
        let called = try engine.received("invokefunction")
        #expect(called.count == 1 && called[0]["function_id"] == "f" && called[0]["data"] == ["n": 1])
        try answer(engine, called[0], "result", 5)
        #expect(outcomes == ["skipped", "condition boom", "completed 5"])
        #expect(calls.running == 0)
    }

    @Test func aSlowFunctionIsNotOwedMoreThanItsShare() throws {
        let engine = FakeEngine()
        try engine.connect()
        var limits = CallLimits()
        (limits.perTarget, limits.waiting) = (2, 1)
        let calls = OutboundCalls(link: engine.link, limits: limits)
        var outcomes: [String] = []
        for _ in 0..<4 { calls.fire(try Self.target(), payload: [UInt8(ascii: "1")]) { outcomes.append(Self.name($0)) } }
        #expect(outcomes == ["failed too_many_in_flight"] && calls.running == 2 && calls.waiting == 1)
        let first = try engine.received("invokefunction")
        #expect(first.count == 2)
        var isIdle = false
        calls.whenIdle { isIdle = true }
        for call in first { try answer(engine, call, "result", 0) }
        let last = try engine.received("invokefunction")
        #expect(last.count == 1 && !isIdle)
        try answer(engine, last[0], "result", 0)
        #expect(isIdle && outcomes.count == 4)
    }

    /// Each fails at once; none of them on the stack of another.
    @Test func aLongQueueOnALostLinkFailsAsAWhole() throws {
        let engine = FakeEngine()
        try engine.connect()
        let calls = OutboundCalls(link: engine.link)
        var failed = 0
        for _ in 0..<10_000 {
            calls.fire(try Self.target(), payload: [UInt8(ascii: "1")]) { if case .failed = $0 { failed += 1 } }
        }
        try engine.disconnect()
        #expect(failed == 10_000 && calls.running == 0 && calls.waiting == 0)
    }
}
