import IIIProtocol
import IIIStorage
import Logging
import Synchronization

/// Items in an SQLite file of their own: the adapter `kv` with `store_method: file_based`.
///
/// One writer commits what has arrived while the last commit was being synced, so the order of commits is the order of completions. What it
/// takes of memory depends on the calls under way, not on what is stored.
package final class EmbeddedItemStore: ItemStore {
    /// A stored value is not what was written; it has been taken out (`iii-core store check`).
    package struct Damaged: Error, CustomStringConvertible {
        package let description = "the stored value was damaged and is in quarantine (iii-core store check)"
    }

    private let store: Store
    private let executor: StoreExecutor
    private let now: @Sendable () -> Int
    private let directory: String
    /// Some item may expire some day.
    private let hasMortals = Atomic(false)

    /// Opens the store in `settings.directory`, and takes over what the reference has left there if there is none yet.
    package init(_ settings: StoreSettings, context: ItemStoreContext) throws {
        let (directory, layout, now) = (settings.directory, context.layout, context.now)
        let logger = context.logger
        store = try Store.open(
            settings,
            migrations: [
                Migration { transaction in
                    try transaction.execute(ItemSchema.tables)
                    let files = try ReferenceFiles(directory: directory, layout: layout)
                    let count = try files.importAll { group, key, text in
                        try Self.put(text, at: ItemAddress(group: group, key: key), now(), in: transaction)
                    }
                    guard count.files > 0 else { return }
                    logger.notice(
                        "values of another engine were taken over; its files are left as they are",
                        metadata: ["directory": "\(directory)", "files": "\(count.files)", "values": "\(count.items)"])
                }
            ], logger: logger)
        executor = StoreExecutor(context.execute)
        self.now = now
        self.directory = directory
    }

    /// Whether anything expires is asked once, after opening.
    package func begin() async throws {
        let isAny = try await store.read { try $0.first(ItemSchema.isAnyMortal) { $0.int(0) } != nil }
        hasMortals.store(isAny, ordering: .relaxed)
    }

    private static func put(_ text: [UInt8], at address: ItemAddress, _ now: Int, in transaction: borrowing Transaction) throws {
        let revision = try Self.nextRevision(transaction)
        let item = StoredItem(text: text, revision: revision, createdAt: now, updatedAt: now)
        try insert(item, at: address, in: transaction)
    }

    // MARK: Changes

    package func change(
        _ item: ItemAddress, cost: Int, _ decide: @escaping @Sendable (StoredItem?) throws -> ItemEdit,
        completion: @escaping @Sendable (Result<ItemChange, any Error>) -> Void
    ) {
        store.write(cost: cost + 512, on: executor) { [self] transaction in
            try change(item, decide, transaction)
        } completion: {
            completion($0)
        }
    }

    package func changeAll(
        in group: ItemGroup, _ steps: [ItemStep], completion: @escaping @Sendable (Result<[ItemChange], any Error>) -> Void
    ) {
        store.write(cost: steps.reduce(512) { $0 + $1.cost + 256 }, on: executor) { [self] transaction in
            try steps.map { try change(ItemAddress(group: group, key: $0.key), $0.decide, transaction) }
        } completion: {
            completion($0)
        }
    }

    private func change(
        _ item: ItemAddress, _ decide: (StoredItem?) throws -> ItemEdit, _ transaction: borrowing Transaction
    ) throws -> ItemChange {
        let found = try transaction.first(ItemSchema.item, { Self.bind(item, to: &$0) }) { ItemRow($0) }
        let time = now()
        let current = found?.item
        let expired = current.flatMap { $0.isExpired(at: time) ? $0 : nil }
        let old = expired == nil ? current : nil
        let edit = try decide(old)
        if case .keep = edit.action, expired == nil, found == nil || current != nil {
            let revision = try transaction.first(ItemSchema.revision) { $0.int(0) } ?? 0
            return ItemChange(old: old, new: old, revision: revision, isChanged: false, notes: edit.notes)
        }
        if case .store = edit.action, found == nil, try Self.count(item.group, transaction) >= ItemLimits.maximumItems {
            throw ItemLimits.tooManyItems()
        }
        // A row that is not what was written counts as none.
        if let found, old == nil { try Self.discard(found, isDamaged: current == nil, transaction) }
        var change = ItemChange(old: old, new: old, expired: expired, revision: 0, isChanged: true, notes: edit.notes)
        change.revision = try Self.nextRevision(transaction)
        switch edit.action {
        case .keep: change.isChanged = false
        case .remove:
            change.new = nil
            if let found, old != nil { try Self.discard(found, isDamaged: false, transaction) } else { change.isChanged = false }
        case .store(let text):
            let deadline = edit.expiry.deadline(old: old?.expiresAt, now: time)
            let new = StoredItem(
                text: text, revision: change.revision, createdAt: old?.createdAt ?? time, updatedAt: time, expiresAt: deadline)
            if deadline != nil { hasMortals.store(true, ordering: .relaxed) }
            change.new = new
            if let found, old != nil {
                try transaction.run(ItemSchema.update) {
                    ItemRow.bind(new, key: item.key, groupID: found.groupID, to: &$0)
                    $0.int(found.place)
                }
            } else {
                try Self.insert(new, at: item, in: transaction)
            }
        }
        return change
    }

    private static func bind(_ item: ItemAddress, to bindings: inout Bindings) {
        bindings.text(item.group.stream.text)
        bindings.text(item.group.name.text)
        bindings.text(item.key.text)
    }

    private static func bind(_ group: ItemGroup, to bindings: inout Bindings) {
        bindings.text(group.stream.text)
        bindings.text(group.name.text)
    }

    private static func count(_ group: ItemGroup, _ transaction: borrowing Transaction) throws -> Int {
        try transaction.first(ItemSchema.groupOf, { bind(group, to: &$0) }) { $0.int(1) } ?? 0
    }

    private static func nextRevision(_ transaction: borrowing Transaction) throws -> Int {
        guard let revision = try transaction.first(ItemSchema.nextRevision, { _ in }, { $0.int(0) }) else {
            throw StorageError(.corrupt, "the store has no counter of revisions; restore a backup (iii-core store restore)")
        }
        return revision
    }

    private static func insert(_ item: StoredItem, at address: ItemAddress, in transaction: borrowing Transaction) throws {
        guard let group = try transaction.first(ItemSchema.addGroup, { bind(address.group, to: &$0) }, { $0.int(0) }) else { return }
        try transaction.run(ItemSchema.insert) { ItemRow.bind(item, key: address.key, groupID: group, to: &$0) }
    }

    /// Takes a row out of its group, into quarantine where it is not what was written.
    private static func discard(_ row: ItemRow, isDamaged: Bool, _ transaction: borrowing Transaction) throws {
        if isDamaged {
            try transaction.quarantine(table: "items", row: row.place, reason: "the checksum does not fit")
        } else {
            try transaction.run(ItemSchema.remove) { $0.int(row.place) }
        }
        try transaction.run(ItemSchema.oneItemLess) { $0.int(row.groupID) }
        try transaction.run(ItemSchema.removeEmptyGroup) { $0.int(row.groupID) }
    }

    package func removeExpired(limit: Int, completion: @escaping @Sendable (Result<[ExpiredItem], any Error>) -> Void) {
        guard hasMortals.load(ordering: .relaxed) else { return completion(.success([])) }
        let now = now
        store.write(cost: 0, on: executor) { transaction in
            var due: [(ItemRow, ItemAddress)] = []
            let time = now()
            try transaction.query(
                ItemSchema.expired,
                {
                    $0.int(time)
                    $0.int(limit)
                }
            ) { row in
                let found = ItemRow(row)
                let group = ItemGroup(stream: ItemName(row.text(9)), name: ItemName(row.text(10)))
                due.append((found, ItemAddress(group: group, key: found.key)))
            }
            var removed: [ExpiredItem] = []
            for (row, address) in due {
                try Self.discard(row, isDamaged: row.item == nil, transaction)
                guard let item = row.item else { continue }
                removed.append(ExpiredItem(address: address, item: item, revision: try Self.nextRevision(transaction)))
            }
            return removed
        } completion: {
            completion($0)
        }
    }

    // MARK: Reading

    package func read(_ item: ItemAddress, completion: @escaping @Sendable (Result<ItemReading, any Error>) -> Void) {
        let now = now
        store.read(on: executor) { [self] snapshot in
            let found = try snapshot.first(ItemSchema.item, { Self.bind(item, to: &$0) }) { ItemRow($0) }
            if let found, found.item == nil {
                quarantine([found])
                throw Damaged()
            }
            let revision = try snapshot.first(ItemSchema.revision) { $0.int(0) } ?? 0
            let time = now()
            return ItemReading(item: found?.item.flatMap { $0.isExpired(at: time) ? nil : $0 }, revision: revision)
        } completion: {
            completion($0)
        }
    }

    package func list(_ group: ItemGroup, _ page: ItemPage, completion: @escaping @Sendable (Result<ItemListing, any Error>) -> Void) {
        let now = now
        store.read(on: executor) { [self] snapshot in
            var list = ItemListing(entries: [], end: .complete, revision: try snapshot.first(ItemSchema.revision) { $0.int(0) } ?? 0)
            var bytes = 0
            var damaged: [ItemRow] = []
            try snapshot.query(ItemSchema.list(page), { Self.bind(page, of: group, now(), to: &$0) }) { row in
                guard list.end == .complete else { return }
                if let limit = page.limit, list.entries.count >= limit { return list.end = .limit }
                let found = ItemRow(row)
                guard let item = found.item else { return damaged.append(found) }
                bytes += item.text.count
                if bytes > page.maximumBytes { return list.end = .bytes }
                list.entries.append(.init(key: found.key, item: item, place: found.place))
            }
            quarantine(damaged)
            return list
        } completion: {
            completion($0)
        }
    }

    private static func bind(_ page: ItemPage, of group: ItemGroup, _ now: Int, to bindings: inout Bindings) {
        bind(group, to: &bindings)
        // No byte of a name is as high as the last one of this.
        let end = Array(page.prefix.text.utf8) + [0xFF]
        switch page.order {
        case .stored(let place):
            bindings.int(place)
            bindings.int(now)
            if page.prefix.count > 0 {
                bindings.text(page.prefix.text)
                bindings.bytes(end)
            }
        case .name(let name):
            bindings.int(now)
            // Nothing is between a name and the same with a zero behind it.
            bindings.text(max(page.prefix, name.map { ItemName($0.text + "\u{0}") } ?? "").text)
            bindings.bytes(end)
        }
        // One more than asked for tells whether there is more; enough for all where no limit is.
        bindings.int(page.limit.map { $0 + 1 } ?? -1)
    }

    package func count(_ group: ItemGroup, completion: @escaping @Sendable (Result<Int, any Error>) -> Void) {
        let now = now
        store.read(on: executor) { snapshot in
            try snapshot.first(
                ItemSchema.count,
                {
                    Self.bind(group, to: &$0)
                    $0.int(now())
                }, { $0.int(0) }) ?? 0
        } completion: {
            completion($0)
        }
    }

    /// Out of the way of further reads; counted and logged by the store.
    private func quarantine(_ rows: [ItemRow]) {
        guard !rows.isEmpty else { return }
        store.write(cost: 0, on: nil) { transaction in
            for row in rows { try Self.discard(row, isDamaged: true, transaction) }
        } completion: { _ in
        }
    }

    package func groups(of stream: ItemName, completion: @escaping @Sendable (Result<[ItemName], any Error>) -> Void) {
        let now = now
        store.read(on: executor) { snapshot in
            var names: [ItemName] = []
            try snapshot.query(
                ItemSchema.groupsOfStream,
                {
                    $0.text(stream.text)
                    $0.int(now())
                }
            ) { names.append(ItemName($0.text(0))) }
            return names
        } completion: {
            completion($0)
        }
    }

    package func groups(completion: @escaping @Sendable (Result<[ItemGroup], any Error>) -> Void) {
        let now = now
        store.read(on: executor) { snapshot in
            var groups: [ItemGroup] = []
            try snapshot.query(ItemSchema.allGroups, { $0.int(now()) }) {
                groups.append(ItemGroup(stream: ItemName($0.text(0)), name: ItemName($0.text(1))))
            }
            return groups
        } completion: {
            completion($0)
        }
    }

    package var status: String {
        let status = store.status()
        let trouble = status.numbers.isInTrouble ? ", DISK IN TROUBLE" : ""
        return "\(status.databaseBytes >> 10) KiB in \(directory), \(status.pendingWrites) writes wait\(trouble)"
    }

    package func close() async {
        let store = store
        await withCheckedContinuation { (closed: CheckedContinuation<Void, Never>) in
            BlockingWork.run {
                store.close()
                closed.resume()
            }
        }
    }
}
