import Dispatch
import Glibc
import IIIProtocol
import IIITransport
import Logging
import NIOCore
import NIOPosix

/// The life of a core worker's process: connect, hello, the four steps, ready, serve, drain, end (design.md §4).
///
/// Ends when told by SIGTERM or SIGINT (0, after a drain), when the core's lifeline closes (0, at once), on unusable
/// configuration (78), or when a start step fails (1).
public enum CoreWorkerProcess {
    /// Exit code for a configuration that only a person can mend (`EX_CONFIG`); the supervisor does not restart it.
    public static let configurationExitCode: Int32 = 78
    /// Grace for a drain that only SIGTERM asked for.
    static let drainGrace = TimeAmount.seconds(8)

    /// Runs `type` until it ends; returns the exit code. `engineURL` and `name` default to `III_URL` and `III_ENTRY_NAME`,
    /// which the core sets; `III_WORKER_NAME`, the variable of ordinary workers, is not looked at.
    public static func run<W: CoreWorker>(_ type: W.Type, engineURL: String? = nil, name: String? = nil) -> Int32 {
        signal(SIGPIPE, SIG_IGN)
        let name = name ?? environmentValue("III_ENTRY_NAME") ?? "iii-\(W.role)"
        var logger = Logger(label: name)
        if let level = environmentValue("III_LOG_LEVEL").flatMap(Logger.Level.init(rawValue:)) { logger.logLevel = level }
        do {
            var options: WorkerOptions
            if let engineURL {
                options = WorkerOptions(url: try WebSocketURL(engineURL), name: name)
            } else {
                options = try WorkerOptions(name: name)
            }
            options.reportsMetadata = false
            options.reconnectDelay = .milliseconds(100)
            options.maximumReconnectDelay = .seconds(5)
            // Before the secret is in memory.
            try ProcessProtection.begin()
            options.headers = [("x-iii-builtin-token", try BuiltinSecret.read()), ("x-iii-builtin-name", options.name)]
            let process = Running<W>(options: options, logger: logger)
            return process.waitForEnd()
        } catch {
            logger.error("cannot start", metadata: ["error": "\(error)"])
            return configurationExitCode
        }
    }
}

/// First line of a small text file, without its line end.
package func readSmallFile(_ path: String) -> String? {
    guard let file = fopen(path, "r") else { return nil }
    defer { fclose(file) }
    var buffer = [CChar](repeating: 0, count: 4096)
    guard fgets(&buffer, Int32(buffer.count), file) != nil else { return nil }
    let text = buffer.withUnsafeBufferPointer { $0.baseAddress.map { String(cString: $0) } ?? "" }
    return text.split(whereSeparator: \.isNewline).first.map(String.init)
}

/// One running core worker. Confined to its loop, except for `waitForEnd`.
private final class Running<W: CoreWorker>: @unchecked Sendable {
    private enum Drain { case notStarted, handingOver, running, done }

    private let group: MultiThreadedEventLoopGroup
    private let loop: any EventLoop
    private let link: WorkerLink
    private let logger: Logger
    private let ended = DispatchSemaphore(value: 0)
    private var exitCode: Int32 = 0
    private var hasEnded = false
    private var worker: W?
    private var isBound = false
    private var drain = Drain.notStarted
    private var afterDrain: [() -> Void] = []
    private var signalSources: [any DispatchSourceSignal] = []

    init(options: WorkerOptions, logger: Logger) {
        group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        loop = group.next()
        link = WorkerLink(options: options, on: loop, logger: logger)
        self.logger = logger
    }

    func waitForEnd() -> Int32 {
        watchSignals()
        watchLifeline()
        loop.execute { [self] in
            link.onStateChange = { [self] isConnected in
                worker?.linkStateChanged(isConnected: isConnected)
            }
            link.onReady = { [self] in sayHello() }
            link.start()
        }
        ended.wait()
        return exitCode
    }

    private func end(_ code: Int32) {
        guard !hasEnded else { return }
        hasEnded = true
        exitCode = code
        let ended = ended
        link.stop { ended.signal() }
        loop.scheduleTask(in: .milliseconds(500)) { ended.signal() }
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
        // After a reconnect the worker runs on; it only has to be announced again.
        if let worker {
            worker.engineChanged(channelKey: Array((answer["channel_key"]?.string ?? "").utf8))
            return announceReady()
        }
        let configuration: W.Configuration
        do {
            configuration = try W.configuration(from: answer["config"] ?? .null)
        } catch {
            logger.error("unusable configuration", metadata: ["error": "\(error)"])
            return end(CoreWorkerProcess.configurationExitCode)
        }
        let context = CoreWorkerContext(
            link: link, eventLoop: loop, name: link.options.name, instanceID: answer["instance_id"]?.string ?? "",
            channelKey: Array((answer["channel_key"]?.string ?? "").utf8), logger: logger,
            onReady: { [self] in
                isBound = true
                announceReady()
            }, onFailure: { [self] in failed($0) })
        do {
            let worker = try W(configuration: configuration, context: context)
            self.worker = worker
            worker.registerTriggerTypes(on: link)
            worker.registerFunctions(on: link)
            link.registerFunction("builtin::\(link.options.name)::drain", description: "Finishes what is running") { [self] call in
                let milliseconds = call.data["deadline_ms"]?.integer ?? 10_000
                let isHandover = call.data["handover"]?.bool ?? false
                drain(deadline: .now() + .milliseconds(milliseconds), isHandover: isHandover) { call.reply([:]) }
            }
            link.registerFunction("builtin::\(link.options.name)::yield", description: "Leaves new clients to a newer process") { call in
                worker.stopServing { call.reply([:]) }
            }
            link.registerFunction("builtin::\(link.options.name)::configure", description: "Takes over a changed configuration") {
                [self] call in
                // Without the key it would mean "back to the defaults"; an entry without config says null.
                guard let config = call.data["config"] else {
                    return call.fail(InvocationError(.invalidArguments, "'config' is missing; nothing was changed"))
                }
                call.reply(reconfigure(worker, config))
            }
        } catch {
            failed("\(error)")
        }
    }

    /// The answer to `builtin::<name>::configure`: `{applied}`, with the `reason` where the old configuration stays in force;
    /// `invalid` tells that a restart would not help.
    private func reconfigure(_ worker: W, _ json: JSONValue) -> JSONValue {
        guard drain == .notStarted else { return ["applied": false, "reason": "draining"] }
        let configuration: W.Configuration
        do { configuration = try W.configuration(from: json) } catch {
            logger.error("unusable configuration; the old one stays in force", metadata: ["error": "\(error)"])
            return ["applied": false, "invalid": true, "reason": .string("\(error)")]
        }
        switch worker.reconfigure(configuration) {
        case .applied: return ["applied": true]
        case .refused(let reason): return ["applied": false, "reason": .string(reason)]
        }
    }

    private func announceReady() {
        guard isBound, worker != nil, link.isConnected else { return }
        let input: JSONValue = ["name": .string(link.options.name)]
        link.call("core::builtin::ready", timeout: .seconds(10), writeData: { $0.writeBytes(input.bytes) }) { [self] outcome in
            // After a reconnect it is said again.
            if case .failure(let error) = outcome, error.code == InvocationError.disconnectedCode { return }
            if drain == .notStarted { worker?.startServing() }
        }
    }

    private func failed(_ message: String) {
        logger.error("cannot start", metadata: ["error": "\(message)"])
        end(1)
    }

    // MARK: End

    /// Drains once; whoever asks again (SIGTERM after the core's request) waits for the same drain. A handover, which has time,
    /// becomes a drain when one is asked for.
    private func drain(deadline: NIODeadline, isHandover: Bool = false, completion: @escaping () -> Void) {
        guard let worker, drain != .done else { return completion() }
        afterDrain.append(completion)
        let finished = { [self] in
            drain = .done
            let waiting = afterDrain
            afterDrain = []
            for completion in waiting { completion() }
        }
        switch drain {
        case .notStarted where isHandover:
            drain = .handingOver
            worker.handOver(deadline: deadline, completion: finished)
        case .notStarted,
            .handingOver where !isHandover:
            drain = .running
            worker.drain(deadline: deadline, completion: finished)
        default: break
        }
    }

    private func watchSignals() {
        for number in [SIGTERM, SIGINT] {
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler { [self] in
                loop.execute { [self] in
                    loop.scheduleTask(in: CoreWorkerProcess.drainGrace) { [self] in end(0) }
                    drain(deadline: .now() + CoreWorkerProcess.drainGrace) { [self] in end(0) }
                }
            }
            source.resume()
            signalSources.append(source)
        }
    }

    /// The core holds the other end of this pipe: when it is gone, however it went, this process has no reason to live.
    private func watchLifeline() {
        guard let descriptor = environmentValue("III_LIFELINE_FD").flatMap({ CInt($0) }), fcntl(descriptor, F_GETFD) >= 0 else { return }
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
