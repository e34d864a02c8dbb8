import IIIAMQP

/// The messages of one queue that the broker has handed to this process and that are not settled. Pure.
///
/// The broker keeps all of them until they are acknowledged. When the channel they came over ends it hands them out again, in their order:
/// what was waiting here is then forgotten, what is being delivered stays and meets its second copy by the name of the copy.
struct DeliveryWindow {
    struct Entry: Sendable {
        var stored: StoredMessage
        /// nil once its channel has ended.
        var handle: AMQPConsumer.Handle?
        /// Tells this copy from every other on the broker; nil for those that others have published without one.
        let copy: String?
        /// Of a message of a group: not before.
        var due = 0
    }

    /// In the order in which they came; of a group only the first may be given out.
    private(set) var waiting: [Entry] = []
    private(set) var taken: [Int: Entry] = [:]
    private var nextSequence = 1
    private(set) var bytes = 0
    /// What groups' messages have been through, which the broker does not know: they stay in their place, as they are, while they are
    /// tried again. By copy.
    private var progress: [String: (progress: MessageProgress, due: Int)] = [:]

    enum Arrival: Equatable {
        case new
        /// It is being delivered here, or waits here already; the broker's other copy may go.
        case known(drop: Bool)
    }

    /// A message has come.
    mutating func arrived(
        _ message: QueueMessage, _ itsProgress: MessageProgress, copy: String?, _ handle: AMQPConsumer.Handle, due: Int
    ) -> Arrival {
        if let copy {
            if let (sequence, entry) = taken.first(where: { $0.value.copy == copy }) {
                guard entry.handle == nil || entry.handle?.epoch != handle.epoch else { return .known(drop: true) }
                taken[sequence]?.handle = handle
                return .known(drop: false)
            }
            if waiting.contains(where: { $0.copy == copy }) { return .known(drop: true) }
        }
        let remembered = copy.flatMap { progress[$0] }
        let stored = StoredMessage(
            sequence: nextSequence, rank: nextSequence, message: message, progress: remembered?.progress ?? itsProgress)
        nextSequence += 1
        bytes += message.cost
        waiting.append(Entry(stored: stored, handle: handle, copy: copy, due: remembered?.due ?? due))
        return .new
    }

    /// Deliveries of this epoch are void. Answers whether something waited.
    mutating func ended(epoch: Int) {
        waiting.removeAll { entry in
            guard entry.handle?.epoch == epoch else { return false }
            bytes -= entry.stored.message.cost
            return true
        }
        for (sequence, entry) in taken where entry.handle?.epoch == epoch { taken[sequence]?.handle = nil }
    }

    /// Gives out up to `limit`, none for a function of `skipping`: those without a group are set aside, and count as given out too.
    mutating func take(_ limit: Int, skipping: Set<TargetFunction>, now: Int) -> (given: [StoredMessage], aside: [StoredMessage]) {
        var (given, aside, kept): ([StoredMessage], [StoredMessage], [Entry]) = ([], [], [])
        var blocked = Set(taken.values.compactMap(\.stored.message.group))
        for (index, entry) in waiting.enumerated() {
            guard given.count < limit else {
                kept += waiting[index...]
                break
            }
            let message = entry.stored.message
            let isBlocked = message.group.map(blocked.contains) ?? false
            if let group = message.group { blocked.insert(group) }
            if isBlocked || entry.due > now || (message.group != nil && skipping.contains(message.target)) {
                kept.append(entry)
                continue
            }
            if skipping.contains(message.target) { aside.append(entry.stored) } else { given.append(entry.stored) }
            taken[entry.stored.sequence] = entry
        }
        waiting = kept
        return (given, aside)
    }

    /// When the first of those that have to wait may be given out.
    func nextDue(after now: Int) -> Int? { waiting.lazy.map(\.due).filter { $0 > now }.min() }

    /// Given out before, and again in its place.
    mutating func released(_ sequence: Int) {
        guard let entry = taken.removeValue(forKey: sequence) else { return }
        put(entry)
    }

    /// The same for a message of a group that is tried again.
    mutating func retried(_ sequence: Int, due: Int, _ new: MessageProgress) {
        guard var entry = taken.removeValue(forKey: sequence) else { return }
        entry.stored.progress = new
        entry.due = due
        if let copy = entry.copy { progress[copy] = (new, due) }
        put(entry)
    }

    private mutating func put(_ entry: Entry) {
        // The broker gives it out again where its channel has ended.
        guard entry.handle != nil else { return bytes -= entry.stored.message.cost }
        let place = waiting.firstIndex { $0.stored.sequence > entry.stored.sequence } ?? waiting.count
        waiting.insert(entry, at: place)
    }

    /// It has left the queue. Answers how it can be acknowledged.
    mutating func removed(_ sequence: Int) -> Entry? {
        guard let entry = taken.removeValue(forKey: sequence) else { return nil }
        bytes -= entry.stored.message.cost
        if let copy = entry.copy { progress[copy] = nil }
        return entry
    }

    /// Forgets what waits, for whoever gives it back to the broker. What is tried again keeps what it has been through.
    mutating func emptyWaiting() -> [Entry] {
        defer { waiting = [] }
        for entry in waiting { bytes -= entry.stored.message.cost }
        return waiting
    }

    /// Takes what waits out for good.
    mutating func purgeWaiting() -> [Entry] {
        for entry in waiting { if let copy = entry.copy { progress[copy] = nil } }
        return emptyWaiting()
    }
}

/// Names of copies that have left their queue, for a while: the broker may give them out again when an acknowledgement was lost with its
/// connection, or because one was published twice. Pure.
struct FinishedCopies {
    private var names: Set<String> = []
    private var order: [String] = []
    private var next = 0
    let capacity: Int

    init(capacity: Int = 50_000) { self.capacity = capacity }

    func contains(_ copy: String) -> Bool { names.contains(copy) }

    mutating func insert(_ copy: String) {
        guard names.insert(copy).inserted else { return }
        if order.count < capacity {
            order.append(copy)
        } else {
            names.remove(order[next])
            order[next] = copy
            next = (next + 1) % capacity
        }
    }
}
