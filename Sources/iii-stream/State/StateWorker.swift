import IIIItems
import IIIProtocol
import IIISettings
import IIITelemetry
import IIIWorker
import Logging
import NIOCore

/// The `iii-state` core worker: values under (scope, key) that every worker can read, change atomically, and listen to.
///
/// A write is answered once it is as durable as the store's settings say, and its event is fired at that moment: events come in the order of
/// the commits. Confined to the link's event loop; the store does its work elsewhere.
public final class StateWorker: CoreWorker {
    public static var role: String { "state" }

    /// Opaque outside: the settings of the entry.
    public struct Configuration: Sendable {
        package let values: StateConfiguration
    }

    let context: CoreWorkerContext
    var settings: StateConfiguration
    private var opened: (any ItemStore)?
    private var triggers: TriggerProvider<StateTriggerType.Filter>?
    private var index = TriggerIndex<StateTriggerType.Filter>()
    private let fires: OrderedFires
    private var sweeper: ExpirySweeper?

    public static var settings: SettingGroup { StateConfiguration.group(StateConfiguration.adapter(ItemStores.state.current)) }

    public static func configuration(from json: JSONValue) throws -> Configuration {
        do throws(InvalidSettings) {
            return Configuration(values: try StateConfiguration(json, stores: ItemStores.state.current))
        } catch { throw ConfigurationError(error.description) }
    }

    public init(configuration: Configuration, context: CoreWorkerContext) throws {
        self.context = context
        settings = configuration.values
        fires = OrderedFires(
            calls: context.calls, counters: EventCounters("state", context.metrics), logger: context.logger)
        for warning in settings.warnings { context.logger.warning(.configurationSuspicious, "configuration: \(warning)") }
    }

    public func start(on loop: isolated WorkerLoop) async throws {
        let open = try await ItemStores.state.current.open(settings.adapter)
        let store = try await open(
            ItemStoreContext(entry: context.name, layout: .state, logger: context.logger, on: context.eventLoop))
        opened = store
        sweeper = ExpirySweeper(store, context: context) { [unowned self] in expire($0.address, $0.item) }
    }

    /// Functions are registered after `start` only.
    var store: any ItemStore {
        get throws(InvocationError) {
            guard let opened else { throw InvocationError(.functionUnavailable, "the store is not open") }
            return opened
        }
    }

    public func registerTriggerTypes(on link: WorkerLink) {
        triggers = TriggerProvider(
            StateTriggerType.declaration, on: link,
            accept: { [self] binding, _ throws(InvocationError) in
                let filter = try StateTriggerType.Filter(binding.config)
                index.set(binding, name: filter.scope, condition: try TriggerCondition(config: binding.config), filter)
                return filter
            },
            release: { [self] binding, _, _ in
                index.remove(binding.id)
                fires.ended(binding.id)
            })
    }

    public func registerFunctions(on link: WorkerLink) { StateFunctions(self).register(on: link) }

    public func reconfigure(_ configuration: Configuration, on loop: isolated WorkerLoop) async -> Reconfiguration {
        guard configuration.values.adapterJSON == settings.adapterJSON else { return .refused("another adapter needs a restart") }
        settings = configuration.values
        for warning in settings.warnings { context.logger.warning(.configurationSuspicious, "configuration: \(warning)") }
        return .applied
    }

    public func drain(deadline: NIODeadline, on loop: isolated WorkerLoop) async { sweeper = nil }

    public func end(on loop: isolated WorkerLoop) async { await opened?.close() }

    public var status: String {
        let held = fires.waiting > 0 ? ", \(fires.waiting) events wait" : ""
        let lost = fires.counters.dropped.value > 0 ? ", \(fires.counters.dropped.value) events dropped" : ""
        return "\(opened?.status ?? "no store"), \(triggers?.count ?? 0) triggers\(held)\(lost)"
    }

    // MARK: Events

    /// Tells the triggers of a change, and first of what had expired there.
    func changed(_ address: ItemAddress, _ change: ItemChange, by call: IncomingCall, firesAlways: Bool = false) {
        if let expired = change.expired { expire(address, expired) }
        guard change.isChanged || firesAlways else { return }
        let kind: StateEvent.Kind = change.new == nil ? .deleted : change.old == nil ? .created : .updated
        fire(StateEvent(kind: kind, address: address, old: change.old?.text, new: change.new?.text), call.trace)
    }

    private func expire(_ address: ItemAddress, _ item: StoredItem) {
        fire(StateEvent(kind: .deleted, address: address, old: item.text, new: nil, isExpiry: true), .none)
    }

    private func fire(_ event: StateEvent, _ trace: TraceContext) {
        guard settings.firesTriggers else { return }
        let (scope, key) = (event.address.group.name, event.address.key)
        let matching = index.matching(scope) { $0.key == nil || $0.key == key }
        guard !matching.isEmpty else { return }
        let told = OrderedFires.Event(
            payload: event.payload, span: context.telemetry.span("state_triggers", parent: trace), count: matching.count)
        for trigger in matching { fires.fire(trigger, about: event.address, told) }
    }
}
