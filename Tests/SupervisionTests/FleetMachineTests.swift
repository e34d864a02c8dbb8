import IIIConfiguration
import Testing

@testable import IIISupervision

@Suite struct FleetMachineTests {
    static func fleet(_ members: [(String, FleetMachine.Member)]) -> FleetMachine {
        var fleet = FleetMachine(seed: 1)
        for (name, member) in members { fleet.add(name, member) }
        return fleet
    }

    static func builtIn(_ type: String, dependsOn: [String] = []) -> (String, FleetMachine.Member) {
        let found = WorkerCatalogue.type(named: type)
        return (type, FleetMachine.Member(startRank: found?.startRank ?? 5, stopRank: found?.stopRank ?? 4, dependsOn: dependsOn))
    }

    static func makeReady(_ fleet: inout FleetMachine, _ name: String) -> [FleetMachine.Effect] {
        fleet.handle(name, .spawned, now: .zero) + fleet.handle(name, .announced, now: .zero) + fleet.handle(name, .becameReady, now: .zero)
    }

    enum Kind { case spawn, drain, kill }

    static func names(_ effects: [FleetMachine.Effect], _ wanted: Kind) -> [String] {
        effects.compactMap { effect in
            guard case .child(let name, let effect) = effect else { return nil }
            switch (effect, wanted) {
            case (.spawn, .spawn), (.drain, .drain), (.kill, .kill): return name
            default: return nil
            }
        }
    }

    static let all = ["iii-http", "iii-stream", "iii-cron", "iii-queue", "iii-state", "iii-exec", "iii-observability"]

    @Test func startsInRankOrderWithoutWaiting() {
        var fleet = Self.fleet(Self.all.map { Self.builtIn($0) })
        let started = Self.names(fleet.start(now: .zero), .spawn)
        #expect(started == ["iii-observability", "iii-queue", "iii-cron", "iii-stream", "iii-http", "iii-state", "iii-exec"])
    }

    @Test func dependantsWaitForReadiness() {
        var fleet = Self.fleet([Self.builtIn("iii-http", dependsOn: ["iii-state"]), Self.builtIn("iii-state")])
        #expect(Self.names(fleet.start(now: .zero), .spawn) == ["iii-state"])
        #expect(fleet.children["iii-http"]?.state == .waiting)
        #expect(Self.names(Self.makeReady(&fleet, "iii-state"), .spawn) == ["iii-http"])
    }

    @Test(arguments: [
        ChildMachine.Event.restart("watched files"), .start, .reset, .configured(.init(), exclusively: false),
    ]) func nothingBringsBackWhatHasLeftTheConfiguration(_ event: ChildMachine.Event) {
        var fleet = Self.fleet([Self.builtIn("iii-http"), Self.builtIn("iii-state")])
        _ = fleet.start(now: .zero)
        _ = Self.makeReady(&fleet, "iii-state")
        _ = fleet.remove("iii-state", now: .zero)
        #expect(fleet.handle("iii-state", event, now: .zero).isEmpty)
        let ended = fleet.handle("iii-state", .exited(ChildExit(code: 0, isSignal: false)), now: .zero)
        #expect(Self.names(ended, .spawn).isEmpty && ended.contains(.removed("iii-state")))
    }

    @Test func readinessIsReportedOnce() {
        var fleet = Self.fleet([Self.builtIn("iii-http"), Self.builtIn("iii-state")])
        _ = fleet.start(now: .zero)
        #expect(!Self.makeReady(&fleet, "iii-http").contains(.becameReady))
        #expect(Self.makeReady(&fleet, "iii-state").contains(.becameReady))
        _ = fleet.handle("iii-http", .exited(.signalled(9)), now: .zero)
        _ = fleet.handle("iii-http", .timePassed, now: .seconds(1))
        #expect(!Self.makeReady(&fleet, "iii-http").contains(.becameReady))
    }

    @Test func onlyCriticalChildrenCountWhenThereAreAny() {
        var critical = Self.builtIn("iii-queue")
        critical.1.settings.restart.isCritical = true
        var fleet = Self.fleet([critical, Self.builtIn("iii-http")])
        _ = fleet.start(now: .zero)
        #expect(Self.makeReady(&fleet, "iii-queue").contains(.becameReady))
    }

    @Test func drainsRankByRank() {
        var fleet = Self.fleet(Self.all.map { Self.builtIn($0) })
        _ = fleet.start(now: .zero)
        for name in Self.all { _ = Self.makeReady(&fleet, name) }
        var order: [String] = []
        var effects = fleet.shutDown(exitCode: 0, reason: "test", now: .zero)
        while let next = Self.names(effects, .drain).first {
            #expect(Self.names(effects, .drain).count == 1)
            order.append(next)
            _ = fleet.handle(next, .drained, now: .zero)
            effects = fleet.handle(next, .exited(.exited(0)), now: .zero)
        }
        #expect(order == Self.all)
        #expect(effects.last == .shutdownComplete(exitCode: 0))
        #expect(fleet.phase == .done && fleet.deadline == nil)
    }

    @Test func dependantsStopFirstWithinARank() {
        var fleet = Self.fleet([Self.builtIn("iii-state"), Self.builtIn("iii-pubsub", dependsOn: ["iii-state"])])
        _ = fleet.start(now: .zero)
        _ = Self.makeReady(&fleet, "iii-state")
        _ = Self.makeReady(&fleet, "iii-pubsub")
        let effects = fleet.shutDown(exitCode: 0, reason: "test", now: .zero)
        #expect(Self.names(effects, .drain) == ["iii-pubsub"])
    }

    @Test func theBudgetEndsInKills() {
        var fleet = Self.fleet([Self.builtIn("iii-http"), Self.builtIn("iii-queue")])
        _ = fleet.start(now: .zero)
        _ = Self.makeReady(&fleet, "iii-http")
        _ = Self.makeReady(&fleet, "iii-queue")
        _ = fleet.shutDown(exitCode: 0, reason: "test", now: .zero)
        let effects = fleet.timePassed(now: .seconds(25))
        #expect(Set(Self.names(effects, .kill)) == ["iii-http", "iii-queue"])
    }

    @Test func nothingStartsWhileDraining() {
        var fleet = Self.fleet([Self.builtIn("iii-http"), Self.builtIn("iii-queue")])
        _ = fleet.start(now: .zero)
        _ = Self.makeReady(&fleet, "iii-http")
        _ = Self.makeReady(&fleet, "iii-queue")
        _ = fleet.handle("iii-queue", .restart("test"), now: .zero)
        _ = fleet.shutDown(exitCode: 0, reason: "test", now: .zero)
        #expect(Self.names(fleet.handle("iii-queue", .exited(.exited(0)), now: .zero), .spawn) == [])
        #expect(fleet.handle("iii-queue", .start, now: .zero) == [])
        _ = fleet.handle("iii-http", .drained, now: .zero)
        #expect(fleet.handle("iii-http", .exited(.signalled(11)), now: .zero).last == .shutdownComplete(exitCode: 0))
    }

    @Test func aCriticalChildThatGivesUpEndsTheEngineWithThree() {
        var critical = Self.builtIn("iii-queue")
        critical.1.settings.restart.isCritical = true
        var fleet = Self.fleet([critical])
        _ = fleet.start(now: .zero)
        #expect(fleet.handle("iii-queue", .exited(.exited(78)), now: .zero).last == .shutdownComplete(exitCode: 3))
    }

    @Test func removedChildrenLeaveWhenTheyHaveEnded() {
        var fleet = Self.fleet([Self.builtIn("iii-http")])
        _ = fleet.start(now: .zero)
        #expect(!fleet.remove("iii-http", now: .zero).contains(.removed("iii-http")))
        #expect(fleet.handle("iii-http", .exited(.exited(0)), now: .zero).contains(.removed("iii-http")))
        #expect(fleet.children.isEmpty)
    }
}
