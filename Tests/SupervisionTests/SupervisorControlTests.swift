import Glibc
import IIIConfiguration
import IIIProtocol
import Synchronization
import Testing

@testable import IIISupervision

extension SupervisorTests {
    final class Output: Sendable {
        private let lines = Mutex<[String]>([])
        func add(_ line: String) { lines.withLock { $0.append(line) } }
        var text: String { lines.withLock { $0.joined(separator: "\n") } }
    }

    static func commands(_ fleet: TestFleet, _ output: Output, _ errors: Output = Output()) -> ControlCommands {
        ControlCommands(
            socketPath: fleet.directory + "/run/1.sock", timeout: .seconds(10), output: { output.add($0) }, errors: { errors.add($0) })
    }

    /// Blocking calls must not sit on the pool that the test's own waiting needs.
    static func run(_ body: @escaping @Sendable () -> Int32) async -> Int32 { await Task.detached { body() }.value }

    @Test func theControlSocketIsPrivateAndGoesWithTheEngine() async throws {
        let fleet = try TestFleet(Self.two, .init(scripts: ["a": Self.forever]))
        var status = stat()
        #expect(stat(fleet.directory + "/run", &status) == 0 && status.st_mode & 0o777 == 0o700)
        #expect(stat(fleet.directory + "/run/1.sock", &status) == 0 && status.st_mode & 0o777 == 0o600)
        let path = fleet.directory + "/run/1.sock"
        #expect(await eventually { await fleet.supervisor.list().count == 2 })
        let error = #expect(throws: SupervisorError.self) { try ControlServer(path: path) }
        #expect(error?.message.contains("another iii-core answers") == true)
        await fleet.stop()
        #expect(access(path, F_OK) != 0)
    }

    @Test func aStaleSocketIsReplaced() throws {
        let directory = TestFleet.makeDirectory()
        defer { system("rm -rf '\(directory)'") }
        let path = directory + "/1.sock"
        var first: ControlServer? = try ControlServer(path: path)
        // Dropped without shutDown, as after kill -9: the file stays, nobody answers.
        _ = first
        first = nil
        try TestFleet.write("", to: directory + "/2.sock")
        #expect(throws: Never.self) { try ControlServer(path: directory + "/2.sock").shutDown() }
    }

    @Test func commandsAnswerWithTheirExitCodes() async throws {
        let fleet = try TestFleet(Self.two, .init(scripts: ["a": Self.forever]))
        let output = Output()
        let errors = Output()
        let commands = Self.commands(fleet, output, errors)
        #expect(await Self.run { commands.status(waitReady: true, timeout: .seconds(10)) } == 0)
        #expect(await Self.run { commands.ps(json: false) } == 0)
        #expect(output.text.contains("NAME  PID"))
        #expect(await Self.run { commands.stop(name: "a") } == 0)
        #expect(await fleet.child("a")?.state == .stopped)
        #expect(await Self.run { commands.status() } == 1)
        #expect(await Self.run { commands.start(name: "a") } == 0)
        #expect(await Self.run { commands.restart(name: nil) } == 0)
        #expect(await fleet.supervisor.list().map(\.restarts) == [2, 1])
        #expect(await Self.run { commands.restart(name: "aa") } == 1)
        #expect(errors.text.contains("no child named 'aa' (did you mean 'a'?)"))
        #expect(await Self.run { commands.reload() } == 0)
        #expect(await Self.run { commands.shutdown() } == 0)
        #expect(await fleet.finished() == 0)
        #expect(await Self.run { commands.ps(json: true) } == 4)
    }

    @Test func logsAreFollowedUntilTheEngineEnds() async throws {
        let fleet = try TestFleet(
            "workers: [{name: a, exec: DIR/a}]",
            .init(scripts: ["a": "#!/bin/sh\necho before\nwhile [ ! -e DIR/go ]; do sleep 0.01; done\necho after\nexec sleep 1000\n"]))
        #expect(await eventually { await fleet.logs("a") == ["before"] })
        let output = Output()
        let commands = Self.commands(fleet, output)
        let follower = Task.detached { commands.logs(names: ["a"], follow: true) }
        #expect(await eventually { output.text.contains("a | before") })
        try fleet.write("", to: "go")
        #expect(await eventually { output.text.contains("a | after") })
        await fleet.stop()
        #expect(await follower.value == 0)
    }

    @Test(arguments: ["nonsense", "{}", "{\"command\":\"dance\"}", "{\"command\":\"stop\"}"])
    func badRequestsAreAnswered(line: String) async throws {
        let fleet = try TestFleet("workers: []")
        let path = fleet.directory + "/run/1.sock"
        let answer = await Task.detached { () -> String in
            guard let descriptor = ControlSocketPath.connect(path) else { return "" }
            defer { close(descriptor) }
            let bytes = Array((line + "\n").utf8)
            _ = write(descriptor, bytes, bytes.count)
            var buffer = [UInt8](repeating: 0, count: 4096)
            let count = read(descriptor, &buffer, 4096)
            return String(decoding: buffer.prefix(max(0, count)), as: UTF8.self)
        }.value
        #expect(answer.contains("\"ok\":false") && answer.contains("invalid_request"))
        await fleet.stop()
    }

    @Test func systemdIsToldEverything() async throws {
        let directory = TestFleet.makeDirectory()
        defer { system("rm -rf '\(directory)'") }
        let path = directory + "/notify"
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        defer { close(descriptor) }
        var address = try #require(ControlSocketPath.address(path))
        withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                _ = bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        let fleet = try TestFleet(
            "workers: [{name: iii-cron, exec: DIR/a}]",
            .init(scripts: ["a": Self.forever], environment: ["NOTIFY_SOCKET": path, "WATCHDOG_USEC": "2000000"]))
        #expect(fleet.supervisor.notifier.watchdogInterval == .seconds(1))
        var messages: [String] = []
        func received(_ text: String) async -> Bool {
            await eventually {
                var buffer = [UInt8](repeating: 0, count: 4096)
                while case let count = read(descriptor, &buffer, 4096), count > 0 {
                    messages.append(String(decoding: buffer.prefix(count), as: UTF8.self))
                }
                return messages.contains { $0.contains(text) }
            }
        }
        #expect(await eventually { await fleet.child("iii-cron")?.pid != nil })
        fleet.supervisor.notifier.watchdogPing()
        #expect(await received("WATCHDOG=1"))
        #expect(!messages.contains { $0.contains("READY=1") })
        fleet.supervisor.childReady("iii-cron")
        #expect(await received("READY=1\nSTATUS=1/1 built-ins ready"))
        _ = await fleet.supervisor.perform(.reload)
        #expect(await received("RELOADING=1\nMONOTONIC_USEC="))
        await fleet.stop()
        #expect(await received("STOPPING=1"))
    }

    @Test func socketsOfSystemdAreTakenByName() throws {
        var ends: [Int32] = [-1, -1]
        socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends)
        defer { ends.forEach { close($0) } }
        var activation = SocketActivation(
            environment: ["LISTEN_PID": "\(getpid())", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "worker"], pid: getpid(),
            firstDescriptor: ends[0])
        #expect(activation.takeWorkerListener() == ends[0])
        #expect(activation.takeWorkerListener() == nil)
        #expect(SocketActivation(environment: ["LISTEN_PID": "1", "LISTEN_FDS": "1"], pid: 99).descriptors.isEmpty)
    }

    @Test func configCheckReportsEverything() throws {
        let directory = TestFleet.makeDirectory()
        defer { system("rm -rf '\(directory)'") }
        let output = Output()
        func check(_ text: String) throws -> Int32 {
            try TestFleet.write(text, to: directory + "/c.yaml")
            return ConfigCheck.run(
                path: directory + "/c.yaml", environment: [:], engineVersion: "1", output: { output.add($0) }, errors: { output.add($0) })
        }
        #expect(try check("workers: [{name: iii-telemetry, config: {sdk_api_key: hunter2}}]") == 0)
        #expect(!output.text.contains("hunter2") && output.text.contains("sdk_api_key: \"********\""))
        #expect(try check("workers: [{name: iii-htpp}]") == 1)
        #expect(output.text.contains("did you mean 'iii-http'?"))
        #expect(
            ConfigCheck.run(path: directory + "/none", environment: [:], engineVersion: "1", output: { _ in }, errors: { output.add($0) })
                == 1)
        #expect(output.text.contains("Config file not found"))
    }
}
