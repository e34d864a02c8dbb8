import Glibc
import IIIConfiguration
import IIIProtocol
import Synchronization
import Testing

@testable import IIISupervision

/// A supervisor with real processes in a directory of its own; ends it and removes everything when it goes.
final class TestFleet: Sendable {
    let directory: String
    let supervisor: Supervisor
    private let outcome = Mutex<Int32?>(nil)

    struct Setup: Sendable {
        var scripts: [String: String] = [:]
        var environment: [String: String] = [:]
        var consoleDescriptor: Int32?
        var adoptsOrphans = false
        /// Whether the drain hook answers at once.
        var answersDrain = true
        var workerManagerProblem: String?
        /// What a running built-in answers to its changed config.
        var liveChange: LiveChange?
    }

    /// `DIR` in the configuration and the scripts stands for the fleet's directory.
    init(_ configuration: String, _ setup: Setup = Setup()) throws {
        let directory = Self.makeDirectory()
        self.directory = directory
        for (name, body) in setup.scripts {
            try Self.write(body.replacing("DIR", with: directory), to: directory + "/" + name)
            chmod(directory + "/" + name, 0o755)
        }
        let path = directory + "/config.yaml"
        let text = configuration.replacing("DIR", with: directory)
        try Self.write(text, to: path)
        var environment = ["PATH": "/usr/bin:/bin", "HOME": directory]
        environment.merge(setup.environment) { $1 }
        var lookup = ExecutableLookup.system(environment: environment)
        // Built-ins of this build that run in every fleet are none of these fleets.
        lookup.directory = directory
        let loaded = try EngineConfiguration.load(text: text, path: path, environment: environment, engineVersion: "1")
        let plan = try FleetPlan.make(configuration: loaded, lookup: lookup)
        var options = SupervisorOptions(
            engine: EngineAddress(url: "ws://127.0.0.1:1", port: 1), version: "1.2.3", environment: environment, lookup: lookup,
            activation: SocketActivation(environment: [:], pid: 0))
        options.configPath = path
        options.consoleDescriptor = setup.consoleDescriptor
        options.controlSocketPath = directory + "/run/1.sock"
        options.handlesSignals = setup.adoptsOrphans
        options.adoptsOrphans = setup.adoptsOrphans
        let shared = EventBox()
        let answersDrain = setup.answersDrain
        let problem = setup.workerManagerProblem
        let liveChange = setup.liveChange
        let hooks = SupervisorHooks(
            issueToken: { child, role in
                shared.add("token \(child.name) \(role)")
                return "secret-of-\(child.name)"
            },
            revokeToken: { shared.add("revoke \($0.name)") },
            drain: { child, _, completion in
                shared.add("drain \(child.name)")
                if answersDrain { completion() }
            },
            willShutDown: { shared.add("willShutDown") },
            configurationChanged: { name, config in shared.add("config \(name) \(config?.text ?? "gone")") },
            reconfigure: { name, _, config, completion in
                shared.add("offer \(name) \(config.text)")
                completion(liveChange ?? .needsRestart("test"))
            },
            workerManagersChanged: { _ in problem },
            becameReady: { shared.add("ready") })
        supervisor = try Supervisor(plan: plan, options: options, hooks: hooks)
        eventBox = shared
        let context = Unmanaged.passRetained(self).toOpaque()
        var thread = pthread_t()
        pthread_create(
            &thread, nil,
            { context in
                guard let context else { return nil }
                let fleet = Unmanaged<TestFleet>.fromOpaque(context).takeRetainedValue()
                let code = fleet.supervisor.run()
                fleet.outcome.withLock { $0 = code }
                return nil
            }, context)
        pthread_detach(thread)
    }

    let eventBox: EventBox

    final class EventBox: Sendable {
        private let events = Mutex<[String]>([])
        func add(_ event: String) { events.withLock { $0.append(event) } }
        var all: [String] { events.withLock { $0 } }
    }

    var control: ControlClient { ControlClient(path: directory + "/run/1.sock", timeout: .seconds(15)) }

    func child(_ name: String) async -> ChildStatus? { await supervisor.list().first { $0.name == name } }

    func logs(_ name: String) async -> [String] {
        guard case .success(let value) = await supervisor.perform(.logs(names: [name], count: 10000, since: nil, follow: false)) else {
            return []
        }
        return (value.array ?? []).compactMap { $0["fields"]?["message"]?.string }
    }

    func write(_ text: String, to name: String) throws {
        try Self.write(text.replacing("DIR", with: directory), to: directory + "/" + name)
    }

    func contents(_ name: String) -> String { (try? ConfigurationFile.read(directory + "/" + name)) ?? "" }

    /// Ends the fleet and returns its exit code.
    @discardableResult
    func stop() async -> Int32? {
        supervisor.signalReceived(SIGTERM)
        return await finished()
    }

    func finished() async -> Int32? {
        _ = await eventually { self.outcome.withLock { $0 } != nil }
        let code = outcome.withLock { $0 }
        if code != nil { system("rm -rf '\(directory)'") }
        return code
    }

    static func makeDirectory() -> String {
        var template = Array("/tmp/iii-supervision-XXXXXX".utf8CString)
        return String(cString: mkdtemp(&template))
    }

    static func write(_ text: String, to path: String) throws {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        let bytes = Array(text.utf8)
        #expect(Glibc.write(descriptor, bytes, bytes.count) == bytes.count)
    }
}

/// Waits for a condition with a deadline; false when it never came.
func eventually(within limit: Duration = .seconds(60), _ condition: () async -> Bool) async -> Bool {
    let end = MonotonicClock.now + limit
    while MonotonicClock.now < end {
        if await condition() { return true }
        try? await Task.sleep(for: .milliseconds(5))
    }
    return await condition()
}
