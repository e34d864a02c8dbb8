/// The next messages of one queue, held in memory: the first of what is ready in the store, in order, without what has been given out. Pure.
///
/// However much waits in the store, this holds at most `capacity` messages and about `maximumBytes`. What comes in while everything is
/// in here goes straight in, so a queue that keeps up never reads from its store.
struct ReadyWindow {
    /// In order; together with `taken` the beginning of what is ready.
    private(set) var messages: [StoredMessage] = []
    /// Index of the first one that is still there.
    private var start = 0
    private(set) var bytes = 0
    /// Given out, and not settled yet: still ready in the store, where nothing is written for a claim.
    private(set) var taken: Set<Int> = []
    /// Everything that is ready is in here or given out.
    private(set) var isComplete = true
    private(set) var isLoading = false
    /// A message was given back during a load, which does not know it.
    private var isStale = false
    let capacity: Int

    static let maximumBytes = 1 << 20

    init(capacity: Int) { self.capacity = capacity }

    var count: Int { messages.count - start }
    /// Time to load: less than half is left, and there is more.
    var isLow: Bool { !isComplete && !isLoading && (count == 0 || (count * 2 < capacity && bytes * 2 < Self.maximumBytes)) }
    var first: StoredMessage? { count > 0 ? messages[start] : nil }

    /// A message has become ready in the store.
    mutating func offer(_ message: StoredMessage) {
        guard !taken.contains(message.sequence) else { return }
        let isLast = count == 0 || messages[messages.count - 1].comes(before: message)
        if isLast {
            guard isComplete, count < capacity, bytes < Self.maximumBytes else { return isComplete = false }
            messages.append(message)
        } else {
            var place = messages.count
            while place > start, message.comes(before: messages[place - 1]) { place -= 1 }
            guard place == start || messages[place - 1].sequence != message.sequence else { return }
            messages.insert(message, at: place)
        }
        bytes += message.message.cost
        while count > capacity || (bytes > Self.maximumBytes && count > 1) {
            bytes -= messages.removeLast().message.cost
            isComplete = false
        }
    }

    /// Something became ready that was not offered.
    mutating func invalidate() { isComplete = false }

    mutating func loadBegan() {
        isLoading = true
        isStale = false
    }

    mutating func loadFailed() { isLoading = false }

    /// What a load has found, which was the whole beginning of what was ready and not given out when it was asked.
    mutating func loaded(_ found: [StoredMessage], isAll: Bool) {
        isLoading = false
        messages = found.filter { !taken.contains($0.sequence) }
        start = 0
        bytes = messages.reduce(0) { $0 + $1.message.cost }
        isComplete = isAll && !isStale
    }

    /// Gives out up to `limit`, none for a function of `skipping`; those that stand in front are set aside and count as given out too.
    mutating func take(_ limit: Int, skipping: Set<TargetFunction>) -> (given: [StoredMessage], aside: [StoredMessage]) {
        var given: [StoredMessage] = []
        var aside: [StoredMessage] = []
        while given.count < limit, start < messages.count {
            let message = messages[start]
            if skipping.contains(message.message.target) { aside.append(message) } else { given.append(message) }
            taken.insert(message.sequence)
            bytes -= message.message.cost
            start += 1
        }
        if start == messages.count || start >= capacity {
            messages.removeFirst(start)
            start = 0
        }
        return (given, aside)
    }

    /// A message that was given out has left the ready ones: for good, or until it is ready again, which a load under way may have missed,
    /// because it was asked to leave out what was given out then.
    mutating func settled(_ sequence: Int, isGone: Bool) {
        taken.remove(sequence)
        if !isGone { isStale = true }
    }

    /// It is ready as before, and has to be loaded again.
    mutating func released(_ sequence: Int) {
        taken.remove(sequence)
        isComplete = false
        isStale = true
    }

    /// Whatever is in here has to be loaded again.
    mutating func empty() {
        messages = []
        start = 0
        bytes = 0
        isComplete = false
    }
}
