import IIIProtocol
import IIIWorker

/// The triggers of one type by the name that their events have, so that an event looks at those only that may want it. Pure.
package struct TriggerIndex<Filter: Sendable>: Sendable {
    package struct Entry: Sendable {
        package let id: String
        package let target: TriggerTarget
        package let condition: TriggerCondition?
        package let filter: Filter
        fileprivate let order: Int
    }

    private var named: [ItemName: [String: Entry]] = [:]
    /// Those that want events of every name.
    private var unnamed: [String: Entry] = [:]
    private var names: [String: ItemName?] = [:]
    private var nextOrder = 0

    package init() {}

    package var isEmpty: Bool { names.isEmpty }

    /// Puts a trigger in force, in the place of one with the same id. `name` nil: events of every name.
    package mutating func set(_ binding: TriggerBinding, name: ItemName?, condition: TriggerCondition?, _ filter: Filter) {
        let order = removed(binding.id)?.order ?? nextOrder
        nextOrder += 1
        let entry = Entry(id: binding.id, target: binding.target, condition: condition, filter: filter, order: order)
        names[binding.id] = .some(name)
        if let name { named[name, default: [:]][binding.id] = entry } else { unnamed[binding.id] = entry }
    }

    package mutating func remove(_ id: String) { _ = removed(id) }

    private mutating func removed(_ id: String) -> Entry? {
        guard let name = names.removeValue(forKey: id) else { return nil }
        guard let name else { return unnamed.removeValue(forKey: id) }
        let entry = named[name]?.removeValue(forKey: id)
        if named[name]?.isEmpty == true { named[name] = nil }
        return entry
    }

    /// Those that want events of `name` and fit, in the order of their registration.
    package func matching(_ name: ItemName, _ fits: (Filter) -> Bool) -> [Entry] {
        guard !names.isEmpty else { return [] }
        var found = unnamed.values.filter { fits($0.filter) }
        if let own = named[name] { found += own.values.filter { fits($0.filter) } }
        return found.count > 1 ? found.sorted { $0.order < $1.order } : found
    }
}
