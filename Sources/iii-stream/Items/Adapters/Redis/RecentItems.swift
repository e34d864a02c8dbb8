/// What this process has last stored, to decide about: a guess that saves a round trip, and that the script compares. A value.
struct RecentItems {
    private var items: [ItemAddress: StoredItem] = [:]
    private var bytes = 0
    private let maximumItems: Int
    private let maximumBytes: Int
    /// Larger values are read again.
    private let maximumText: Int

    init(maximumItems: Int = 8192, maximumBytes: Int = 8 << 20, maximumText: Int = 8192) {
        self.maximumItems = maximumItems
        self.maximumBytes = maximumBytes
        self.maximumText = maximumText
    }

    var count: Int { items.count }

    subscript(address: ItemAddress) -> StoredItem? { items[address] }

    /// nil: nothing is known of it any more.
    mutating func remember(_ item: StoredItem?, at address: ItemAddress) {
        if let old = items.removeValue(forKey: address) { bytes -= cost(of: old, at: address) }
        guard let item, item.text.count <= maximumText else { return }
        // Begun anew when it is full: whoever is busy is back at once.
        if items.count >= maximumItems || bytes + cost(of: item, at: address) > maximumBytes {
            items = [:]
            bytes = 0
        }
        items[address] = item
        bytes += cost(of: item, at: address)
    }

    private func cost(of item: StoredItem, at address: ItemAddress) -> Int {
        item.text.count + address.key.count + address.group.name.count + address.group.stream.count + 128
    }
}
