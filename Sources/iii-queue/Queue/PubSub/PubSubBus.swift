import IIIWorker
import NIOCore

/// What carries published messages between publishers and subscribers: within this process, or through a broker that several engines share.
///
/// Fire and forget: nothing is stored, and a message that nobody hears is gone. What has to hold is isolation (a message reaches its topic
/// only), order (messages of one publisher arrive at one subscriber in the order of their `publish` calls), and payloads that keep every byte.
///
/// Confined to the worker's event loop: all calls come there, and `deliver` has to be called there.
public protocol PubSubBus: AnyObject {
    /// Begins to work; called once, before everything else. Throws what keeps the process from starting. `deliver` takes every message
    /// of every subscribed topic, those of this process included, once each.
    func start(on eventLoop: any EventLoop, deliver: @escaping (_ topic: String, _ payload: [UInt8]) -> Void) throws
    /// From when it returns, or as soon as the broker can, messages of `topic` are delivered. Called once a topic until `unsubscribe`.
    func subscribe(_ topic: String)
    func unsubscribe(_ topic: String)
    /// Hands over one JSON value. `completion` gets nil once it is on its way, else the publisher's error.
    func publish(_ topic: String, _ payload: [UInt8], completion: @escaping (InvocationError?) -> Void)
    /// For `iii-core ps -v`; empty when there is nothing to say.
    var status: String { get }
}

/// The bus within one process.
final class LocalBus: PubSubBus {
    private var deliver: (String, [UInt8]) -> Void = { _, _ in }
    private var topics: Set<String> = []

    func start(on eventLoop: any EventLoop, deliver: @escaping (_ topic: String, _ payload: [UInt8]) -> Void) throws {
        self.deliver = deliver
    }

    func subscribe(_ topic: String) { topics.insert(topic) }
    func unsubscribe(_ topic: String) { topics.remove(topic) }

    func publish(_ topic: String, _ payload: [UInt8], completion: @escaping (InvocationError?) -> Void) {
        if topics.contains(topic) { deliver(topic, payload) }
        completion(nil)
    }

    var status: String { "" }
}
