/// A store that several engines share. It tells each of them what happens to items, whoever has made it happen.
///
/// What it tells comes in the order of the commits, each change once, with the revision it has. Where it may have missed something it says
/// so (`ItemFeed.gap`); whoever shows items then reads them again.
public protocol SharedItemStore: ItemStore {
    /// Has `tell` called on the event loop with everything from now on. Once, before the first change.
    func watch(_ tell: @escaping @Sendable (ItemFeed) -> Void)

    /// Tells all engines something that the store has no part in. It has no revision.
    func publish(_ news: ItemNews, completion: @escaping @Sendable (Result<Void, any Error>) -> Void)
}

/// What a shared store has to tell.
public enum ItemFeed: Sendable {
    case news(ItemNews)
    /// Something may have happened that was not told; revisions may have begun anew.
    case gap
}

/// Something that has happened in a group.
public struct ItemNews: Sendable {
    public enum Event: Sendable, Hashable {
        /// With the value that is there now.
        case created([UInt8])
        case updated([UInt8])
        /// With the value that was there.
        case removed([UInt8])
        /// What somebody has to say to all who watch; it is not stored.
        case custom(type: String, data: [UInt8])
    }

    public var event: Event
    public var group: ItemGroup
    /// The item, or what a custom event names; nil for neither.
    public var key: ItemName?
    /// Of a change of the store.
    public var revision: Int?

    public init(_ event: Event, in group: ItemGroup, key: ItemName?, revision: Int? = nil) {
        self.event = event
        self.group = group
        self.key = key
        self.revision = revision
    }
}
