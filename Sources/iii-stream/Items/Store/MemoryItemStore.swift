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
            var item: StoredItem
        }

        /// In the order of their places; removed ones are nil.
        private(set) var slots: [Slot?] = []
        private(set) var indices: [ItemName: Int] = [:]

        subscript(key: ItemName) -> StoredItem? { indices[key].flatMap { slots[$0]?.item } }

        mutating func store(_ item: StoredItem, under key: ItemName, newPlace: Int) {
            if let index = indices[key] {
                slots[index]?.item = item
            } else {
                indices[key] = slots.count
                slots.append(Slot(key: key, place: newPlace, item: item))
            }
        }

        mutating func remove(_ key: ItemName) {
            guard let index = indices.removeValue(forKey: key) else { return }
            slots[index] = nil
            guard slots.count > 32, indices.count < slots.count / 2 else { return }
            slots.removeAll { $0 == nil }
            for (index, slot) in slots.enumerated() { if let slot { indices[slot.key] = index } }
        }

        /// The first slot behind a place.
        func index(after place: Int) -> Int {
            guard place > 0 else { return 0 }
            // Removed slots have no place to compare; there are at most as many as others.
            return slots.firstIndex { $0.map { $0.place > place } ?? false } ?? slots.count
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
    private static let overhead = 160

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
        completion(Result { try contents.withLock { try change(item, &$0, decide) } })
    }

    private func change(
        _ item: ItemAddress, _ contents: inout Contents, _ decide: (StoredItem?) throws -> ItemEdit
    ) throws -> ItemChange {
        let now = now()
        let found = contents.groups[item.group]?[item.key]
        let expired = found.flatMap { $0.isExpired(at: now) ? $0 : nil }
        let old = expired == nil ? found : nil
        let edit = try decide(old)
        var new = old
        switch edit.action {
        case .keep: break
        case .remove: new = nil
        case .store(let text):
            new = StoredItem(
                text: text, revision: contents.revision + (expired == nil ? 1 : 2), createdAt: old?.createdAt ?? now, updatedAt: now,
                expiresAt: edit.expiry.deadline(old: old?.expiresAt, now: now))
            try makeRoom(for: text, in: item, found, contents)
        }
        if expired != nil {
            contents.revision += 1
            remove(item, expired, &contents)
        }
        switch edit.action {
        case .keep: break
        case .remove:
            if let old {
                contents.revision += 1
                remove(item, old, &contents)
            }
        case .store(let text):
            contents.revision += 1
            if let old {
                contents.bytes += text.count - old.text.count
            } else {
                contents.places += 1
                contents.items += 1
                contents.bytes += text.count + item.key.count + Self.overhead
            }
            if let new { contents.groups[item.group, default: Group()].store(new, under: item.key, newPlace: contents.places) }
            if new?.expiresAt == nil { contents.mortals.remove(item) } else { contents.mortals.insert(item) }
        }
        let isChanged = edit.action != .keep && !(edit.action == .remove && old == nil)
        return ItemChange(old: old, new: new, expired: expired, revision: contents.revision, isChanged: isChanged, notes: edit.notes)
    }

    private func makeRoom(for text: [UInt8], in item: ItemAddress, _ found: StoredItem?, _ contents: Contents) throws {
        if found == nil, contents.groups[item.group]?.indices.count ?? 0 >= ItemLimits.maximumItems { throw ItemLimits.tooManyItems() }
        let growth = text.count - (found?.text.count ?? -item.key.count - Self.overhead)
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
                    for case .some(let slot) in found.slots[found.index(after: page.after)...] where !slot.item.isExpired(at: now) {
                        if let limit = page.limit, list.entries.count >= limit {
                            list.end = .limit
                            break
                        }
                        bytes += slot.item.text.count
                        if bytes > page.maximumBytes {
                            list.end = .bytes
                            break
                        }
                        list.entries.append(.init(key: slot.key, item: slot.item, place: slot.place))
                    }
                    return list
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
