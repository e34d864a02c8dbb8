import Dispatch
import Glibc
import IIIConfiguration
import IIICrypto
import IIIEngine
import IIIProtocol
import IIISupervision
import IIITelemetry
import IIIWorker
import Logging
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix

/// Wires engine and supervisor together and runs them: the engine on one event loop, the supervisor on the main thread.
final class Assembly: @unchecked Sendable {
    let plan: FleetPlan
    let lookup: ExecutableLookup
    let environment: [String: String]
    var configPath: String?
    var only: [String] = []
    var except: [String] = []
    var style = LogMultiplexer.Style()
    /// Set once the supervisor exists; until then the engine's log goes to stderr.
    private let supervisor = NIOLockedValueBox<Supervisor?>(nil)

    init(plan: FleetPlan, lookup: ExecutableLookup, environment: [String: String]) {
        self.plan = plan
        self.lookup = lookup
        self.environment = environment
    }

    /// Returns the process's exit code.
    func run() -> Int32 {
        bootstrapLog()
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        do {
            let secrets = BuiltinSecrets(shared: try sharedSecret())
            let options = plan.workerManagers.first.map { EngineOptions($0) } ?? EngineOptions()
            let engine = Engine(
                eventLoop: group.next(), options: options, version: engineVersion,
                channelKey: SecureBytes.hex(SecureBytes.random(count: 32)),
                secrets: secrets, fleet: fleetHooks(), logger: Logger(label: "iii-core"))
            // Before anyone can connect: a built-in of its own unit asks for its configuration at once, and an HTTP function that
            // comes early is parked only if its entry is known.
            for child in plan.children { engine.configurationChanged(child.name, child.entry.config ?? .null) }
            let listeners = WorkerListeners(engine: engine)
            var activation = SocketActivation(environment: environment, pid: getpid())
            try listeners.open(plan.workerManagers, inherited: activation.takeWorkerListener())
            let supervisor = try Supervisor(
                plan: plan, options: supervisorOptions(listeners, activation), hooks: supervisorHooks(engine, secrets, listeners))
            self.supervisor.withLockedValue { $0 = supervisor }
            startWatchdog(engine, supervisor.notifier)
            let code = supervisor.run()
            self.supervisor.withLockedValue { $0 = nil }
            stop(engine)
            return code
        } catch {
            ControlCommands.write("Error: \(error)", to: 2)
            return 1
        }
    }

    // MARK: Hooks

    private func fleetHooks() -> FleetHooks {
        FleetHooks(
            announced: { [supervisor] child in
                supervisor.withLockedValue { $0 }?.childAnnounced(child.name, generation: child.generation)
            },
            ready: { [supervisor] child, completion in
                guard let running = supervisor.withLockedValue({ $0 }) else { return completion() }
                running.childReady(child.name, generation: child.generation, completion: completion)
            },
            unresponsive: { [supervisor] child in
                supervisor.withLockedValue { $0 }?.childUnresponsive(child.name, generation: child.generation)
            },
            perform: { [supervisor] command, input, completion in
                var request = input.object ?? [:]
                request["command"] = .string(command)
                do {
                    let fleetRequest = try FleetRequest(json: .object(request))
                    guard let running = supervisor.withLockedValue({ $0 }) else { throw FleetError.failed("the fleet is not up") }
                    running.perform(fleetRequest) { result in
                        completion(result.mapError { InvocationError(code: $0.code, message: $0.message) })
                    }
                } catch {
                    completion(.failure(InvocationError(.invalidArguments, "\(error)")))
                }
            })
    }

    private func supervisorHooks(_ engine: Engine, _ secrets: BuiltinSecrets, _ listeners: WorkerListeners) -> SupervisorHooks {
        SupervisorHooks(
            issueToken: { child, _ in secrets.issue(for: .init(child)) },
            revokeToken: { secrets.revoke(.init($0)) },
            drain: { child, request, completion in
                engine.drain(
                    .init(child), deadlineMilliseconds: request.milliseconds, isHandover: request.isHandover, completion: completion)
            },
            willShutDown: { engine.eventLoop.execute { engine.beginDraining() } },
            configurationChanged: { name, config in engine.eventLoop.execute { engine.configurationChanged(name, config) } },
            reconfigure: { name, process, config, completion in
                engine.reconfigure(.init(name: name, generation: process?.generation), config) { completion(LiveChange($0)) }
            },
            describe: { child, completion in engine.describe(.init(child), completion: completion) },
            workerManagersChanged: { listeners.apply($0) }, engineAddress: { listeners.engineAddress },
            metrics: { fleet, completion in
                engine.readMetrics { reading in
                    // Decoding what all workers have sent takes a while.
                    DispatchQueue.global(qos: .utility).async { completion(reading.scrape(with: fleet)) }
                }
            })
    }

    private func supervisorOptions(_ listeners: WorkerListeners, _ activation: SocketActivation) -> SupervisorOptions {
        var inherited = environment
        if inherited["III_LOG_LEVEL"] == nil { inherited["III_LOG_LEVEL"] = plan.configuration.logLevel }
        var options = SupervisorOptions(
            engine: listeners.engineAddress, version: engineVersion,
            environment: inherited, lookup: lookup, activation: activation)
        options.configPath = configPath
        options.only = only
        options.except = except
        options.logStyle = style
        options.controlSocketPath = ControlSocketPath.path(port: listeners.engineAddress.port, environment: environment)
        options.adoptsOrphans = true
        options.ownsAllChildren = true
        options.isOnTerminal = StartingTerminal.isPresent
        return options
    }

    // MARK: Process

    /// The secret shared with built-ins that systemd starts as units of their own (deploy/).
    private func sharedSecret() throws -> String? {
        guard let path = environment["III_BUILTIN_TOKEN_FILE"] else { return nil }
        guard let secret = readSmallFile(path), secret.utf8.count >= 32 else {
            throw ConfigurationError(
                "III_BUILTIN_TOKEN_FILE: '\(path)' must hold a secret of at least 32 characters, e.g. from 'openssl rand -hex 32'")
        }
        return secret
    }

    /// The engine logs through the supervisor's multiplexer, so that no blocked console can hold up the event loop.
    private func bootstrapLog() {
        let filter = LogFilter(parsing: plan.configuration.logLevel) ?? LogFilter()
        let target = ConsoleLogHandler.Target(format: style.format, isJournal: true) { [supervisor] line in
            let text = String(decoding: line, as: UTF8.self).trimmingSuffix(while: \.isNewline)
            guard let running = supervisor.withLockedValue({ $0 }), text.hasPrefix("<"), let end = text.firstIndex(of: ">") else {
                return ControlCommands.write(String(text.hasPrefix("<") ? text.dropFirst(3) : text), to: 2)
            }
            let priority = Int(text[text.index(after: text.startIndex)..<end]) ?? 6
            running.log(priority: priority, String(text[text.index(after: end)...]))
        }
        TelemetryLog.bootstrap(filter: filter, target: target)
    }

    /// systemd is told that we live by the loop that routes messages, so that a stuck loop is noticed
    /// (docs/reference/supervisor.md#systemd).
    private func startWatchdog(_ engine: Engine, _ notifier: SystemdNotifier) {
        guard let interval = notifier.watchdogInterval else { return }
        engine.eventLoop.scheduleRepeatedTask(initialDelay: .zero, delay: TimeAmount(interval)) { _ in notifier.watchdogPing() }
    }

    private func stop(_ engine: Engine) {
        let closed = engine.eventLoop.submit { engine.shutDown() }.flatMap {
            // Long enough for the close frames to leave; nobody is waited for.
            engine.eventLoop.scheduleTask(in: .milliseconds(50)) {}.futureResult
        }
        try? closed.wait()
    }
}

extension BuiltinSecrets.Bearer {
    fileprivate init(_ child: ChildGeneration) { self.init(name: child.name, generation: child.generation) }
}

extension LiveChange {
    fileprivate init(_ answer: Engine.ConfigurationAnswer) {
        switch answer {
        case .applied: self = .applied
        case .refused(let reason): self = .needsRestart(reason)
        case .invalid(let reason): self = .invalid(reason)
        case .none: self = .unanswered
        case .notConnected: self = .absent
        }
    }
}

extension StringProtocol {
    fileprivate func trimmingSuffix(while predicate: (Character) -> Bool) -> SubSequence {
        var end = endIndex
        while end > startIndex, predicate(self[index(before: end)]) { end = index(before: end) }
        return self[startIndex..<end]
    }
}
