import IIIProtocol
import NIOCore

/// Tells the world of changes: the engine's own trigger types and the private registry watch of built-ins
/// (docs/reference/engine.md#trigger-types).
final class RegistryAnnouncements {
    static let functionsAvailable = "engine::functions-available"
    static let workersAvailable = "engine::workers-available"
    /// Changes within this time are told together.
    static let debounce = TimeAmount.milliseconds(200)

    private struct Watch {
        let worker: Worker
        let function: FunctionID
        let prefixes: [String]
    }

    private unowned let engine: Engine
    private var isScheduled = false
    private var announcedIDs: Set<FunctionKey> = []
    private var watches: [Watch] = []
    private var isWatchScheduled = false
    private var added: Set<FunctionKey> = []
    private var removed: Set<FunctionKey> = []
    /// Registered anew, with other formats perhaps; told to watches only.
    private var replaced: Set<FunctionKey> = []

    init(engine: Engine) { self.engine = engine }

    func workerEvent(_ event: String, _ id: UUIDBits) {
        let payload: JSONValue = ["event": .string(event), "worker_id": .string(id.text)]
        for trigger in engine.registry.triggers.triggers(ofType: Self.workersAvailable) {
            // One with access rules hears of those it may see, which it could list anyway.
            if let registrant = trigger.owner ?? trigger.creator, registrant.isRestricted,
                !(engine.registry.workers[id].map { engine.isVisible($0, to: registrant) } ?? false)
            {
                continue
            }
            fire(trigger, payload.bytes)
        }
    }

    func functionAdded(_ key: FunctionKey) {
        removed.remove(key)
        added.insert(key)
        changed()
    }

    func functionReplaced(_ key: FunctionKey) {
        guard !watches.isEmpty else { return }
        replaced.insert(key)
        scheduleWatches()
    }

    func functionsRemoved(_ keys: [FunctionKey]) {
        guard !keys.isEmpty else { return }
        for key in keys {
            added.remove(key)
            removed.insert(key)
        }
        changed()
    }

    private func changed() {
        let bound = NIOLoopBound(self, eventLoop: engine.eventLoop)
        if !isScheduled {
            isScheduled = true
            engine.eventLoop.scheduleTask(in: Self.debounce) { bound.value.announceFunctions() }
        }
        scheduleWatches()
    }

    private func scheduleWatches() {
        guard !isWatchScheduled else { return }
        isWatchScheduled = true
        let bound = NIOLoopBound(self, eventLoop: engine.eventLoop)
        engine.eventLoop.execute { bound.value.pushToWatches() }
    }

    private func announceFunctions() {
        isScheduled = false
        let ids = Set(engine.registry.functions.all.map(\.key))
        guard ids != announcedIDs else { return }
        announcedIDs = ids
        let triggers = engine.registry.triggers.triggers(ofType: Self.functionsAvailable)
        guard !triggers.isEmpty else { return }
        let everything = functionsChanged(for: nil)
        for trigger in triggers {
            let registrant = trigger.owner ?? trigger.creator
            fire(trigger, registrant?.isRestricted == true ? functionsChanged(for: registrant) : everything)
        }
    }

    private func functionsChanged(for worker: Worker?) -> [UInt8] {
        let shown = engine.functionListing.current.filter { !$0.record.isPrivilegedOnly && engine.isVisible($0.record, to: worker) }
        var event = JSONObjectText()
        event.set("event", "functions_changed")
        event.set("functions", rows: shown.map(engine.functionListing.row))
        return event.finish()
    }

    private func fire(_ trigger: TriggerRecord, _ payload: [UInt8]) {
        engine.call(trigger.functionID, namespace: trigger.namespace, data: payload, metadata: trigger.metadata)
    }

    // MARK: Watches

    /// Tells `function` of `worker` of every id added, removed or registered again (`changed`, left out when empty) under
    /// `prefixes` (none: all), until the worker leaves.
    func watch(_ worker: Worker, function: FunctionID, prefixes: [String]) {
        watches.removeAll { !$0.worker.isConnected || ($0.worker === worker && $0.function == function) }
        watches.append(Watch(worker: worker, function: function, prefixes: prefixes))
    }

    private func pushToWatches() {
        isWatchScheduled = false
        watches.removeAll { !$0.worker.isConnected }
        for watch in watches {
            func ids(_ keys: Set<FunctionKey>) -> JSONValue {
                .array(keys.map(\.id).filter { id in Self.matches(id, watch.prefixes) }.sorted().map(JSONValue.string))
            }
            var change = ["added": ids(added), "removed": ids(removed)]
            let changed = ids(replaced)
            if changed != [] { change["changed"] = changed }
            if change.values.allSatisfy({ $0 == [] }) { continue }
            engine.call(watch.function, data: JSONValue.object(change).bytes, callee: watch.worker)
        }
        replaced = []
        added = []
        removed = []
    }

    static func matches(_ id: String, _ prefixes: [String]) -> Bool {
        prefixes.isEmpty || prefixes.contains { id.hasPrefix($0) }
    }
}
