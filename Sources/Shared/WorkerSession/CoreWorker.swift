import IIIProtocol
import Logging
import NIOCore

/// A custom core worker: the four steps of the architecture document, and the same ones the built-ins take.
///
/// 1. *configuration*: decode and check the entry's `config`; 2. *initialization*: bind sockets, build state; 3. register trigger
/// types; 4. register functions. `CoreWorkerProcess.run` does the rest: connecting, readiness, drain, signals, reconnects.
/// An executable that does this and is named by `exec:` in a config entry is a built-in like the others.
public protocol CoreWorker: AnyObject, SendableMetatype {
    associatedtype Configuration: Sendable
    /// What this worker is, e.g. `http`.
    static var role: String { get }
    /// Step 1. Throw `ConfigurationError` naming the key and the cure; the process then ends with 78 and is not restarted.
    static func configuration(from json: JSONValue) throws -> Configuration
    /// Step 2, on the event loop. Call `context.ready()` once everything is bound, `context.fail` if it cannot be.
    init(configuration: Configuration, context: CoreWorkerContext) throws
    /// Step 3.
    func registerTriggerTypes(on link: WorkerLink)
    /// Step 4.
    func registerFunctions(on link: WorkerLink)
    /// Stop taking work, finish what is running, then call `completion` on the loop. After `deadline` the process ends anyway.
    func drain(deadline: NIODeadline, completion: @escaping () -> Void)
    /// The core has counted this process as ready, and no other process takes from the sockets it was handed: accept. Optional.
    func startServing()
    /// A newer process of the same entry is ready: take nothing more from sockets that were handed down, then call `completion` on
    /// the loop. What has been accepted is served on. Optional.
    func stopServing(completion: @escaping () -> Void)
    /// A newer process of the same entry serves already and takes everything new. Finish what is running in its own time, then
    /// call `completion` on the loop; `drain` may follow if there is no more time. Optional; by default a drain.
    func handOver(deadline: NIODeadline, completion: @escaping () -> Void)
    /// The link to the core came up or broke. It reconnects by itself.
    func linkStateChanged(isConnected: Bool)
    /// The engine has answered the hello of a new connection. It may be another start of it, with another channel key.
    func engineChanged(channelKey: [UInt8])
    /// The entry's `config` has changed. Take it over without losing work, or refuse and be restarted with it. Optional; by
    /// default a worker is restarted.
    func reconfigure(_ configuration: Configuration) -> Reconfiguration
}

/// What became of a changed configuration.
public enum Reconfiguration: Sendable, Equatable {
    /// In force for all new work.
    case applied
    /// Needs a restart, for this reason; the old configuration is still in force.
    case refused(String)
}

extension CoreWorker {
    public func reconfigure(_ configuration: Configuration) -> Reconfiguration { .refused("applied by a restart") }
    public func startServing() {}
    public func stopServing(completion: @escaping () -> Void) { completion() }
    public func handOver(deadline: NIODeadline, completion: @escaping () -> Void) { drain(deadline: deadline, completion: completion) }
    public func linkStateChanged(isConnected: Bool) {}
    public func engineChanged(channelKey: [UInt8]) {}
}

/// A configuration that cannot be used; says which key and what to write instead.
public struct ConfigurationError: Error, Sendable, CustomStringConvertible {
    public let description: String
    public init(_ description: String) { self.description = description }
}

/// What a core worker is given to work with. Everything in it is confined to `eventLoop`.
public struct CoreWorkerContext {
    public let link: WorkerLink
    public let eventLoop: any EventLoop
    /// The config entry this process runs for, e.g. `iii-http` or `iii-http#1`.
    public let name: String
    /// Identifies this start of the engine.
    public let instanceID: String
    /// Key under which channel references are minted (design.md §3).
    public let channelKey: [UInt8]
    public let logger: Logger
    let onReady: () -> Void
    let onFailure: (String) -> Void

    package init(
        link: WorkerLink, eventLoop: any EventLoop, name: String, instanceID: String, channelKey: [UInt8], logger: Logger,
        onReady: @escaping () -> Void, onFailure: @escaping (String) -> Void
    ) {
        self.link = link
        self.eventLoop = eventLoop
        self.name = name
        self.instanceID = instanceID
        self.channelKey = channelKey
        self.logger = logger
        self.onReady = onReady
        self.onFailure = onFailure
    }

    /// Everything is bound: the core may count this worker as ready.
    public func ready() { onReady() }
    /// Logs `message` and ends the process with 1; the supervisor tries again.
    public func fail(_ message: String) { onFailure(message) }
}
