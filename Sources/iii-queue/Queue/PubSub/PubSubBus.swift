import IIIWorker
import Logging
import NIOCore

/// What carries published messages between publishers and subscribers: within this process, or through a broker that several engines share.
///
/// Fire and forget: nothing is stored, and a message that nobody hears is gone. What has to hold is isolation (a message reaches its topic
/// only), order (messages of one publisher arrive at one subscriber in the order of their `publish` calls), and payloads that keep every byte.
///
/// Confined to the worker's event loop: all calls come there, and `deliver` has to be called there.
public protocol PubSubBus: AnyObject {
    /// Begins to work; called once, before everything else. Throws what keeps the process from starting. `context.deliver` takes every
    /// message of every subscribed topic, those of this process included, once each.
    func start(_ context: PubSubContext, on loop: isolated WorkerLoop) async throws
    /// From when it returns, or as soon as the broker can, messages of `topic` are delivered. Called once a topic until `unsubscribe`.
    func subscribe(_ topic: String)
    func unsubscribe(_ topic: String)
    /// Hands over one JSON value. `completion` gets nil once it is on its way, else the publisher's error.
    func publish(_ topic: String, _ payload: [UInt8], completion: @escaping (InvocationError?) -> Void)
    /// For `iii-core ps -v`; empty when there is nothing to say.
    var status: String { get }
    /// Hands over what was accepted, then lets go.
    func close(on loop: isolated WorkerLoop) async
}

/// What a bus is given to work with.
public struct PubSubContext {
    public let eventLoop: any EventLoop
    /// The configuration entry, e.g. `iii-pubsub`.
    public let name: String
    public let logger: Logger
    public let deliver: (_ topic: String, _ payload: [UInt8]) -> Void

    public init(
        eventLoop: any EventLoop, name: String, logger: Logger, deliver: @escaping (_ topic: String, _ payload: [UInt8]) -> Void
    ) {
        self.eventLoop = eventLoop
        self.name = name
        self.logger = logger
        self.deliver = deliver
    }
}

/// The bus within one process.
final class LocalBus: PubSubBus {
    private var deliver: (String, [UInt8]) -> Void = { _, _ in }
    private var topics: Set<String> = []

    func start(_ context: PubSubContext, on loop: isolated WorkerLoop) async throws { deliver = context.deliver }
    func close(on loop: isolated WorkerLoop) async {}

    func subscribe(_ topic: String) { topics.insert(topic) }
    func unsubscribe(_ topic: String) { topics.remove(topic) }

    func publish(_ topic: String, _ payload: [UInt8], completion: @escaping (InvocationError?) -> Void) {
        if topics.contains(topic) { deliver(topic, payload) }
        completion(nil)
    }

    var status: String { "" }
}
