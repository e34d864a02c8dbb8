import IIIProtocol
import Synchronization

/// Items in the memory of this process, gone with it: the adapter `kv` with `store_method: in_memory`.
///
/// Holds at most `maximumBytes` of names and values; further ones fail. Answers on the spot.
package final class MemoryItemStore: ItemStore {
    private struct Group {
        struct Slot {
            let key: ItemName
            let place: Int
            /// nil once it is removed.
            var item: StoredItem?
        }

        /// In the order of their places.
        private(set) var slots: [Slot] = []
        private(set) var indices: [ItemName: Int] = [:]

        subscript(key: ItemName) -> StoredItem? { indices[key].flatMap { slots[$0].item } }

        mutating func store(_ item: StoredItem, under key: ItemName, newPlace: Int) {
            if let index = indices[key] {
                slots[index].item = item
            } else {
                indices[key] = slots.count
                slots.append(Slot(key: key, place: newPlace, item: item))
            }
        }

        mutating func remove(_ key: ItemName) {
            guard let index = indices.removeValue(forKey: key) else { return }
            slots[index].item = nil
            guard slots.count > 32, indices.count < slots.count / 2 else { return }
            slots.removeAll { $0.item == nil }
            for (index, slot) in slots.enumerated() { indices[slot.key] = index }
        }

        /// The first slot behind a place.
        func index(after place: Int) -> Int {
            var (low, high) = (0, slots.count)
            while low < high {
                let middle = (low + high) / 2
                if slots[middle].place > place { high = middle } else { low = middle + 1 }
            }
            return low
        }

        /// What the page may show, in its order. By name no more than the page and one more are kept.
        func slots(of page: ItemPage, _ isShown: @escaping (StoredItem) -> Bool) -> [Slot] {
            switch page.order {
            case .stored(let place):
                var found: [Slot] = []
                var bytes = 0
                for slot in slots[index(after: place)...] {
                    guard let item = slot.item, isShown(item), slot.key.hasPrefix(page.prefix) else { continue }
                    found.append(slot)
                    bytes += item.text.count
                    if found.count > page.limit ?? .max || bytes > page.maximumBytes { break }
                }
                return found
            case .name(let after):
                let fitting = slots.lazy.filter { slot in
                    slot.key.hasPrefix(page.prefix) && after.map { slot.key > $0 } ?? true && slot.item.map(isShown) ?? false
                }
                guard let most = page.limit.map({ $0 + 1 }) else { return fitting.sorted { $0.key < $1.key } }
                var found: [Slot] = []
                for slot in fitting {
                    if found.count >= most, let last = found.last, slot.key > last.key { continue }
                    var (low, high) = (0, found.count)
                    while low < high {
                        let middle = (low + high) / 2
                        if found[middle].key > slot.key { high = middle } else { low = middle + 1 }
                    }
                    found.insert(slot, at: low)
                    if found.count > most { found.removeLast() }
                }
                return found
            }
        }
    }

    private struct Contents {
        var groups: [ItemGroup: Group] = [:]
        var revision = 0
        var places = 0
        var bytes = 0
        var items = 0
        /// Items that expire some day.
        var mortals: Set<ItemAddress> = []
    }

    /// Of an item beside its name and value.
    static let overhead = 160

    private let contents = Mutex(Contents())
    private let maximumBytes: Int
    private let now: @Sendable () -> Int

    package init(maximumBytes: Int, now: @escaping @Sendable () -> Int) {
        self.maximumBytes = maximumBytes
        self.now = now
        // Above everything that an earlier process has told.
        contents.withLock { $0.revision = now() * 1000 }
    }

    package func change(
        _ item: ItemAddress, cost: Int, _ decide: @escaping @Sendable (StoredItem?) throws -> ItemEdit,
        completion: @escaping @Sendable (Result<ItemChange, any Error>) -> Void
    ) {
        completion(
            Result {
                try contents.withLock { contents in
                    let plan = try Plan(item, contents, now(), decide)
                    try makeRoom(for: [plan], contents)
                    return apply(plan, &contents)
                }
            })
    }

    package func changeAll(
        in group: ItemGroup, _ steps: [ItemStep], completion: @escaping @Sendable (Result<[ItemChange], any Error>) -> Void
    ) {
        completion(
            Result {
                try contents.withLock { contents in
                    let now = now()
                    // No step sees another one's item, so all can be decided before anything changes.
                    let plans = try steps.map { try Plan(ItemAddress(group: group, key: $0.key), contents, now, $0.decide) }
                    try makeRoom(for: plans, contents)
                    return plans.map { apply($0, &contents) }
                }
            })
    }

    /// What is going to happen to an item.
    private struct Plan {
        let item: ItemAddress
        let found: StoredItem?
        let now: Int
        let edit: ItemEdit

        init(_ item: ItemAddress, _ contents: Contents, _ now: Int, _ decide: (StoredItem?) throws -> ItemEdit) throws {
            self.item = item
            self.now = now
            found = contents.groups[item.group]?[item.key]
            edit = try decide(found.flatMap { $0.isExpired(at: now) ? nil : $0 })
        }

        var expired: StoredItem? { found.flatMap { $0.isExpired(at: now) ? $0 : nil } }
        var old: StoredItem? { expired == nil ? found : nil }

        var growth: Int {
            guard case .store(let text) = edit.action else { return 0 }
            return text.count - (found?.text.count ?? -item.key.count - MemoryItemStore.overhead)
        }

        var isNew: Bool {
            guard case .store = edit.action else { return false }
            return found == nil
        }
    }

    private func apply(_ plan: Plan, _ contents: inout Contents) -> ItemChange {
        let (item, edit, old) = (plan.item, plan.edit, plan.old)
        var new = old
        if let expired = plan.expired {
            contents.revision += 1
            remove(item, expired, &contents)
        }
        switch edit.action {
        case .keep: break
        case .remove:
            new = nil
            guard let old else { break }
            contents.revision += 1
            remove(item, old, &contents)
        case .store(let text):
            contents.revision += 1
            if let old {
                contents.bytes += text.count - old.text.count
            } else {
                contents.places += 1
                contents.items += 1
                contents.bytes += text.count + item.key.count + Self.overhead
            }
            let stored = StoredItem(
                text: text, revision: contents.revision, createdAt: old?.createdAt ?? plan.now, updatedAt: plan.now,
                expiresAt: edit.expiry.deadline(old: old?.expiresAt, now: plan.now))
            contents.groups[item.group, default: Group()].store(stored, under: item.key, newPlace: contents.places)
            if stored.expiresAt == nil { contents.mortals.remove(item) } else { contents.mortals.insert(item) }
            new = stored
        }
        let isChanged = edit.action != .keep && !(edit.action == .remove && old == nil)
        return ItemChange(old: old, new: new, expired: plan.expired, revision: contents.revision, isChanged: isChanged, notes: edit.notes)
    }

    private func makeRoom(for plans: [Plan], _ contents: Contents) throws {
        let added = plans.reduce(0) { $0 + ($1.isNew ? 1 : 0) }
        if added > 0, let group = plans.first?.item.group,
            (contents.groups[group]?.indices.count ?? 0) + added > ItemLimits.maximumItems
        {
            throw ItemLimits.tooManyItems()
        }
        let growth = plans.reduce(0) { $0 + $1.growth }
        guard growth > 0, contents.bytes + growth > maximumBytes else { return }
        throw InvocationError(
            .limitExceeded,
            "the store in memory is full (\(contents.bytes) bytes; max_memory_bytes is \(maximumBytes)); remove something, or use "
                + "store_method: file_based")
    }

    private func remove(_ address: ItemAddress, _ item: StoredItem?, _ contents: inout Contents) {
        contents.groups[address.group]?.remove(address.key)
        if contents.groups[address.group]?.indices.isEmpty == true { contents.groups[address.group] = nil }
        contents.bytes -= (item?.text.count ?? 0) + address.key.count + Self.overhead
        contents.items -= 1
        contents.mortals.remove(address)
    }

    package func read(_ item: ItemAddress, completion: @escaping @Sendable (Result<ItemReading, any Error>) -> Void) {
        let now = now()
        completion(
            .success(
                contents.withLock { contents in
                    let found = contents.groups[item.group]?[item.key]
                    return ItemReading(item: found.flatMap { $0.isExpired(at: now) ? nil : $0 }, revision: contents.revision)
                }))
    }

    package func list(_ group: ItemGroup, _ page: ItemPage, completion: @escaping @Sendable (Result<ItemListing, any Error>) -> Void) {
        let now = now()
        completion(
            .success(
                contents.withLock { contents in
                    var list = ItemListing(entries: [], end: .complete, revision: contents.revision)
                    guard let found = contents.groups[group] else { return list }
                    var bytes = 0
                    for slot in found.slots(of: page, { !$0.isExpired(at: now) }) {
                        guard let item = slot.item else { continue }
                        if let limit = page.limit, list.entries.count >= limit {
                            list.end = .limit
                            break
                        }
                        bytes += item.text.count
                        if bytes > page.maximumBytes {
                            list.end = .bytes
                            break
                        }
                        list.entries.append(.init(key: slot.key, item: item, place: slot.place))
                    }
                    return list
                }))
    }

    package func count(_ group: ItemGroup, completion: @escaping @Sendable (Result<Int, any Error>) -> Void) {
        let now = now()
        completion(
            .success(
                contents.withLock { contents in
                    let all = contents.groups[group]?.indices.count ?? 0
                    return all - contents.mortals.count { $0.group == group && contents.groups[group]?[$0.key]?.isExpired(at: now) == true }
                }))
    }

    package func groups(of stream: ItemName, completion: @escaping @Sendable (Result<[ItemName], any Error>) -> Void) {
        completion(.success(contents.withLock { Self.live($0, now()).filter { $0.stream == stream }.map(\.name).sorted() }))
    }

    package func groups(completion: @escaping @Sendable (Result<[ItemGroup], any Error>) -> Void) {
        completion(.success(contents.withLock { Self.live($0, now()).sorted { ($0.stream, $0.name) < ($1.stream, $1.name) } }))
    }

    private static func live(_ contents: Contents, _ now: Int) -> [ItemGroup] {
        let dead = contents.mortals.filter { contents.groups[$0.group]?[$0.key]?.isExpired(at: now) == true }
        let perGroup = Dictionary(grouping: dead, by: \.group)
        return contents.groups.filter { $0.value.indices.count > perGroup[$0.key]?.count ?? 0 }.map(\.key)
    }

    package func removeExpired(limit: Int, completion: @escaping @Sendable (Result<[ExpiredItem], any Error>) -> Void) {
        let now = now()
        let removed = contents.withLock { contents in
            var due: [(ItemAddress, StoredItem)] = []
            for address in contents.mortals where due.count < limit {
                guard let item = contents.groups[address.group]?[address.key], item.isExpired(at: now) else { continue }
                due.append((address, item))
            }
            return due.map { address, item in
                contents.revision += 1
                remove(address, item, &contents)
                return ExpiredItem(address: address, item: item, revision: contents.revision)
            }
        }
        completion(.success(removed))
    }

    package var status: String {
        contents.withLock { "\($0.items) items, \($0.bytes >> 10) KiB in memory, lost at the end of the process" }
    }

    package func close() async {}
}

extension StoredItem {
    func isExpired(at now: Int) -> Bool { expiresAt.map { $0 <= now } ?? false }
}

extension ItemEdit.Expiry {
    func deadline(old: Int?, now: Int) -> Int? {
        switch self {
        case .unchanged: old
        case .never: nil
        case .after(let milliseconds): now + milliseconds
        }
    }
}
