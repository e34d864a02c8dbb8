@preconcurrency import Dispatch
import Glibc
import IIIProtocol
import IIITransport
import Logging
import NIOCore
import ServiceLifecycle

extension WorkerClient: Service {
    /// The whole `main` of a worker: makes one from the environment, lets `setUp` register what it offers, and serves until told
    /// to end. What keeps it from starting is said in one sentence; the process then ends with 78 if only a person can mend that,
    /// else with 1.
    public static func main(name: String? = nil, _ setUp: @Sendable (WorkerClient) async throws -> Void) async {
        do {
            let worker = try WorkerClient(name: name)
            try await setUp(worker)
            try await worker.run()
        } catch let error as WebSocketURL.Invalid {
            end("III_URL: \(error)", code: CoreWorkerProcess.configurationExitCode)
        } catch let error as ConfigurationError {
            end(error.description, code: CoreWorkerProcess.configurationExitCode)
        } catch {
            end("\(error)", code: 1)
        }
    }

    private static func end(_ message: String, code: Int32) -> Never {
        let line = Array("error: \(message)\n".utf8)
        _ = line.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
        exit(code)
    }

    /// Starts connecting in the background.
    public func connect() {
        onLoop { [telemetry] link in
            link.carry(telemetry)
            link.start()
        }
    }

    /// Connects and serves until SIGTERM, SIGINT, `shutDown`, a graceful shutdown of its service group, or the task is cancelled; then
    /// finishes running handlers (at most 10 s) and returns.
    public func run() async throws {
        connect()
        let sources = options.handlesSignals ? [SIGTERM, SIGINT].map(watch) : []
        await withTaskCancellationOrGracefulShutdownHandler {
            for await _ in endings.stream { break }
        } onCancelOrGracefulShutdown: { [endings] in
            endings.continuation.yield()
        }
        for source in sources { source.cancel() }
        await shutDown()
    }

    private func watch(_ number: Int32) -> any DispatchSourceSignal {
        // Not ignored first: the source brings a handler of its own, a moment later, and a signal in that moment would be lost.
        let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
        source.setEventHandler { [endings] in _ = endings.continuation.yield() }
        source.resume()
        return source
    }

    /// Takes the functions back so that no new call comes, waits for running handlers, and closes the link.
    public func shutDown(deadline: Duration = .seconds(10)) async {
        endings.continuation.yield()
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            onLoop { link in
                let once = Once { link.stop { continuation.resume() } }
                link.withdrawFunctions()
                link.whenIdle { once.run() }
                let bound = NIOLoopBound(once, eventLoop: link.eventLoop)
                link.eventLoop.scheduleTask(in: TimeAmount(deadline)) { bound.value.run() }
            }
        }
    }
}

/// Runs its work at most once. Confined to a loop.
private final class Once {
    private var work: (() -> Void)?
    init(_ work: @escaping () -> Void) { self.work = work }
    func run() {
        let work = self.work
        self.work = nil
        work?()
    }
}

extension WorkerLink {
    /// Tells the engine to send no more calls; handlers stay, for those already on their way.
    func withdrawFunctions() {
        for id in registeredFunctionIDs { withdrawFunction(id) }
    }
}
