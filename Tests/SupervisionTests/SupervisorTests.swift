import Glibc
import IIIConfiguration
import IIIProtocol
import Testing

@testable import IIISupervision

/// Everything that starts real processes. Serialised: one of the tests makes this process adopt orphans.
@Suite(.serialized, .timeLimit(.minutes(2))) struct SupervisorTests {
    static let forever = "#!/bin/sh\nexec sleep 1000\n"

    @Test func aKilledChildIsRestartedAndTheOthersKeepTheirProcess() async throws {
        let fleet = try TestFleet(
            "workers: [{name: a, exec: DIR/a}, {name: b, exec: DIR/a}]", .init(scripts: ["a": Self.forever]))
        #expect(await eventually { await fleet.supervisor.list().allSatisfy(\.isReady) })
        let first = try #require(await fleet.child("a")?.pid)
        let other = try #require(await fleet.child("b")?.pid)
        kill(first, SIGKILL)
        #expect(await eventually { await fleet.child("a").map { $0.restarts == 1 && $0.isReady && $0.pid != first } ?? false })
        let status = await fleet.child("a")
        #expect(status?.lastExit == "SIGKILL")
        #expect(await fleet.child("b")?.pid == other)
        // Measured from time to time.
        #expect(await eventually { (await fleet.child("a")?.residentBytes ?? 0) > 0 })
        #expect(await fleet.stop() == 0)
        #expect(fleet.eventBox.all.contains("willShutDown"))
        #expect(kill(other, 0) != 0)
    }

    @Test func aProgramThatCannotBeExecutedSaysWhy() async throws {
        let fleet = try TestFleet("workers: [{name: a, exec: DIR/a}]", .init(scripts: ["a": "#!/nowhere/interpreter\n"]))
        #expect(await eventually { await fleet.child("a")?.state == .backoff })
        #expect(await fleet.child("a")?.lastError == "cannot execute '\(fleet.directory)/a': No such file or directory")
        await fleet.stop()
    }

    @Test func aBuiltInGetsItsEnvironmentAndItsSocket() async throws {
        let script = """
            #!/bin/sh
            echo "pid $$ listen $LISTEN_PID"
            env | grep -E '^(III_|LISTEN_|NOTIFY)' | sort
            for fd in 0 1 2 3 4 5 6 7 8 9 10 11 12; do [ -e /proc/$$/fd/$fd ] && echo "fd $fd $(readlink /proc/$$/fd/$fd | cut -d: -f1)"; done
            read -r secret <&5
            echo "secret $secret"
            echo shown
            exec sleep 1000
            """
        let fleet = try TestFleet(
            "workers: [{name: iii-http, exec: DIR/a, config: {port: 0}}]",
            .init(scripts: ["a": script], environment: ["NOTIFY_SOCKET": "/nowhere", "LISTEN_FDS": "9"]))
        #expect(await eventually { await fleet.logs("iii-http").contains("shown") })
        let lines = await fleet.logs("iii-http")
        let pid = try #require(await fleet.child("iii-http")?.pid)
        #expect(lines.first == "pid \(pid) listen \(pid)")
        for line in [
            "III_BUILTIN_TOKEN_FD=5", "secret secret-of-iii-http", "III_BUILTIN_ROLE=http", "III_ENTRY_NAME=iii-http", "III_LIFELINE_FD=4",
            "LISTEN_FDS=1",
            "LISTEN_FDNAMES=http", "III_URL=ws://127.0.0.1:1", "fd 3 socket", "fd 4 pipe", "fd 5 socket",
        ] { #expect(lines.contains(line), "missing \(line)") }
        #expect(
            !lines.contains { $0.hasPrefix("NOTIFY") || $0.hasPrefix("fd 6") || $0.hasPrefix("fd 7") || $0.hasPrefix("III_BUILTIN_TOKEN=") }
        )
        let status = await fleet.child("iii-http")
        #expect(status?.state == .starting)
        #expect(status?.listen?.hasSuffix(":0") == false)
        await fleet.stop()
    }

    @Test func theListeningSocketAcceptsAcrossARestart() async throws {
        let fleet = try TestFleet("workers: [{name: iii-http, exec: DIR/a, config: {port: 0}}]", .init(scripts: ["a": Self.forever]))
        #expect(await eventually { await fleet.child("iii-http")?.pid != nil })
        fleet.supervisor.childAnnounced("iii-http")
        fleet.supervisor.childReady("iii-http")
        #expect(await eventually { fleet.eventBox.all.contains("ready") })
        let port = try #require(await fleet.child("iii-http")?.listen?.split(separator: ":").last.flatMap { Int($0) })
        let client = fleet.control
        let restart = Task.detached { try client.call(.restart(name: "http")) }
        var refused = 0
        var attempts = 0
        while await fleet.child("iii-http")?.restarts != 1 || attempts < 20 {
            if !Self.canConnect(port) { refused += 1 }
            attempts += 1
            if attempts > 2000 { break }
        }
        fleet.supervisor.childReady("iii-http")
        #expect(try await restart.value["restarts"] == 1)
        #expect(refused == 0)
        #expect(fleet.eventBox.all.contains("drain iii-http"))
        await fleet.stop()
    }

    static func canConnect(_ port: Int) -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }

    @Test func anAddressInUseIsAnErrorBeforeAnythingStarts() throws {
        let held = try ListeningSocket.bind(host: "127.0.0.1", port: 0)
        defer { close(held.descriptor) }
        let port = try #require(held.actualPort)
        let error = #expect(throws: SupervisorError.self) {
            try TestFleet("workers: [{name: iii-http, exec: DIR/a, config: {port: \(port)}}]", .init(scripts: ["a": Self.forever]))
        }
        #expect(error?.message == "iii-http: address 127.0.0.1:\(port) is already in use")
    }

    @Test func drainsInReverseOrder() async throws {
        let names = ["iii-observability", "iii-queue", "iii-cron", "iii-stream", "iii-http"]
        let entries = names.map { "{name: \($0), exec: DIR/a, config: {port: 0}}" }.joined(separator: ", ")
        let fleet = try TestFleet("workers: [\(entries)]", .init(scripts: ["a": Self.forever]))
        #expect(await eventually { await fleet.supervisor.list().allSatisfy { $0.pid != nil } })
        for name in names {
            fleet.supervisor.childAnnounced(name)
            fleet.supervisor.childReady(name)
        }
        #expect(await eventually { fleet.eventBox.all.contains("ready") })
        #expect(await fleet.stop() == 0)
        let drains = fleet.eventBox.all.filter { $0.hasPrefix("drain ") }
        #expect(drains == names.reversed().map { "drain \($0)" })
    }

    @Test func aSecondSignalKillsAtOnce() async throws {
        let stubborn = "#!/bin/sh\ntrap '' TERM\necho up\nwhile :; do sleep 1; done\n"
        let fleet = try TestFleet("workers: [{name: a, exec: DIR/a}]", .init(scripts: ["a": stubborn]))
        #expect(await eventually { await fleet.logs("a").contains("up") })
        let pid = try #require(await fleet.child("a")?.pid)
        fleet.supervisor.signalReceived(SIGTERM)
        fleet.supervisor.signalReceived(SIGINT)
        #expect(await fleet.finished() == 130)
        #expect(await eventually { kill(pid, 0) != 0 || Self.isZombie(pid) })
    }

    static func isZombie(_ pid: Int32) -> Bool {
        ((try? ConfigurationFile.read("/proc/\(pid)/stat")) ?? "").contains(") Z ")
    }

    @Test func aStubbornChildIsKilledAfterItsGraceWithItsWholeGroup() async throws {
        let stubborn = "#!/bin/sh\ntrap '' TERM\nsleep 1000 &\necho child $!\nwhile :; do sleep 1; done\n"
        let fleet = try TestFleet("workers: [{name: a, exec: DIR/a, stop_timeout_ms: 100}]", .init(scripts: ["a": stubborn]))
        #expect(await eventually { await fleet.logs("a").contains { $0.hasPrefix("child") } })
        let grandchild = try #require(await fleet.logs("a").first?.split(separator: " ").last.flatMap { Int32($0) })
        guard case .success = await fleet.supervisor.perform(.stop(name: "a")) else { throw FleetError.failed("stop") }
        #expect(await fleet.child("a")?.state == .stopped)
        #expect(await fleet.child("a")?.lastExit == "SIGKILL")
        #expect(await eventually { kill(grandchild, 0) != 0 || Self.isZombie(grandchild) })
        await fleet.stop()
    }

    @Test func aLongLineBlocksNobody() async throws {
        let fleet = try TestFleet(
            "workers: [{name: a, exec: DIR/a}, {name: b, exec: DIR/b}]",
            .init(scripts: [
                "a": "#!/bin/sh\nhead -c 10000000 /dev/zero | tr '\\0' x\necho\necho over\nexec sleep 1000\n",
                "b": "#!/bin/sh\nfor i in 1 2 3 4 5 6 7 8 9; do echo line $i; done\nexec sleep 1000\n",
            ]))
        #expect(await eventually { await fleet.logs("a").contains("over") })
        #expect(await eventually { await fleet.logs("b").count == 9 })
        let lines = await fleet.logs("a")
        #expect(lines.count == 2)
        #expect(lines.first?.hasSuffix(LineSplitter.marker) == true)
        #expect(await fleet.logs("b") == (1...9).map { "line \($0)" })
        await fleet.stop()
    }

    @Test func aBlockedConsoleStopsNoChild() async throws {
        var ends: [Int32] = [-1, -1]
        pipe(&ends)
        let fleet = try TestFleet(
            "workers: [{name: a, exec: DIR/a}]",
            .init(
                scripts: [
                    "a":
                        "#!/bin/sh\nyes 'a line that is long enough to fill every buffer soon' | head -n 120000\necho over\nexec sleep 1000\n"
                ],
                consoleDescriptor: ends[1]))
        #expect(await eventually { await fleet.logs("a").contains("over") })
        guard case .success(let status) = await fleet.supervisor.perform(.status(name: nil)) else { throw FleetError.failed("status") }
        #expect((status["dropped_log_lines"]?.integer ?? 0) > 0)
        await fleet.stop()
        ends.forEach { close($0) }
    }

    @Test func partialLinesAreShown() async throws {
        let fleet = try TestFleet(
            "workers: [{name: a, exec: DIR/a}]", .init(scripts: ["a": "#!/bin/sh\nprintf 'password: '\nexec sleep 1000\n"]))
        #expect(await eventually { await fleet.logs("a") == ["password: "] })
        await fleet.stop()
    }

    @Test func theLifelineEndsWithTheEngine() async throws {
        var ends: [Int32] = [-1, -1]
        pipe(&ends)
        _ = fcntl(ends[1], F_SETFD, FD_CLOEXEC)
        let request = SpawnRequest(
            path: "/bin/sh", arguments: ["-c", "cat <&3; echo gone"], environment: ["PATH=/bin:/usr/bin"], passed: [ends[0]])
        let process = try ProcessSpawner.spawn(request)
        close(ends[0])
        close(ends[1])
        var text = ""
        #expect(
            await eventually {
                var buffer = [UInt8](repeating: 0, count: 64)
                let count = read(process.standardOutput, &buffer, 64)
                if count > 0 { text += String(decoding: buffer.prefix(count), as: UTF8.self) }
                return text == "gone\n"
            })
        waitpid(process.pid, nil, 0)
        [process.pidfd, process.standardOutput, process.standardError].forEach { close($0) }
    }

    @Test func userCommandsDieWithTheEngineDownToTheLastGrandchild() async throws {
        var ends: [Int32] = [-1, -1]
        pipe(&ends)
        _ = fcntl(ends[1], F_SETFD, FD_CLOEXEC)
        let request = SpawnRequest(
            path: "/bin/sh", arguments: ["-c", "trap '' TERM; sleep 1000 & echo $!; wait"], environment: ["PATH=/bin:/usr/bin"],
            passed: [ends[0]], isGuarded: true)
        let process = try ProcessSpawner.spawn(request)
        close(ends[0])
        var grandchild: Int32 = 0
        #expect(
            await eventually {
                var buffer = [UInt8](repeating: 0, count: 64)
                let count = read(process.standardOutput, &buffer, 64)
                if count > 0 { grandchild = Int32(String(decoding: buffer.prefix(count - 1), as: UTF8.self)) ?? 0 }
                return grandchild > 0
            })
        #expect(kill(grandchild, 0) == 0)
        close(ends[1])
        var status: Int32 = 0
        #expect(await eventually { waitpid(process.pid, &status, WNOHANG) == process.pid })
        #expect(await eventually { kill(grandchild, 0) != 0 || Self.isZombie(grandchild) })
        [process.pidfd, process.standardOutput, process.standardError].forEach { close($0) }
    }

    @Test func aChildThatNeverReportsIsStartedAgain() async throws {
        let fleet = try TestFleet(
            "workers: [{name: iii-cron, exec: DIR/a, startup_timeout_ms: 50}]", .init(scripts: ["a": Self.forever]))
        #expect(await eventually { await fleet.child("iii-cron").map { $0.restarts >= 1 } ?? false })
        #expect(await fleet.child("iii-cron")?.lastError == "not ready within 50 ms")
        await fleet.stop()
    }

    @Test func anUnresponsiveChildIsReplaced() async throws {
        let fleet = try TestFleet("workers: [{name: iii-cron, exec: DIR/a}]", .init(scripts: ["a": Self.forever]))
        #expect(await eventually { await fleet.child("iii-cron")?.pid != nil })
        fleet.supervisor.childReady("iii-cron")
        fleet.supervisor.childUnresponsive("iii-cron")
        #expect(await eventually { await fleet.child("iii-cron")?.restarts == 1 })
        #expect(await fleet.child("iii-cron")?.lastError == "unresponsive")
        await fleet.stop()
    }

    @Test func aCriticalChildThatRefusesItsConfigurationEndsTheEngine() async throws {
        let fleet = try TestFleet(
            "workers: [{name: a, exec: DIR/a}, {name: b, exec: DIR/b, critical: true}]",
            .init(scripts: ["a": Self.forever, "b": "#!/bin/sh\necho bad config >&2\nexit 78\n"]))
        #expect(await fleet.finished() == 3)
    }

    @Test func orphansAreReapedAndOwnChildrenAreNot() async throws {
        let orphan = "#!/bin/sh\nsetsid sh -c 'echo $$ > DIR/orphan; sleep 0.1' &\nwhile [ ! -s DIR/orphan ]; do sleep 0.01; done\nexit 5\n"
        let fleet = try TestFleet(
            "workers: [{name: a, exec: DIR/a, restart: never}]", .init(scripts: ["a": orphan], adoptsOrphans: true))
        #expect(await eventually { await fleet.child("a")?.state == .failed })
        #expect(await fleet.child("a")?.lastExit == "exit 5")
        let pid = try #require(Int32(fleet.contents("orphan").filter { $0 != "\n" }))
        #expect(await eventually { kill(pid, 0) != 0 })
        await fleet.stop()
    }
}
