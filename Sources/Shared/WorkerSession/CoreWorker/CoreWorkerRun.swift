import Dispatch
import Glibc
import IIIProtocol
import IIITelemetry
import Logging
import NIOCore
import NIOPosix

/// One running core worker. Confined to its loop, except for `waitForEnd`.
final class CoreWorkerRun<W: CoreWorker>: @unchecked Sendable {
    private enum Stage {
        /// Not built yet. Exit: starting.
        case waitingForConfiguration
        /// `start` runs. Exit: serving.
        case starting
        case serving
    }

    private enum Drain { case notStarted, handingOver, running, done }

    private let group: MultiThreadedEventLoopGroup
    private let loop: any EventLoop
    private let isolation: WorkerLoop
    private let link: WorkerLink
    private let calls: OutboundCalls
    private let telemetry: Telemetry
    private let logger: Logger
    private let ended = DispatchSemaphore(value: 0)
    private var exitCode: Int32 = 0
    private var hasEnded = false
    private var isClosing = false

    private var stage = Stage.waitingForConfiguration
    private var worker: W?
    /// The config as the engine last sent it, whatever became of it.
    private var configuration = JSONValue.null
    /// What a hello brought while the worker was starting.
    private var missed: JSONValue?
    /// Of the newest hello.
    private var session: CoreWorkerSession?
    private var isEstablishing = false
    /// The last session that was established.
    private var established = 0
    private var saysReady = false
    private var changes: [(json: JSONValue, completion: (JSONValue) -> Void)] = []
    private var isReconfiguring = false

    private var drain = Drain.notStarted
    private var afterDrain: [() -> Void] = []
    private var signalSources: [any DispatchSourceSignal] = []
    /// Whether the core's supervisor has started this process, and restarts it.
    private let lifeline = environmentValue("III_LIFELINE_FD").flatMap { CInt($0) }

    init(options: WorkerOptions, logger: Logger) {
        group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        loop = group.next()
        isolation = WorkerLoop(loop)
        link = WorkerLink(options: options, on: loop, logger: logger)
        calls = OutboundCalls(link: link)
        telemetry = Telemetry(resource: [
            ("service.name", "iii"), ("service.version", .string(workerLibraryVersion)),
            ("service.instance.id", .string(UUIDBits.random().text)), ("iii.component", .string(options.name)),
        ])
        self.logger = logger
    }

    func waitForEnd() -> Int32 {
        telemetry.bootstrapProcess()
        watchSignals()
        watchLifeline()
        loop.execute { [self] in
            link.onStateChange = { [self] isConnected in
                if !isConnected { worker?.sessionLost() }
            }
            link.onReady = { [self] in sayHello() }
            link.carry(telemetry)
            link.start()
        }
        ended.wait()
        // The process ends next, and its libraries with it: a loop that still ran would find them gone (SIGSEGV instead of our code).
        let stopped = DispatchSemaphore(value: 0)
        group.shutdownGracefully(queue: .global()) { _ in stopped.signal() }
        _ = stopped.wait(timeout: .now() + 1)
        return exitCode
    }

    private func end(_ code: Int32) {
        guard !hasEnded else { return }
        hasEnded = true
        exitCode = code
        loop.scheduleTask(in: CoreWorkerProcess.endGrace) { [self] in ended.signal() }
        // An engine that takes nothing any more must not keep the worker from closing what it has open.
        loop.scheduleTask(in: .milliseconds(500)) { [self] in close() }
        link.stop { [self] in close() }
    }

    /// Has the worker close what it has open, once; then the process may end.
    private func close() {
        guard !isClosing else { return }
        isClosing = true
        step { run, loop in
            await run.worker?.end(on: loop)
            run.ended.signal()
        }
    }

    /// Ends after a drain, as SIGTERM asks for.
    private func leave(_ code: Int32) {
        loop.scheduleTask(in: CoreWorkerProcess.drainGrace) { [self] in end(code) }
        drain(deadline: .now() + CoreWorkerProcess.drainGrace) { [self] in end(code) }
    }

    private func failed(_ message: String, code: Int32 = 1) {
        guard !hasEnded else { return }
        switch code {
        case CoreWorkerProcess.configurationExitCode:
            logger.error(.configurationInvalid, "unusable configuration", metadata: ["error": "\(message)"])
        default: logger.error(.startFailed, "cannot start", metadata: ["error": "\(message)"])
        }
        end(code)
    }

    private func failed(_ error: any Error) {
        if let error = error as? ConfigurationError {
            failed(error.description, code: CoreWorkerProcess.configurationExitCode)
        } else {
            failed("\(error)")
        }
    }

    /// Runs an asynchronous step on the loop.
    private func step(_ body: @escaping @Sendable (CoreWorkerRun<W>, isolated WorkerLoop) async -> Void) {
        Task { await body(self, isolation) }
    }

    // MARK: Start

    private func sayHello() {
        let input: JSONValue = [
            "name": .string(link.options.name), "role": .string(W.role), "pid": .integer(Int64(getpid())),
            "version": .string(workerLibraryVersion),
        ]
        link.call("core::builtin::hello", timeout: .seconds(10), writeData: { $0.writeBytes(input.bytes) }) { [self] outcome in
            switch outcome {
            case .result(let bytes): welcome((bytes.flatMap { try? JSONValue(parsing: $0) }) ?? .null)
            case .failure(let error) where error.code == InvocationError.disconnectedCode: break
            case .failure(let error): failed("the engine did not accept this process as a built-in: \(error)")
            }
        }
    }

    private func welcome(_ answer: JSONValue) {
        let session = CoreWorkerSession(
            number: link.session, instanceID: answer["instance_id"]?.string ?? "",
            channelKey: Array((answer["channel_key"]?.string ?? "").utf8), isFirst: established == 0)
        self.session = session
        record(traces: answer["trace_ratio"]?.number)
        let json = answer["config"] ?? .null
        switch stage {
        case .waitingForConfiguration:
            configuration = json
            build(session)
        case .starting: missed = json
        case .serving:
            if json != configuration { offer(json) { _ in } }
            establish()
        }
    }

    private func build(_ session: CoreWorkerSession) {
        let worker: W
        do {
            let configuration = try W.configuration(from: configuration)
            let context = CoreWorkerContext(
                link: link, eventLoop: loop, name: link.options.name, instanceID: session.instanceID, channelKey: session.channelKey,
                logger: logger, calls: calls, telemetry: telemetry,
                onReady: { [self] in
                    saysReady = true
                    announceReady()
                }, onFailure: { [self] in failed($0) })
            do { worker = try W(configuration: configuration, context: context) } catch { return failed(error) }
        } catch {
            return failed("\(error)", code: CoreWorkerProcess.configurationExitCode)
        }
        self.worker = worker
        stage = .starting
        step { run, loop in
            do { try await run.worker?.start(on: loop) } catch { return run.failed(error) }
            run.started()
        }
    }

    private func started() {
        guard let worker, !hasEnded else { return }
        stage = .serving
        worker.registerTriggerTypes(on: link)
        worker.registerFunctions(on: link)
        registerContract(worker)
        if let missed, missed != configuration { offer(missed) { _ in } }
        missed = nil
        establish()
    }

    /// Waits for the replay of the current session, then hands it to the worker; one session at a time.
    private func establish() {
        guard stage == .serving, !isEstablishing, let session, session.number == link.session, session.number > established else { return }
        isEstablishing = true
        link.whenReplayed { [self] isReached in
            guard isReached, session.number == link.session else { return establishEnded() }
            step { run, loop in
                do {
                    try await run.worker?.sessionEstablished(session, on: loop)
                    run.established = max(run.established, session.number)
                    run.saysReady = true
                    run.announceReady()
                } catch  where run.link.session == session.number && run.link.isConnected {
                    run.failed(error)
                } catch {}
                run.establishEnded()
            }
        }
    }

    private func establishEnded() {
        isEstablishing = false
        // The link may have come back meanwhile.
        if link.isConnected { establish() }
    }

    private func announceReady() {
        guard saysReady, stage == .serving, link.isConnected, drain == .notStarted else { return }
        let input: JSONValue = ["name": .string(link.options.name)]
        link.call("core::builtin::ready", timeout: .seconds(10), writeData: { $0.writeBytes(input.bytes) }) { [self] outcome in
            // After a reconnect it is said again.
            if case .failure(let error) = outcome, error.code == InvocationError.disconnectedCode { return }
            if drain == .notStarted { worker?.startServing() }
        }
    }

    // MARK: Contract

    private func registerContract(_ worker: W) {
        link.registerContractFunction("drain", description: "Finishes what is running") { [self] call in
            let milliseconds = call.data["deadline_ms"]?.integer ?? 10_000
            let isHandover = call.data["handover"]?.bool ?? false
            drain(deadline: .now() + .milliseconds(milliseconds), isHandover: isHandover) { call.reply([:]) }
        }
        link.registerContractFunction("yield", description: "Leaves new clients to a newer process") { [self] call in
            let call = NIOLoopBound(call, eventLoop: loop)
            step { run, loop in
                await run.worker?.stopServing(on: loop)
                call.value.reply([:])
            }
        }
        link.registerContractFunction("configure", description: "Takes over a changed configuration") { [self] call in
            // Without the key it would mean "back to the defaults"; an entry without config says null.
            guard let config = call.data["config"] else {
                return call.fail(InvocationError(.invalidArguments, "'config' is missing; nothing was changed"))
            }
            offer(config) { call.reply($0) }
        }
        link.registerContractFunction("trace", description: "Which traces to record") { [self] call in
            record(traces: call.data["ratio"]?.number)
            call.reply([:])
        }
        link.registerContractFunction("status", description: "What this worker is doing") { [self] call in
            call.reply([
                "text": .string(worker.status), "running_calls": JSONValue(link.runningCalls), "own_calls": JSONValue(calls.running),
                "waiting_calls": JSONValue(calls.waiting),
            ])
        }
    }

    private func record(traces ratio: Double?) { telemetry.setSampler(ratio.map { Sampler(ratio: $0) }) }

    /// Offers the worker a configuration, after those that came before. `completion` gets `{applied}`, with the `reason` where the old
    /// configuration stays in force; `invalid` tells that a restart would not help.
    private func offer(_ json: JSONValue, completion: @escaping (JSONValue) -> Void) {
        changes.append((json, completion))
        guard !isReconfiguring else { return }
        isReconfiguring = true
        step { run, loop in
            while !run.changes.isEmpty {
                let (json, completion) = run.changes.removeFirst()
                completion(await run.reconfigure(json, on: loop))
            }
            run.isReconfiguring = false
        }
    }

    private func reconfigure(_ json: JSONValue, on isolation: isolated WorkerLoop) async -> JSONValue {
        guard drain == .notStarted, let worker else { return ["applied": false, "reason": "draining"] }
        let new: W.Configuration
        do { new = try W.configuration(from: json) } catch {
            logger.error(.configurationInvalid, "unusable configuration; the old one stays in force", metadata: ["error": "\(error)"])
            return ["applied": false, "invalid": true, "reason": .string("\(error)")]
        }
        switch await worker.reconfigure(new, on: isolation) {
        case .applied:
            configuration = json
            return ["applied": true]
        case .refused(let reason):
            if lifeline == nil {
                logger.notice("ending, to be started again with the changed configuration", metadata: ["reason": "\(reason)"])
                loop.execute { [self] in leave(CoreWorkerProcess.restartExitCode) }
            }
            return ["applied": false, "reason": .string(reason)]
        }
    }

    // MARK: End

    /// Drains once; whoever asks again (SIGTERM after the core's request) waits for the same drain. A handover, which has time,
    /// becomes a drain when one is asked for.
    private func drain(deadline: NIODeadline, isHandover: Bool = false, completion: @escaping () -> Void) {
        guard stage == .serving, drain != .done else { return completion() }
        afterDrain.append(completion)
        switch drain {
        case .notStarted where isHandover:
            drain = .handingOver
            finish(by: deadline) { run, loop in await run.worker?.handOver(deadline: deadline, on: loop) }
        case .notStarted,
            .handingOver where !isHandover:
            drain = .running
            finish(by: deadline) { run, loop in await run.worker?.drain(deadline: deadline, on: loop) }
        default: break
        }
    }

    /// What the worker has to finish, then the calls the kit has counted; no longer than until `deadline`.
    private func finish(
        by deadline: NIODeadline, _ work: @escaping @Sendable (CoreWorkerRun<W>, isolated WorkerLoop) async -> Void
    ) {
        let timeout = loop.scheduleTask(deadline: deadline) { [self] in drained() }
        step { run, loop in
            await work(run, loop)
            run.calls.whenIdle {
                run.link.whenIdle {
                    timeout.cancel()
                    run.drained()
                }
            }
        }
    }

    private func drained() {
        guard drain != .done else { return }
        drain = .done
        let waiting = afterDrain
        afterDrain = []
        for completion in waiting { completion() }
    }

    private func watchSignals() {
        for number in [SIGTERM, SIGINT] {
            // Not ignored first: the source brings a handler of its own, a moment later, and a signal in that moment would be lost
            // for good. As it is, it ends a process that has nothing to finish yet.
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler { [self] in
                loop.execute { [self] in leave(0) }
            }
            source.resume()
            signalSources.append(source)
        }
    }

    /// The core holds the other end of this pipe: when it is gone, however it went, this process has no reason to live.
    private func watchLifeline() {
        guard let descriptor = lifeline, fcntl(descriptor, F_GETFD) >= 0 else { return }
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        let thread = { @Sendable in
            var byte: UInt8 = 0
            while true {
                let count = read(descriptor, &byte, 1)
                if count == 0 || (count < 0 && errno != EINTR && errno != EAGAIN) { _exit(0) }
            }
        }
        DispatchQueue(label: "lifeline").async(execute: thread)
    }
}
