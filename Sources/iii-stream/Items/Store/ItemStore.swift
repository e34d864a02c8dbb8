import IIIProtocol
import IIITelemetry
import Logging
import NIOCore

/// Where items are kept: the state's values by scope and key, a stream's by group and item. The protocol behind `adapter`.
///
/// What every store promises, and `ItemStoreContract` tries:
/// * `change` is one step: between what `decide` was given and what is stored nothing else happens to that item.
/// * Its completion is called once what it says is as durable as the store's settings promise, and completions come in the order in which
///   the changes of a group took effect. So events made from them are in order, and their last one is what is stored.
/// * A read that begins after a completion sees what that one has said.
/// * Text comes back as it went in, byte by byte. Names that differ in a byte are different names.
/// * Revisions rise with every change of a group, and are never used twice for a key, also after a delete or a restart.
/// * The items of a group are listed in the order in which they were first stored. A group without items is not there.
/// * Nothing waits without a bound: what cannot be taken fails at once, with an error that says whether to try again.
///
/// All completions run on the event loop of the `ItemStoreContext` that the store was opened with, on which it is also called.
public protocol ItemStore: AnyObject, Sendable {
    /// Reads the item, has `decide` say what becomes of it, and does that.
    ///
    /// `decide` is pure and may be called again. What it throws is the failure that `completion` gets, and nothing happens. `cost`: bytes
    /// that the change brings along.
    func change(
        _ item: ItemAddress, cost: Int, _ decide: @escaping @Sendable (StoredItem?) throws -> ItemEdit,
        completion: @escaping @Sendable (Result<ItemChange, any Error>) -> Void)

    /// Changes several items of one group in one step: all of them, or after a failure none. No key comes twice.
    ///
    /// The changes are answered in the order of the steps. A store that cannot do this fails the call; that is what happens without an
    /// implementation.
    func changeAll(
        in group: ItemGroup, _ steps: [ItemStep], completion: @escaping @Sendable (Result<[ItemChange], any Error>) -> Void)

    func read(_ item: ItemAddress, completion: @escaping @Sendable (Result<ItemReading, any Error>) -> Void)

    /// How many items a group has. Without an implementation they are listed and counted.
    func count(_ group: ItemGroup, completion: @escaping @Sendable (Result<Int, any Error>) -> Void)

    /// Some of the items of a group, or all; nothing for a group that is not there.
    func list(_ group: ItemGroup, _ page: ItemPage, completion: @escaping @Sendable (Result<ItemListing, any Error>) -> Void)

    /// The groups of a stream, the scopes of the state, by name in the order of its bytes.
    func groups(of stream: ItemName, completion: @escaping @Sendable (Result<[ItemName], any Error>) -> Void)

    /// Every group there is, ordered by stream and name.
    func groups(completion: @escaping @Sendable (Result<[ItemGroup], any Error>) -> Void)

    /// Removes what has expired by now, at most `limit` items, and answers with what was removed.
    func removeExpired(limit: Int, completion: @escaping @Sendable (Result<[ExpiredItem], any Error>) -> Void)

    /// A few words for `iii-core ps -v`.
    var status: String { get }

    /// Finishes what was taken, then lets go of everything.
    func close() async
}

extension ItemStore {
    public func changeAll(
        in group: ItemGroup, _ steps: [ItemStep], completion: @escaping @Sendable (Result<[ItemChange], any Error>) -> Void
    ) {
        completion(
            .failure(
                InvocationError(
                    .functionUnavailable, "this store cannot change several items in one step; change them one by one")))
    }

    public func count(_ group: ItemGroup, completion: @escaping @Sendable (Result<Int, any Error>) -> Void) {
        count(group, behind: 0, counted: 0, completion: completion)
    }

    private func count(
        _ group: ItemGroup, behind place: Int, counted: Int, completion: @escaping @Sendable (Result<Int, any Error>) -> Void
    ) {
        list(group, ItemPage(limit: 1000, after: place)) { [self] result in
            switch result {
            case .failure(let error): completion(.failure(error))
            case .success(let list):
                let counted = counted + list.entries.count
                guard list.end != .complete, let last = list.entries.last else { return completion(.success(counted)) }
                count(group, behind: last.place, counted: counted, completion: completion)
            }
        }
    }
}

/// One change of several that are made in one step.
public struct ItemStep: Sendable {
    public var key: ItemName
    /// Bytes that the change brings along.
    public var cost: Int
    /// As for `ItemStore.change`.
    public var decide: @Sendable (StoredItem?) throws -> ItemEdit

    public init(key: ItemName, cost: Int, decide: @escaping @Sendable (StoredItem?) throws -> ItemEdit) {
        self.key = key
        self.cost = cost
        self.decide = decide
    }
}

/// A value and what is known about it.
public struct StoredItem: Sendable, Hashable {
    /// The value's JSON text.
    public var text: [UInt8]
    public var revision: Int
    /// Milliseconds since 1970.
    public var createdAt: Int
    public var updatedAt: Int
    /// From then on it is not there; nil for never.
    public var expiresAt: Int?

    public init(text: [UInt8], revision: Int, createdAt: Int, updatedAt: Int, expiresAt: Int? = nil) {
        self.text = text
        self.revision = revision
        self.createdAt = createdAt
        self.updatedAt = updatedAt
        self.expiresAt = expiresAt
    }
}

/// What becomes of an item.
public struct ItemEdit: Sendable {
    public enum Action: Sendable, Hashable {
        case keep
        case remove
        case store([UInt8])
    }

    public enum Expiry: Sendable, Hashable {
        /// As it was; never for a new item.
        case unchanged
        case never
        /// So many milliseconds after the change.
        case after(Int)
    }

    public var action: Action
    public var expiry: Expiry
    /// Handed on to the completion.
    public var notes: [UInt8]?
    /// It is this edit whatever is stored: a store need not read first.
    public var isUnconditional: Bool

    public init(_ action: Action, expiry: Expiry = .unchanged, notes: [UInt8]? = nil, isUnconditional: Bool = false) {
        self.action = action
        self.expiry = expiry
        self.notes = notes
        self.isUnconditional = isUnconditional
    }
}

/// A change that has taken effect.
public struct ItemChange: Sendable {
    /// nil: there was nothing, or what was there had expired.
    public var old: StoredItem?
    /// nil: there is nothing now.
    public var new: StoredItem?
    /// What had expired and was removed first.
    public var expired: StoredItem?
    /// Of the group, after the change.
    public var revision: Int
    /// False where `decide` kept what was there.
    public var isChanged: Bool
    public var notes: [UInt8]?

    public init(old: StoredItem?, new: StoredItem?, expired: StoredItem? = nil, revision: Int, isChanged: Bool, notes: [UInt8]? = nil) {
        self.old = old
        self.new = new
        self.expired = expired
        self.revision = revision
        self.isChanged = isChanged
        self.notes = notes
    }
}

/// An item as it was at one moment.
public struct ItemReading: Sendable {
    public var item: StoredItem?
    /// Changes up to this revision have been seen.
    public var revision: Int

    public init(item: StoredItem?, revision: Int) {
        self.item = item
        self.revision = revision
    }
}

/// Which items of a group are asked for.
public struct ItemPage: Sendable {
    public enum Order: Sendable, Hashable {
        /// In which they were first stored; only items behind `after`, which an earlier page has told.
        case stored(after: Int)
        /// Of the bytes of their names; only items behind `after`.
        case name(after: ItemName?)
    }

    /// Most items; nil for all.
    public var limit: Int?
    public var order: Order
    /// Only items whose names begin with these bytes.
    public var prefix: ItemName
    /// Once the values have so many bytes, nothing is added any more.
    public var maximumBytes: Int

    public init(limit: Int? = nil, order: Order, prefix: ItemName = "", maximumBytes: Int = 32 << 20) {
        self.limit = limit
        self.order = order
        self.prefix = prefix
        self.maximumBytes = maximumBytes
    }

    public init(limit: Int? = nil, after: Int = 0, maximumBytes: Int = 32 << 20) {
        self.init(limit: limit, order: .stored(after: after), maximumBytes: maximumBytes)
    }
}

/// A part of a group, or all of it, as it was at one moment.
public struct ItemListing: Sendable {
    public struct Entry: Sendable {
        public var key: ItemName
        public var item: StoredItem
        /// Rises from item to item, and stays the item's as long as it is there.
        public var place: Int

        public init(key: ItemName, item: StoredItem, place: Int) {
            self.key = key
            self.item = item
            self.place = place
        }
    }

    public enum End: Sendable, Hashable {
        /// There is nothing behind the last entry.
        case complete
        case limit
        /// More would have been larger than asked for.
        case bytes
    }

    public var entries: [Entry]
    public var end: End
    /// Changes up to this revision have been seen.
    public var revision: Int

    public init(entries: [Entry], end: End, revision: Int) {
        self.entries = entries
        self.end = end
        self.revision = revision
    }
}

/// An item whose time was over, and that is gone now.
public struct ExpiredItem: Sendable {
    public var address: ItemAddress
    public var item: StoredItem
    /// Of the removal.
    public var revision: Int

    public init(address: ItemAddress, item: StoredItem, revision: Int) {
        self.address = address
        self.item = item
        self.revision = revision
    }
}

/// What a store is opened for.
public struct ItemStoreContext: Sendable {
    /// The configuration entry, e.g. `iii-state`.
    public let entry: String
    /// How the reference called its files for this kind of data.
    package let layout: ReferenceLayout
    /// Has a closure run on the event loop.
    public let execute: @Sendable (@escaping @Sendable () -> Void) -> Void
    /// That event loop, for a store with sockets of its own; nil where the owner has none.
    public let eventLoop: (any EventLoop)?
    /// Milliseconds since 1970.
    public let now: @Sendable () -> Int
    public let logger: Logger

    public init(
        entry: String, logger: Logger, now: @escaping @Sendable () -> Int = WallClock.milliseconds, eventLoop: (any EventLoop)? = nil,
        execute: @escaping @Sendable (@escaping @Sendable () -> Void) -> Void
    ) {
        self.init(entry: entry, layout: .state, logger: logger, now: now, eventLoop: eventLoop, execute: execute)
    }

    package init(
        entry: String, layout: ReferenceLayout, logger: Logger, now: @escaping @Sendable () -> Int = WallClock.milliseconds,
        eventLoop: (any EventLoop)? = nil, execute: @escaping @Sendable (@escaping @Sendable () -> Void) -> Void
    ) {
        self.entry = entry
        self.layout = layout
        self.logger = logger
        self.now = now
        self.eventLoop = eventLoop
        self.execute = execute
    }

    /// For a worker on this event loop.
    package init(entry: String, layout: ReferenceLayout, logger: Logger, on eventLoop: any EventLoop) {
        self.init(entry: entry, layout: layout, logger: logger, eventLoop: eventLoop) { work in eventLoop.execute(work) }
    }
}

/// Opens a store. Throws what keeps it from working; the process then ends, and starts again unless only a person can help.
public typealias OpenItemStore = @Sendable (ItemStoreContext) async throws -> any ItemStore
