import IIIProtocol
import Testing

@testable import IIIWorker

/// The bookkeeping of a trigger type against a model of the engine, in seeded orders of events.
@Suite struct TriggerBindingsTests {
    static func binding(_ id: String, _ version: Int) throws -> TriggerBinding {
        TriggerBinding(id: id, triggerType: "kind", target: try TriggerTarget(function: "f"), config: ["v": JSONValue(version)])
    }

    static func offer(_ id: String, _ version: Int, bytes: Int = 100) throws -> TriggerOffer {
        TriggerOffer(id: id, functionID: "f", content: .success(try binding(id, version)), bytes: bytes)
    }

    /// What the actions ask for, in short.
    static func names(_ actions: [TriggerBindings<Int>.Action]) -> [String] {
        actions.map { action in
            switch action {
            case .accept(let binding, let current, _):
                "accept \(binding.id) \(binding.config["v"]?.integer ?? -1) over \(current.map { "\($0)" } ?? "-")"
            case .release(let binding, let value, let reason, _): "release \(binding.id) \(value) \(reason)"
            case .answer(let id, _, let error): "answer \(id) \(error?.code ?? "ok")"
            }
        }
    }

    static func ticket(_ actions: [TriggerBindings<Int>.Action]) throws -> Int {
        for action in actions {
            switch action {
            case .accept(_, _, let ticket), .release(_, _, _, let ticket): return ticket
            case .answer: continue
            }
        }
        throw InvocationError(.notFound, "nothing to decide in \(names(actions))")
    }

    /// A table with `t` in force as version 1, in session 1.
    private func inForce(limits: TriggerLimits = TriggerLimits()) throws -> TriggerBindings<Int> {
        var table = TriggerBindings<Int>(limits: limits)
        table.sessionStarted(1)
        let actions = table.offered(try Self.offer("t", 1))
        #expect(Self.names(table.accepted("t", ticket: try Self.ticket(actions), 1)) == ["answer t ok"])
        #expect(table.replayEnded(1).isEmpty)
        return table
    }

    @Test func anIdenticalReplayChangesNothing() throws {
        var table = try inForce()
        table.sessionStarted(2)
        #expect(Self.names(table.offered(try Self.offer("t", 1))) == ["answer t ok"])
        #expect(table.replayEnded(2).isEmpty && table["t"] == 1 && table.isAttached("t"))
    }

    @Test func aRefusedChangeLeavesTheOldBinding() throws {
        var table = try inForce()
        let actions = table.offered(try Self.offer("t", 2))
        #expect(Self.names(actions) == ["accept t 2 over 1"])
        let refused = table.refused("t", ticket: try Self.ticket(actions), InvocationError(.triggerRegistrationFailed, "no"))
        #expect(Self.names(refused) == ["answer t trigger_registration_failed"])
        #expect(table["t"] == 1 && table.isAttached("t"))
        // Its owner leaves: the provider hears of it, and lets the old one go.
        #expect(Self.names(table.unregistered("t", .disconnected)) == ["release t 1 disconnected"])
    }

    @Test func aChangeRefusedAfterAReconnectEndsWhatTheEngineNoLongerKnows() throws {
        var table = try inForce()
        table.sessionStarted(2)
        let actions = table.offered(try Self.offer("t", 2))
        _ = table.replayEnded(2)
        let refused = table.refused("t", ticket: try Self.ticket(actions), InvocationError(.triggerRegistrationFailed, "no"))
        #expect(Self.names(refused) == ["answer t trigger_registration_failed", "release t 1 notReplayed"])
    }

    @Test func whatComesDuringADecisionWaitsInOrder() throws {
        var table = TriggerBindings<Int>()
        table.sessionStarted(1)
        let first = table.offered(try Self.offer("t", 1))
        #expect(table.offered(try Self.offer("t", 2)).isEmpty)
        let second = table.accepted("t", ticket: try Self.ticket(first), 1)
        #expect(Self.names(second) == ["answer t ok", "accept t 2 over 1"])
        // The unregistration voids the answer, and is followed by a new trigger of the same id.
        #expect(table.unregistered("t", .unregistered).isEmpty)
        #expect(table.offered(try Self.offer("t", 3)).isEmpty)
        let release = table.accepted("t", ticket: try Self.ticket(second), 2)
        #expect(Self.names(release) == ["release t 2 unregistered"])
        #expect(Self.names(table.released("t", ticket: try Self.ticket(release), isKept: false)) == ["accept t 3 over -"])
    }

    @Test func whatIsNotReplayedIsReleased() throws {
        var table = try inForce()
        table.sessionStarted(2)
        let actions = table.replayEnded(2)
        #expect(Self.names(actions) == ["release t 1 notReplayed"])
        #expect(table.released("t", ticket: try Self.ticket(actions), isKept: false).isEmpty)
        #expect(table.count == 0 && table.bytes == 0)
    }

    @Test func aKeptBindingWaitsDetachedForItsOwner() throws {
        var table = try inForce()
        let actions = table.unregistered("t", .disconnected)
        _ = table.released("t", ticket: try Self.ticket(actions), isKept: true)
        #expect(table["t"] == 1 && !table.isAttached("t"))
        table.sessionStarted(2)
        #expect(table.replayEnded(2).isEmpty, "nobody asks twice about a detached binding")
        #expect(Self.names(table.offered(try Self.offer("t", 1))) == ["answer t ok"])
        #expect(table.isAttached("t") && table.forget("t") == nil)
    }

    @Test func aBindingOfAnEarlierProcessIsRestored() throws {
        var table = TriggerBindings<Int>()
        table.restore(try Self.binding("t", 1), 7)
        table.restore(try Self.binding("u", 1), 8)
        table.sessionStarted(1)
        #expect(Self.names(table.offered(try Self.offer("t", 1))) == ["answer t ok"])
        #expect(table.replayEnded(1).isEmpty && table["t"] == 7 && table["u"] == 8)
        #expect(table.forget("u") == 8 && table.count == 1)
    }

    @Test func isBoundedInItemsBytesAndWaitingChanges() throws {
        var limits = TriggerLimits()
        (limits.bindings, limits.bytes, limits.waitingChanges) = (2, 1_000, 3)
        var table = try inForce(limits: limits)
        #expect(Self.names(table.offered(try Self.offer("big", 1, bytes: 901))) == ["answer big trigger_registration_failed"])
        let pending = table.offered(try Self.offer("u", 1, bytes: 100))
        #expect(Self.names(table.offered(try Self.offer("w", 1))) == ["answer w trigger_registration_failed"])
        for version in 2..<8 { #expect(table.offered(try Self.offer("u", version)).isEmpty) }
        // Three wait; the three after them are answered in their turn.
        var actions = table.accepted("u", ticket: try Self.ticket(pending), 1)
        for version in 2..<5 { actions = table.accepted("u", ticket: try Self.ticket(actions), version) }
        #expect(Self.names(actions) == ["answer u ok"] + Array(repeating: "answer u trigger_registration_failed", count: 3))
        #expect(table.bytes == 200 && table["u"] == 4)
    }

    /// A model of the engine: records, owners, one provider; answers revert what was refused.
    private struct Engine {
        struct Record {
            /// The version the provider has acknowledged last in this session.
            var acknowledged: Int?
            /// Versions offered and not answered, in order.
            var offered: [Int]
            /// What the owner registered last.
            var wanted: Int
        }
        var records: [String: Record] = [:]

        mutating func answered(_ id: String, isRefused: Bool) {
            guard records[id]?.offered.isEmpty == false, let version = records[id]?.offered.removeFirst() else { return }
            if !isRefused { records[id]?.acknowledged = version }
        }
    }

    @Test(arguments: 0..<200) func agreesWithTheEngineOnceAllIsDecided(seed: Int) throws {
        var random = SeededGenerator(seed: UInt64(seed))
        var table = TriggerBindings<Int>()
        var engine = Engine()
        var open: [(id: String, ticket: Int, version: Int?)] = []
        var session = 0
        var isConnected = false
        let ids = ["a", "b", "c"]

        func perform(_ actions: [TriggerBindings<Int>.Action]) {
            for action in actions {
                switch action {
                case .accept(let binding, _, let ticket):
                    #expect(!open.contains { $0.id == binding.id }, "one thing at a time")
                    open.append((binding.id, ticket, binding.config["v"]?.integer.map { Int($0) }))
                case .release(let binding, _, _, let ticket):
                    #expect(!open.contains { $0.id == binding.id }, "one thing at a time")
                    open.append((binding.id, ticket, nil))
                case .answer(let id, _, let error):
                    if isConnected { engine.answered(id, isRefused: error != nil) }
                }
            }
        }
        func offer(_ id: String, _ version: Int) throws {
            engine.records[id]?.offered.append(version)
            perform(table.offered(try Self.offer(id, version)))
        }
        func connect() throws {
            session += 1
            isConnected = true
            table.sessionStarted(session)
            for id in engine.records.keys.sorted() {
                engine.records[id]?.acknowledged = nil
                engine.records[id]?.offered = []
                try offer(id, engine.records[id]?.wanted ?? 0)
            }
            perform(table.replayEnded(session))
        }
        func decide(_ index: Int) {
            let (id, ticket, version) = open.remove(at: index)
            if let version {
                // Every third version is one that the provider does not want.
                if version % 3 == 0 {
                    perform(table.refused(id, ticket: ticket, InvocationError(.triggerRegistrationFailed, "no")))
                } else {
                    perform(table.accepted(id, ticket: ticket, version))
                }
            } else {
                perform(table.released(id, ticket: ticket, isKept: false))
            }
        }
        for _ in 0..<400 {
            let id = ids[Int.random(in: 0..<3, using: &random)]
            switch Int.random(in: 0..<10, using: &random) {
            case 0...3:
                let version = Int.random(in: 1...6, using: &random)
                if engine.records[id] == nil { engine.records[id] = .init(acknowledged: nil, offered: [], wanted: version) }
                engine.records[id]?.wanted = version
                if isConnected { try offer(id, version) }
            case 4:
                guard engine.records.removeValue(forKey: id) != nil, isConnected else { continue }
                perform(table.unregistered(id, Bool.random(using: &random) ? .unregistered : .disconnected))
            case 5: if isConnected { isConnected = false } else { try connect() }
            default: if !open.isEmpty { decide(Int.random(in: 0..<open.count, using: &random)) }
            }
        }
        if !isConnected { try connect() }
        while !open.isEmpty { decide(0) }
        let held = Dictionary(uniqueKeysWithValues: table.inForce.map { ($0.binding.id, $0.value) })
        #expect(held == engine.records.compactMapValues(\.acknowledged), "seed \(seed)")
        #expect(table.unsettled == 0 && table.bytes == held.count * 100)
    }
}
