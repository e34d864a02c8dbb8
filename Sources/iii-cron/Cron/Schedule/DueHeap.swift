/// What is due when: the earliest first, of equal times the one that was added first.
///
/// Entries are not removed but outdated: their owner keeps a stamp per slot and passes over entries with another one. `compact` throws
/// those out once they are the greater part.
struct DueHeap {
    struct Entry: Equatable {
        /// Milliseconds since the epoch.
        let at: Int
        let slot: Int
        let stamp: Int
        fileprivate let order: Int
    }

    private var entries: [Entry] = []
    private var added = 0

    var count: Int { entries.count }
    var first: Entry? { entries.first }

    mutating func add(at: Int, slot: Int, stamp: Int) {
        added += 1
        entries.append(Entry(at: at, slot: slot, stamp: stamp, order: added))
        var child = entries.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard Self.precedes(entries[child], entries[parent]) else { break }
            entries.swapAt(child, parent)
            child = parent
        }
    }

    mutating func popFirst() -> Entry? {
        guard let first = entries.first else { return nil }
        let last = entries.removeLast()
        if !entries.isEmpty {
            entries[0] = last
            sink(0)
        }
        return first
    }

    /// Keeps what is still of use.
    mutating func compact(_ isCurrent: (Entry) -> Bool) {
        entries = entries.filter(isCurrent)
        for index in stride(from: entries.count / 2, through: 0, by: -1) where index < entries.count { sink(index) }
    }

    private mutating func sink(_ start: Int) {
        var parent = start
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < entries.count && Self.precedes(entries[child], entries[least]) {
                least = child
            }
            guard least != parent else { return }
            entries.swapAt(parent, least)
            parent = least
        }
    }

    private static func precedes(_ left: Entry, _ right: Entry) -> Bool { (left.at, left.order) < (right.at, right.order) }
}
