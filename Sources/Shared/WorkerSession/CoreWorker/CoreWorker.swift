import IIIProtocol
import IIISettings
import IIITelemetry
import Logging
import NIOCore

/// A custom core worker: the steps of the architecture document, and the same ones the built-ins take.
///
/// 1. *configuration*: decode and check the entry's `config`; 2. *initialization*: `init` builds the state, `start` opens stores,
/// brokers and sockets; 3. register trigger types; 4. register functions. `CoreWorkerProcess.run` does the rest: connecting,
/// readiness, live configuration, drain, signals, reconnects. An executable that does this and is named by `exec:` in a config
/// entry is a built-in like the others.
///
/// A core worker lives on one event loop: everything here is called there, and callbacks of the link and of `context.calls`
/// come there, so its state needs no locks. The `async` members run there too, isolated to `WorkerLoop`; while one of them is
/// suspended other events pass. Work that shall run elsewhere goes through `context.perform`.
public protocol CoreWorker: AnyObject, SendableMetatype {
    associatedtype Configuration: Sendable
    /// What this worker is, e.g. `http`.
    static var role: String { get }
    /// The keys of the entry's `config`, stated once: checked with file and line, read by `configuration`, kept out of listings where they
    /// are secret. Optional; not declared: any key, and `configuration` judges alone.
    static var settings: SettingGroup { get }
    /// Step 1. Optional where `Configuration` is `SettingValues`: then what `settings` reads. Throw `ConfigurationError` naming the key and the cure; the process then ends with 78 and is not restarted.
    static func configuration(from json: JSONValue) throws -> Configuration
    /// Step 2, what needs no waiting. Errors as in `start`.
    init(configuration: Configuration, context: CoreWorkerContext) throws
    /// Step 2, what needs waiting. A `ConfigurationError` ends the process with 78; any other error is logged and ends it with 1, and
    /// the supervisor tries again. Optional.
    func start(on loop: isolated WorkerLoop) async throws
    /// Step 3. Make the `TriggerProvider`s here.
    func registerTriggerTypes(on link: WorkerLink)
    /// Step 4.
    func registerFunctions(on link: WorkerLink)
    /// The engine knows our registrations, and we know, and have decided about, its triggers of our types: at the start, and after
    /// every reconnect. When it returns for the first time this worker counts as ready. An error ends the process with 1, unless
    /// the link was lost meanwhile. Optional.
    func sessionEstablished(_ session: CoreWorkerSession, on loop: isolated WorkerLoop) async throws
    /// The core has counted this process as ready, and no other process takes from the sockets it was handed: accept. Optional.
    func startServing()
    /// A newer process of the same entry is ready: take nothing more from sockets that were handed down, then return. What has been
    /// accepted is served on. Optional.
    func stopServing(on loop: isolated WorkerLoop) async
    /// The link broke. It reconnects by itself. Optional.
    func sessionLost()
    /// The entry's `config` has changed. Take it over without losing work, or refuse and be restarted with it. Called for one
    /// change at a time. Optional; by default a worker is restarted.
    func reconfigure(_ configuration: Configuration, on loop: isolated WorkerLoop) async -> Reconfiguration
    /// Stop taking work, finish what is running. After `deadline` the process ends anyway. Calls of this worker's functions, and
    /// its own calls through `context.calls`, are waited for afterwards. Optional.
    func drain(deadline: NIODeadline, on loop: isolated WorkerLoop) async
    /// A newer process of the same entry serves already and takes everything new. Finish what is running in its own time; `drain` may
    /// be called meanwhile if there is no more time. Optional; by default a drain.
    func handOver(deadline: NIODeadline, on loop: isolated WorkerLoop) async
    /// The link has ended for good, and so does the process: close what must not be left open. Has two seconds. Optional.
    func end(on loop: isolated WorkerLoop) async
    /// One line about what it is doing, for `iii-core status NAME`, such as `12 jobs, next in 3 s`. Optional.
    var status: String { get }
}

extension CoreWorker where Configuration == SettingValues {
    /// What `settings` declares, checked and read.
    public static func configuration(from json: JSONValue) throws -> SettingValues { try settings.read(json) }
}

extension CoreWorker {
    /// Nothing declared: any key passes.
    public static var settings: SettingGroup { SettingGroup(open: true) {} }
    public func start(on loop: isolated WorkerLoop) async throws {}
    public func registerTriggerTypes(on link: WorkerLink) {}
    public func registerFunctions(on link: WorkerLink) {}
    public func sessionEstablished(_ session: CoreWorkerSession, on loop: isolated WorkerLoop) async throws {}
    public func startServing() {}
    public func stopServing(on loop: isolated WorkerLoop) async {}
    public func handOver(deadline: NIODeadline, on loop: isolated WorkerLoop) async { await drain(deadline: deadline, on: loop) }
    public func sessionLost() {}
    public func reconfigure(_ configuration: Configuration, on loop: isolated WorkerLoop) async -> Reconfiguration {
        .refused("applied by a restart")
    }
    public func drain(deadline: NIODeadline, on loop: isolated WorkerLoop) async {}
    public func end(on loop: isolated WorkerLoop) async {}
    public var status: String { "" }
}

/// One connection to the engine, after the hello.
public struct CoreWorkerSession: Sendable, Hashable {
    /// Counts connections of this process; the first is 1.
    public let number: Int
    /// Identifies this start of the engine. Another one than before: it knows nothing of us but what was registered again.
    public let instanceID: String
    /// Key under which channel references are minted (docs/reference/worker-protocol.md#references-without-a-round-trip).
    /// Belongs to the start of the engine.
    public let channelKey: [UInt8]
    /// Whether this process has just started.
    public let isFirst: Bool
}

/// What became of a changed configuration.
public enum Reconfiguration: Sendable, Equatable {
    /// In force for all new work.
    case applied
    /// Needs a restart, for this reason; the old configuration is still in force.
    case refused(String)
}

/// A configuration that cannot be used; says which key and what to write instead.
public struct ConfigurationError: Error, Sendable, CustomStringConvertible {
    /// What is wrong, naming key and cure.
    public let description: String
    /// One sentence that names the key and the cure.
    public init(_ description: String) { self.description = description }
}

/// What a core worker is given to work with. Confined to `eventLoop`, except where it says otherwise.
public struct CoreWorkerContext {
    /// The connection to the engine.
    public let link: WorkerLink
    /// Where everything of the worker is called.
    public let eventLoop: any EventLoop
    /// The config entry this process runs for, e.g. `iii-http` or `iii-http#1`.
    public let name: String
    /// The engine at the time of the start; see `sessionEstablished` for later ones.
    public let instanceID: String
    /// Empty until the first hello.
    public let channelKey: [UInt8]
    /// Named after the entry.
    public let logger: Logger
    /// The way to call functions that triggers and messages name: counted, limited, and waited for by the drain.
    public let calls: OutboundCalls
    /// Spans and metrics of this process. It is sent to the engine by itself; make instruments once, in `init`, and keep them.
    public let telemetry: Telemetry
    let onReady: () -> Void
    let onFailure: (String) -> Void

    package init(
        link: WorkerLink, eventLoop: any EventLoop, name: String, instanceID: String, channelKey: [UInt8], logger: Logger,
        calls: OutboundCalls, telemetry: Telemetry, onReady: @escaping () -> Void, onFailure: @escaping (String) -> Void
    ) {
        self.link = link
        self.eventLoop = eventLoop
        self.name = name
        self.instanceID = instanceID
        self.channelKey = channelKey
        self.logger = logger
        self.calls = calls
        self.telemetry = telemetry
        self.onReady = onReady
        self.onFailure = onFailure
    }

    /// The core may count this worker as ready. Said for you when `sessionEstablished` returns; may be said earlier, at any time.
    public func ready() { onReady() }

    /// Logs `message` and ends the process with 1; the supervisor tries again.
    public func fail(_ message: String) { onFailure(message) }

    /// The instruments of this process.
    public var metrics: MetricStore { telemetry.metrics }

    /// Runs `work` on the event loop before each look at the metrics (every 5 s), so that gauges can be set to what holds then.
    public func whenCollecting(_ work: @escaping () -> Void) { link.whenCollecting(work) }

    /// Runs `work` as a task, away from the event loop, and brings its result back there.
    public func perform<Value: Sendable>(
        _ work: @escaping @Sendable () async throws -> Value, then: @escaping (Result<Value, any Error>) -> Void
    ) {
        let (loop, then) = (eventLoop, NIOLoopBound(then, eventLoop: eventLoop))
        Task {
            let result: Result<Value, any Error>
            do { result = .success(try await work()) } catch { result = .failure(error) }
            loop.execute { then.value(result) }
        }
    }

    /// Runs `work` on the event loop again and again, the first time after `interval`, until the timer is cancelled or let go of.
    public func schedule(every interval: Duration, _ work: @escaping () -> Void) -> CoreWorkerTimer {
        CoreWorkerTimer(interval: TimeAmount(interval), on: eventLoop, work)
    }
}

/// Something that happens at an interval. Confined to the event loop.
public final class CoreWorkerTimer {
    private let task: RepeatedTask

    fileprivate init(interval: TimeAmount, on eventLoop: any EventLoop, _ work: @escaping () -> Void) {
        let bound = NIOLoopBound(work, eventLoop: eventLoop)
        task = eventLoop.scheduleRepeatedTask(initialDelay: interval, delay: interval) { _ in bound.value() }
    }

    /// It does not run any more, unless it already has.
    public func cancel() { task.cancel() }

    deinit { task.cancel() }
}
