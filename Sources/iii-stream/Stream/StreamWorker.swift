import IIIItems
import IIIProtocol
import IIISettings
import IIITLS
import IIITelemetry
import IIIWorker
import Logging
import NIOCore

/// The `iii-stream` core worker: items in groups of streams that every worker can change, and every client can watch.
///
/// A change is answered once it is as durable as the store's settings say; its event goes to clients and triggers at that moment, so
/// events come in the order of the commits. Confined to the link's event loop.
public final class StreamWorker: CoreWorker {
    public static var role: String { "stream" }

    /// Opaque outside: the settings of the entry.
    public struct Configuration: Sendable {
        package let values: StreamConfiguration
    }

    let context: CoreWorkerContext
    var settings: StreamConfiguration { didSet { port.settings = settings } }
    let providers: StreamProviders
    let port: StreamPort
    private(set) lazy var updates = ProvidedUpdates(self)
    private let hub: StreamHub
    private let source: SnapshotSource
    private var opened: (any ItemStore)?
    /// The same where it tells of changes itself.
    private var shared: (any SharedItemStore)?
    private var index = TriggerIndex<StreamTriggerTypes.Filter>()
    private let fires: OrderedFires
    private var triggers: [any AnyObject] = []
    private var sweeper: ExpirySweeper?

    public static var settings: SettingGroup { StreamConfiguration.group(StreamConfiguration.adapter(ItemStores.streams.current)) }

    public static func configuration(from json: JSONValue) throws -> Configuration {
        do {
            return Configuration(values: try StreamConfiguration(json, stores: ItemStores.streams.current))
        } catch let error as InvalidSettings {
            throw ConfigurationError(error.description)
        } catch let error as TLSFailure {
            throw ConfigurationError(error.description)
        }
    }

    public init(configuration: Configuration, context: CoreWorkerContext) throws {
        self.context = context
        settings = configuration.values
        providers = StreamProviders(context)
        fires = OrderedFires(calls: context.calls, counters: EventCounters("stream", context.metrics), logger: context.logger)
        var generator = SystemRandomNumberGenerator()
        let source = SnapshotSource(providers, context)
        self.source = source
        hub = StreamHub(
            epoch: UUIDBits.random(using: &generator).text, now: WallClock.milliseconds,
            read: { source.read($0, $1, $2) }, onFailure: { source.onFailure?($0, $1) },
            later: { work in
                let bound = NIOLoopBound(work, eventLoop: context.eventLoop)
                context.eventLoop.scheduleTask(in: .seconds(1)) { bound.value() }
            })
        port = StreamPort(configuration.values, hub: hub, context: context)
        source.onFailure = { [unowned port] subscription, error in port.snapshotFailed(subscription, error) }
        for warning in settings.warnings { context.logger.warning(.configurationSuspicious, "configuration: \(warning)") }
        hub.keepHistory(settings.historyLimits)
        measure()
    }

    private func measure() {
        let sockets = context.metrics.gauge("iii.stream.sockets", description: "Clients of the stream port")
        let subscriptions = context.metrics.gauge("iii.stream.subscriptions", description: "Groups and items that clients watch")
        let bytes = context.metrics.gauge("iii.stream.queued.bytes", description: "Bytes that wait for clients")
        let coalesced = context.metrics.gauge("iii.stream.coalesced", description: "Frames that were merged into newer ones")
        let dropped = context.metrics.gauge("iii.stream.dropped", description: "Frames that were left out for slow clients")
        let resumable = context.metrics.gauge("iii.stream.history.bytes", description: "Bytes of events kept for clients that come back")
        let resumed = context.metrics.gauge("iii.stream.resumed", description: "Joins that went on where the client had been")
        context.whenCollecting { [unowned self] in
            sockets.set(port.socketCount)
            subscriptions.set(hub.subscriptionCount)
            bytes.set(port.ledger.total)
            resumable.set(hub.history.bytes)
            resumed.set(hub.resumes)
            coalesced.set(port.coalesced)
            dropped.set(port.dropped)
        }
    }

    public func start(on loop: isolated WorkerLoop) async throws {
        let open = try await ItemStores.streams.current.open(settings.adapter)
        let store = try await open(
            ItemStoreContext(entry: context.name, layout: .streams, logger: context.logger, on: context.eventLoop))
        opened = store
        source.store = store
        shared = store as? any SharedItemStore
        if let shared {
            let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
            shared.watch { bound.value.heard($0) }
        }
        sweeper = ExpirySweeper(store, context: context) { [unowned self] in
            tell(.delete($0.item.text), in: $0.address.group, id: $0.address.key, revision: $0.revision, .none)
        }
    }

    /// Functions are registered after `start` only.
    var store: any ItemStore {
        get throws(InvocationError) {
            guard let opened else { throw InvocationError(.functionUnavailable, "the store is not open") }
            return opened
        }
    }

    public func registerTriggerTypes(on link: WorkerLink) {
        triggers = [
            TriggerProvider<StreamTriggerTypes.Filter>(
                StreamTriggerTypes.stream, on: link,
                accept: { [self] binding, _ throws(InvocationError) in
                    let filter = try StreamTriggerTypes.Filter(binding.config)
                    index.set(binding, name: filter.stream, condition: try TriggerCondition(config: binding.config), filter)
                    return filter
                },
                release: { [self] binding, _, _ in
                    index.remove(binding.id)
                    fires.ended(binding.id)
                }),
            clientTriggers(StreamTriggerTypes.join, on: link, \.joins), clientTriggers(StreamTriggerTypes.leave, on: link, \.leaves),
        ]
    }

    private func clientTriggers(
        _ type: TriggerTypeDeclaration, on link: WorkerLink,
        _ index: ReferenceWritableKeyPath<StreamPort, TriggerIndex<StreamPort.JoinFilter>>
    ) -> TriggerProvider<StreamPort.JoinFilter> {
        TriggerProvider(
            type, on: link,
            accept: { [port] binding, _ throws(InvocationError) in
                let stream = try StreamTriggerTypes.name("stream_name", binding.config)
                let condition = try TriggerCondition(config: binding.config)
                port[keyPath: index].set(binding, name: stream, condition: condition, StreamPort.JoinFilter())
                return StreamPort.JoinFilter()
            },
            release: { [port] binding, _, _ in port[keyPath: index].remove(binding.id) })
    }

    public func registerFunctions(on link: WorkerLink) {
        StreamFunctions(self).register(on: link)
        providers.register(on: link)
    }

    /// Clients come once providers and triggers are known: nobody slips past a gate that is just being registered.
    public func sessionEstablished(_ session: CoreWorkerSession, on loop: isolated WorkerLoop) async throws {
        try await providers.linked(on: loop)
        if session.isFirst { try await port.open(on: loop) }
    }

    public func reconfigure(_ configuration: Configuration, on loop: isolated WorkerLoop) async -> Reconfiguration {
        let new = configuration.values
        guard new.adapterJSON == settings.adapterJSON else { return .refused("another adapter needs a restart") }
        guard new.host == settings.host, new.port == settings.port else { return .refused("another address needs another listener") }
        settings = new
        for warning in settings.warnings { context.logger.warning(.configurationSuspicious, "configuration: \(warning)") }
        return .applied
    }

    public func drain(deadline: NIODeadline, on loop: isolated WorkerLoop) async {
        sweeper = nil
        port.drain()
    }

    public func end(on loop: isolated WorkerLoop) async { await opened?.close() }

    public var status: String {
        "\(port.socketCount) sockets, \(hub.subscriptionCount) subscriptions, \(index.isEmpty ? "no" : "some") triggers, \(opened?.status ?? "no store")"
    }

    // MARK: Events

    /// Tells everybody of a change of the store, and first of what had expired there.
    func changed(_ address: ItemAddress, _ change: ItemChange, _ trace: TraceContext) {
        if let expired = change.expired {
            tell(.delete(expired.text), in: address.group, id: address.key, revision: change.revision, .none)
        }
        guard change.isChanged else { return }
        tell(Self.event(old: change.old?.text, new: change.new?.text), in: address.group, id: address.key, revision: change.revision, trace)
    }

    /// The same of a change that a provider has made. A missing or null old value means that nothing was there.
    func changed(_ address: ItemAddress, old: [UInt8]?, new: [UInt8]?, _ trace: TraceContext) {
        guard old != nil || new != nil else { return }
        let event = Self.event(old: old, new: new)
        send(event, in: address.group, id: address.key, trace, isFired: true) { [logger = context.logger] result in
            guard case .failure(let error) = result else { return }
            logger.warning(
                .eventNotShared, "a change that a provider has made could not be told to clients", metadata: ["error": "\(error)"])
        }
    }

    /// Tells everybody, on every engine that shares the store, what the store has no part in. Fails where it could not be handed on; triggers
    /// fire then only for what has happened all the same (`isFired`).
    func send(
        _ event: StreamEvent, in group: ItemGroup, id: ItemName?, _ trace: TraceContext, isFired: Bool = false,
        completion: @escaping (Result<Void, any Error>) -> Void
    ) {
        guard let shared, let news = event.shared else {
            tell(event, in: group, id: id, trace)
            return completion(.success(()))
        }
        let bound = NIOLoopBound((self, completion), eventLoop: context.eventLoop)
        shared.publish(ItemNews(news, in: group, key: id)) { result in
            let (worker, completion) = bound.value
            let isTold = if case .success = result { true } else { false }
            if isTold || isFired { worker.fire(event, in: group, id: id, at: WallClock.milliseconds(), trace) }
            completion(result)
        }
    }

    /// What a shared store has to tell, of this engine's doings and of others'.
    private func heard(_ message: ItemFeed) {
        switch message {
        case .news(let news): hub.publish(StreamEvent(news.event), in: news.group, id: news.key, revision: news.revision)
        case .gap: hub.refresh()
        }
    }

    private static func event(old: [UInt8]?, new: [UInt8]?) -> StreamEvent {
        guard let new else { return .delete(old ?? ItemResults.null) }
        return old == nil ? .create(new) : .update(new)
    }

    /// A shared store has told clients of it already, or is about to.
    private func tell(_ event: StreamEvent, in group: ItemGroup, id: ItemName?, revision: Int? = nil, _ trace: TraceContext) {
        let timestamp =
            shared == nil ? hub.publish(event, in: group, id: id, revision: revision) : WallClock.milliseconds()
        fire(event, in: group, id: id, at: timestamp, trace)
    }

    /// Calls the functions of the triggers that fit; those of this engine alone.
    private func fire(_ event: StreamEvent, in group: ItemGroup, id: ItemName?, at timestamp: Int, _ trace: TraceContext) {
        let matching = index.matching(group.stream) { $0.fits(group.name, id) }
        guard !matching.isEmpty else { return }
        let told = OrderedFires.Event(
            payload: StreamFrame.payload(event, group, id, timestamp), span: context.telemetry.span("stream_triggers", parent: trace),
            count: matching.count)
        let address = ItemAddress(group: group, key: id ?? "")
        for trigger in matching { fires.fire(trigger, about: address, told) }
    }
}

/// Reads what a client is shown first, from the stream's provider or the store. Confined to the event loop.
final class SnapshotSource {
    private let providers: StreamProviders
    private let context: CoreWorkerContext
    var store: (any ItemStore)?
    var onFailure: ((Subscription, any Error) -> Void)?
    /// Values of one snapshot, in bytes.
    private static let maximumBytes = 48 << 20
    /// Of a provider; the client's other messages wait meanwhile.
    private static let timeout = TimeAmount.seconds(10)

    init(_ providers: StreamProviders, _ context: CoreWorkerContext) {
        self.providers = providers
        self.context = context
    }

    func read(_ group: ItemGroup, _ item: ItemName?, _ completion: @escaping (Result<StreamHub.Snapshot, any Error>) -> Void) {
        let operation: StreamProviders.Operation = item == nil ? .list : .get
        guard providers.has(operation, group.stream) else { return readStore(group, item, completion) }
        var input = JSONObjectText()
        input.set("stream_name", .string(group.stream.text))
        input.set("group_id", .string(group.name.text))
        if let item { input.set("item_id", .string(item.text)) }
        providers.call(operation, group.stream, input.finish(), trace: .none, timeout: Self.timeout) { [self] answer in
            switch answer {
            case .missing: readStore(group, item, completion)
            case .failure(let error): completion(.failure(error))
            case .result(let bytes):
                let nothing = item == nil ? Array("[]".utf8) : ItemResults.null
                // A client takes what it is shown of a group for a list.
                if item == nil, let bytes, bytes.first(where: { $0 > 0x20 }) != UInt8(ascii: "[") {
                    return completion(.failure(InvocationError(.jsonError, "the provider's list is none")))
                }
                completion(.success(StreamHub.Snapshot(text: bytes.map { Array(JSONLevel.compact($0[...])) } ?? nothing, revision: nil)))
            }
        }
    }

    private func readStore(_ group: ItemGroup, _ item: ItemName?, _ completion: @escaping (Result<StreamHub.Snapshot, any Error>) -> Void) {
        guard let store else { return completion(.failure(InvocationError(.functionUnavailable, "the store is not open"))) }
        let bound = NIOLoopBound(completion, eventLoop: context.eventLoop)
        guard let item else {
            return store.list(group, ItemPage(maximumBytes: Self.maximumBytes)) { result in
                bound.value(
                    result.flatMap { list in
                        guard list.end == .complete else { return .failure(ItemLimits.listTooLarge) }
                        return .success(.init(text: ItemResults.array(list.entries.lazy.map(\.item.text)), revision: list.revision))
                    })
            }
        }
        store.read(ItemAddress(group: group, key: item)) { result in
            bound.value(result.map { .init(text: $0.item?.text ?? ItemResults.null, revision: $0.revision) })
        }
    }
}
