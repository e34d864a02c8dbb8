import Glibc
import IIIConfiguration
import IIIProtocol
import Testing

@testable import IIISupervision

extension SupervisorTests {
    static let two = "workers:\n  - {name: a, exec: DIR/a}\n  - {name: b, exec: DIR/a}\n"

    static func reloads(_ fleet: TestFleet) async -> Int {
        await fleet.logs("iii-core").count { $0.hasPrefix("reload: diff") }
    }

    @Test func reloadRestartsOnlyWhatChanged() async throws {
        let fleet = try TestFleet(Self.two, .init(scripts: ["a": Self.forever]))
        #expect(await eventually { await fleet.supervisor.list().allSatisfy(\.isReady) })
        let a = try #require(await fleet.child("a")?.pid)
        let b = try #require(await fleet.child("b")?.pid)
        try fleet.write(
            "workers:\n  - {name: a, exec: DIR/a}\n  - {name: b, exec: DIR/a, config: {x: 1}}\n  - {name: c, exec: DIR/a}\n",
            to: "config.yaml")
        guard case .success = await fleet.supervisor.perform(.reload) else { throw FleetError.failed("reload") }
        #expect(await eventually { await fleet.child("c")?.isReady ?? false })
        #expect(await eventually { await fleet.child("b").map { $0.isReady && $0.pid != b } ?? false })
        #expect(await fleet.child("a")?.pid == a)
        #expect(fleet.eventBox.all.contains("config b {\"x\":1}"))
        try fleet.write("workers:\n  - {name: a, exec: DIR/a}\n", to: "config.yaml")
        _ = await fleet.supervisor.perform(.reload)
        #expect(await eventually { await fleet.supervisor.list().map(\.name) == ["a"] })
        #expect(fleet.eventBox.all.contains("config c gone"))
        await fleet.stop()
    }

    @Test(arguments: [
        "workers: [", "", "# a comment\n", "workers: []", "workers: [{name: iii-telemetry}]", "workers: [{name: iii-htpp}]",
        "workers: [{name: a, exec: ${MISSING}}]", "workers: [{name: a, exec: /nowhere}]",
    ])
    func anInvalidFileKeepsTheOldFleet(text: String) async throws {
        let fleet = try TestFleet(Self.two, .init(scripts: ["a": Self.forever]))
        #expect(await eventually { await fleet.supervisor.list().allSatisfy(\.isReady) })
        let before = await fleet.supervisor.list().map(\.pid)
        try fleet.write(text, to: "config.yaml")
        guard case .failure(let error) = await fleet.supervisor.perform(.reload) else { throw FleetError.failed("reload succeeded") }
        #expect(error.message.contains("config.yaml"))
        #expect(await fleet.supervisor.list().map(\.pid) == before)
        guard case .success(let status) = await fleet.supervisor.perform(.status(name: nil)) else { throw FleetError.failed("status") }
        #expect(status["last_reload"]?["ok"] == false)
        await fleet.stop()
    }

    @Test func aRefusedListenerKeepsTheOldFleet() async throws {
        let fleet = try TestFleet(
            "workers: [{name: iii-worker-manager, config: {port: 1}}]", .init(workerManagerProblem: "address 127.0.0.1:2 is already in use")
        )
        try fleet.write("workers: [{name: iii-worker-manager, config: {port: 2}}]", to: "config.yaml")
        let result = await fleet.supervisor.perform(.reload)
        #expect(result == .failure(.failed("address 127.0.0.1:2 is already in use")))
        await fleet.stop()
    }

    @Test func savingByRenameIsOneReloadAndOtherFilesAreNone() async throws {
        let fleet = try TestFleet(Self.two, .init(scripts: ["a": Self.forever]))
        #expect(await eventually { await fleet.supervisor.list().allSatisfy(\.isReady) })
        try fleet.write("noise", to: "other.log")
        try fleet.write(Self.two + "# changed\n", to: "new.yaml")
        rename(fleet.directory + "/new.yaml", fleet.directory + "/config.yaml")
        try fleet.write("noise", to: "other.log")
        #expect(await eventually { await Self.reloads(fleet) == 1 })
        // A second change proves that the first caused no late second reload.
        try fleet.write(Self.two + "# changed again\n", to: "config.yaml")
        #expect(await eventually { await Self.reloads(fleet) >= 2 })
        #expect(await Self.reloads(fleet) == 2)
        #expect(await fleet.supervisor.list().allSatisfy { $0.restarts == 0 })
        await fleet.stop()
    }

    @Test func aSwappedSymlinkIsAReload() throws {
        let directory = TestFleet.makeDirectory()
        defer { system("rm -rf '\(directory)'") }
        for version in ["v1", "v2"] {
            mkdir("\(directory)/\(version)", 0o755)
            try TestFleet.write(version, to: "\(directory)/\(version)/config.yaml")
        }
        symlink("v1", "\(directory)/..data")
        symlink("..data/config.yaml", "\(directory)/config.yaml")
        let watch = ConfigWatch(path: "\(directory)/config.yaml")
        watch.received(now: .zero)
        #expect(watch.deadline == nil)
        symlink("v2", "\(directory)/..tmp")
        rename("\(directory)/..tmp", "\(directory)/..data")
        watch.received(now: .seconds(1))
        #expect(watch.deadline == .seconds(1) + SaveStability.debounce)
        #expect(!watch.isDue(now: .seconds(1)))
        #expect(watch.isDue(now: .seconds(2)))
        #expect(!watch.isDue(now: .seconds(3)))
    }

    @Test func aConfigurationIsFoundInADirectoryThatWasMadeAnew() throws {
        let directory = TestFleet.makeDirectory()
        defer { system("rm -rf '\(directory)'") }
        mkdir("\(directory)/conf", 0o755)
        try TestFleet.write("1", to: "\(directory)/conf/config.yaml")
        let watch = ConfigWatch(path: "\(directory)/conf/config.yaml")
        for round in 1...2 {
            rename("\(directory)/conf", "\(directory)/old\(round)")
            watch.received(now: .seconds(10 * round))
            mkdir("\(directory)/conf", 0o755)
            watch.received(now: .seconds(10 * round))
            #expect(watch.deadline == nil)
            try TestFleet.write("\(round) again", to: "\(directory)/conf/config.yaml")
            watch.received(now: .seconds(10 * round))
            #expect(watch.isDue(now: .seconds(10 * round) + SaveStability.debounce))
        }
    }

    @Test(arguments: [LiveChange.applied, .needsRestart("new address"), .unanswered, .absent, .invalid("cors is wrong")])
    func aReadyBuiltInIsOfferedItsChangedConfig(_ answer: LiveChange) async throws {
        func text(_ timeout: Int) -> String {
            "workers: [{name: iii-http, exec: DIR/a, config: {port: 0, default_timeout: \(timeout)}}]"
        }
        let fleet = try TestFleet(text(1), .init(scripts: ["a": Self.forever], liveChange: answer))
        #expect(await eventually { await fleet.child("iii-http")?.pid != nil })
        fleet.supervisor.childReady("iii-http")
        #expect(await eventually { await fleet.child("iii-http")?.isReady ?? false })
        let pid = try #require(await fleet.child("iii-http")?.pid)
        try fleet.write(text(2), to: "config.yaml")
        for _ in 0..<2 {
            let result = await fleet.supervisor.perform(.reload)
            #expect(fleet.eventBox.all.contains { $0.hasPrefix("offer iii-http") && $0.contains("\"default_timeout\":2") })
            let isTold = fleet.eventBox.all.contains { $0.hasPrefix("config iii-http") && $0.contains("\"default_timeout\":2") }
            switch answer {
            case .applied:
                #expect(result == .success(["reloaded": true]))
                #expect(isTold)
                #expect(await fleet.child("iii-http")?.pid == pid)
            case .needsRestart, .unanswered, .absent:
                #expect(isTold)
                #expect(await eventually { await fleet.child("iii-http").map { $0.pid != nil && $0.pid != pid } ?? false })
            case .invalid:
                // The second time too: the file still says what nobody can use.
                #expect(result == .failure(.failed("iii-http: cors is wrong")))
                #expect(!isTold)
                #expect(await fleet.child("iii-http")?.pid == pid)
            }
        }
        await fleet.stop()
    }

    @Test func anyOtherChangeOfABuiltInIsARestart() async throws {
        let fleet = try TestFleet(
            "workers: [{name: iii-http, exec: DIR/a, config: {port: 0}}]", .init(scripts: ["a": Self.forever], liveChange: .applied))
        #expect(await eventually { await fleet.child("iii-http")?.pid != nil })
        fleet.supervisor.childReady("iii-http")
        #expect(await eventually { await fleet.child("iii-http")?.isReady ?? false })
        let pid = try #require(await fleet.child("iii-http")?.pid)
        try fleet.write("workers: [{name: iii-http, exec: DIR/a, env: {A: b}, config: {port: 0, default_timeout: 2}}]", to: "config.yaml")
        _ = await fleet.supervisor.perform(.reload)
        #expect(await eventually { await fleet.child("iii-http").map { $0.pid != nil && $0.pid != pid } ?? false })
        #expect(!fleet.eventBox.all.contains { $0.hasPrefix("offer") })
        await fleet.stop()
    }
}
