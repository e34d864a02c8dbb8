import IIIProtocol
import NIOCore
import Testing

@testable import IIIRedis

@Suite struct RedisPipelineTests {
    typealias Pipeline = RedisPipeline<Int>

    static let now = NIODeadline.uptimeNanoseconds(1_000_000_000)

    static func submit(
        _ pipeline: inout Pipeline, _ token: Int, _ kind: Pipeline.Kind = .once, isWrite: Bool = false,
        deadline: NIODeadline = now + .seconds(10)
    ) -> RedisError? {
        pipeline.submit(token, words: 2, kind: kind, isWrite: isWrite, deadline: deadline) {
            $0.add("SET")
            $0.add(token)
        }
    }

    static func take(_ pipeline: inout Pipeline) -> String {
        pipeline.takeOutgoing(deadline: now + .seconds(10)).map { String(buffer: $0) } ?? ""
    }
    static func text(_ tokens: Int...) -> String { tokens.map { "*2\r\n$3\r\nSET\r\n$\("\($0)".count)\r\n\($0)\r\n" }.joined() }

    static func tokens(_ step: Pipeline.Step) -> [Int] {
        switch step {
        case .nothing, .unexpected: []
        case .complete(let outcome): [outcome.token]
        case .completeMany(let outcomes): outcomes.map(\.token)
        }
    }

    static func failures(_ outcomes: [Pipeline.Outcome]) -> [Int: RedisError.Code] {
        outcomes.reduce(into: [:]) { result, outcome in
            if case .failure(let error) = outcome.result { result[outcome.token] = error.code }
        }
    }

    @Test func repliesBelongToCommandsInTheirOrder() {
        var pipeline = Pipeline(maximumCommands: 10, maximumBytes: 1000)
        pipeline.connected()
        for token in 1...3 { #expect(Self.submit(&pipeline, token) == nil) }
        #expect(Self.take(&pipeline) == Self.text(1, 2, 3))
        #expect(Self.tokens(pipeline.received(.status("OK"))) == [1])
        #expect(Self.submit(&pipeline, 4) == nil)
        #expect(Self.take(&pipeline) == Self.text(4))
        for token in 2...4 { #expect(Self.tokens(pipeline.received(.null)) == [token]) }
        #expect(pipeline.count == 0 && pipeline.bytes == 0)
        guard case .unexpected = pipeline.received(.null) else { return #expect(Bool(false)) }
    }

    @Test func whatWaitsIsSentOnceThereIsAConnection() {
        var pipeline = Pipeline(maximumCommands: 2, maximumBytes: 1000)
        #expect(Self.submit(&pipeline, 1) == nil)
        #expect(Self.submit(&pipeline, 2) == nil)
        #expect(Self.take(&pipeline) == "")
        #expect(Self.submit(&pipeline, 3)?.code == .overloaded)
        pipeline.connected()
        #expect(Self.take(&pipeline) == Self.text(1, 2))
    }

    @Test func aLostConnectionTellsUnknownFromRepeatable() {
        var pipeline = Pipeline(maximumCommands: 10, maximumBytes: 1000)
        pipeline.connected()
        for (token, kind) in [(1, Pipeline.Kind.repeatable), (2, .once), (3, .repeatable)] { _ = Self.submit(&pipeline, token, kind) }
        _ = Self.take(&pipeline)
        _ = Self.submit(&pipeline, 4)
        #expect(Self.failures(pipeline.disconnected("test")) == [2: .outcomeUnknown])
        _ = Self.submit(&pipeline, 5)
        pipeline.connected()
        #expect(Self.take(&pipeline) == Self.text(1, 3, 4, 5))
    }

    @Test func whatTheServerRejectsForItsStateIsGivenAgainInOrder() {
        var pipeline = Pipeline(maximumCommands: 10, maximumBytes: 1000)
        pipeline.connected()
        for token in 1...3 { _ = Self.submit(&pipeline, token) }
        _ = Self.take(&pipeline)
        #expect(Self.tokens(pipeline.received(.status("OK"))) == [1])
        #expect(Self.tokens(pipeline.received(.error("READONLY You can't write against a read only replica."))) == [])
        _ = Self.submit(&pipeline, 4)
        #expect(Self.take(&pipeline) == "" && !pipeline.wantsReconnect)
        #expect(Self.tokens(pipeline.received(.error("READONLY You can't write against a read only replica."))) == [])
        #expect(pipeline.wantsReconnect)
        #expect(pipeline.disconnected("test").isEmpty)
        pipeline.connected()
        #expect(Self.take(&pipeline) == Self.text(2, 3, 4))
    }

    @Test func whatWasRejectedIsNotGivenAgainOnceALaterOneHasHadItsEffect() {
        var pipeline = Pipeline(maximumCommands: 10, maximumBytes: 1000)
        pipeline.connected()
        for token in 1...2 { _ = Self.submit(&pipeline, token) }
        _ = Self.take(&pipeline)
        _ = pipeline.received(.error("LOADING Redis is loading the dataset in memory"))
        guard case .completeMany(let outcomes) = pipeline.received(.status("OK")) else { return #expect(Bool(false)) }
        #expect(outcomes.map(\.token) == [1, 2])
        #expect(Self.failures(outcomes) == [1: .rejected])
    }

    @Test func aWriteCountsOnceTheReplicasHaveIt() {
        for confirmed in 0...1 {
            var pipeline = Pipeline(maximumCommands: 10, maximumBytes: 1000, waitReplicas: 1, waitMilliseconds: 100)
            pipeline.connected()
            _ = Self.submit(&pipeline, 1, isWrite: true)
            _ = Self.submit(&pipeline, 2, isWrite: true)
            #expect(Self.take(&pipeline) == Self.text(1, 2) + "*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$3\r\n100\r\n")
            #expect(Self.tokens(pipeline.received(.status("OK"))) == [])
            #expect(Self.tokens(pipeline.received(.status("OK"))) == [])
            guard case .completeMany(let outcomes) = pipeline.received(.integer(confirmed)) else { return #expect(Bool(false)) }
            #expect(outcomes.map(\.token) == [1, 2])
            #expect(Self.failures(outcomes) == (confirmed == 1 ? [:] : [1: .notReplicated, 2: .notReplicated]))
        }
    }

    @Test func patienceEnds() {
        var pipeline = Pipeline(maximumCommands: 10, maximumBytes: 1000)
        _ = Self.submit(&pipeline, 1, deadline: Self.now + .seconds(1))
        _ = Self.submit(&pipeline, 2, deadline: Self.now + .seconds(3))
        #expect(pipeline.nextDeadline == Self.now + .seconds(1))
        #expect(Self.failures(pipeline.expire(at: Self.now + .seconds(2), lastFailure: "x")) == [1: .notSent])
        pipeline.connected()
        #expect(Self.take(&pipeline) == Self.text(2))
        #expect(!pipeline.isStuck(at: Self.now + .seconds(2)))
        #expect(pipeline.isStuck(at: Self.now + .seconds(3)))
    }

    @Test func aCommandOfTheWrongLengthNeverLeaves() {
        var pipeline = Pipeline(maximumCommands: 10, maximumBytes: 1000)
        pipeline.connected()
        #expect(pipeline.submit(1, words: 3, kind: .once, isWrite: false, deadline: Self.now) { $0.add("GET") }?.code == .invalid)
        #expect(Self.take(&pipeline) == "" && pipeline.count == 0 && pipeline.bytes == 0)
    }

    /// A server that keeps a list, cut and restarted at random: each command has exactly one outcome, effects are in order, and a
    /// command that is said to have had no effect had none.
    @Test(arguments: 0..<200) func everyCommandHasOneOutcomeAndEffectsKeepTheirOrder(_ seed: Int) {
        var generator = SeededGenerator(seed: UInt64(seed))
        var pipeline = Pipeline(maximumCommands: 50, maximumBytes: 10_000, waitReplicas: seed % 3 == 0 ? 1 : 0)
        var server = FakeServer()
        var outcomes: [Int: Result<RedisValue, RedisError>] = [:]
        var kinds: [Int: Pipeline.Kind] = [:]
        var time = Self.now
        func note(_ list: [Pipeline.Outcome]) {
            for outcome in list {
                #expect(outcomes[outcome.token] == nil, "seed \(seed): \(outcome.token) twice")
                outcomes[outcome.token] = outcome.result
            }
        }
        for token in 0..<400 {
            time = time + .milliseconds(Int64.random(in: 0...50, using: &generator))
            kinds[token] = Bool.random(using: &generator) ? .repeatable : .once
            if let refusal = Self.submit(&pipeline, token, kinds[token] ?? .once, isWrite: true, deadline: time + .seconds(2)) {
                outcomes[token] = .failure(refusal)
            }
            switch Int.random(in: 0..<20, using: &generator) {
            case 0:
                // The connection is cut: some of what was sent is done, its replies are lost.
                for _ in 0..<Int.random(in: 0...5, using: &generator) { _ = server.reply(&generator) }
                server.inbox = []
                note(pipeline.disconnected("cut"))
            case 1: server.isLoading.toggle()
            case 2...5: if !pipeline.isReady, !pipeline.wantsReconnect, pipeline.drainingReason == nil { pipeline.connected() }
            default: break
            }
            if let bytes = pipeline.takeOutgoing(deadline: time + .seconds(2)) { server.receive(String(buffer: bytes)) }
            for _ in 0..<Int.random(in: 0...4, using: &generator) {
                guard let reply = server.reply(&generator) else { break }
                switch pipeline.received(reply) {
                case .nothing: break
                case .complete(let outcome): note([outcome])
                case .completeMany(let list): note(list)
                case .unexpected: Issue.record("seed \(seed): unexpected")
                }
            }
            if pipeline.wantsReconnect || pipeline.isStuck(at: time) {
                server.inbox = []
                note(pipeline.disconnected("rejected"))
            }
            note(pipeline.expire(at: time, lastFailure: "x"))
            #expect(pipeline.count <= 100 && pipeline.bytes >= 0)
        }
        note(pipeline.stop())
        #expect(outcomes.count == 400, "seed \(seed)")
        #expect(pipeline.count == 0)
        var last = -1
        var effects: Set<Int> = []
        for token in server.effects where kinds[token] == .once {
            #expect(token > last, "seed \(seed): \(token) after \(last)")
            #expect(effects.insert(token).inserted, "seed \(seed): \(token) twice")
            last = token
        }
        for (token, outcome) in outcomes {
            switch outcome {
            case .success: #expect(server.effects.contains(token), "seed \(seed): \(token) succeeded without effect")
            case .failure(let error) where error.isRetryable && kinds[token] == .once:
                #expect(!server.effects.contains(token), "seed \(seed): \(token) had an effect: \(error)")
            case .failure: break
            }
        }
    }

    struct FakeServer {
        var inbox: [String] = []
        var isLoading = false
        var effects: [Int] = []

        mutating func receive(_ text: String) {
            for command in text.split(separator: "*") { inbox.append(String(command)) }
        }

        mutating func reply(_ generator: inout SeededGenerator) -> RedisValue? {
            guard !inbox.isEmpty else { return nil }
            let lines = inbox.removeFirst().split(whereSeparator: \.isNewline)
            if lines[2] == "WAIT" { return .integer(Int.random(in: 0...1, using: &generator)) }
            if isLoading { return .error("LOADING") }
            guard let token = Int(lines[4]) else { return .error("ERR") }
            effects.append(token)
            return .status("OK")
        }
    }
}
