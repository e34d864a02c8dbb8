/// The rules of the embedded store as a value in memory: what `in_memory` keeps, and what the simulator crashes and compares.
///
/// Every message of a group but its first is `behind`; so what is ready of a queue may be delivered in any number at a time, and a group
/// can neither overtake itself nor stay blocked: its next message moves up in the step in which the first leaves.
struct MessageTable {
    struct Row: Equatable {
        var stored: StoredMessage
        let queue: Int
        var state: MessageState
        var due: Int
        var failedAt = 0
    }

    private struct GroupKey: Hashable {
        let queue: Int
        let group: String
    }

    private struct TakenKey: Hashable {
        let queue: Int
        let key: String
    }

    private(set) var rows: [Int: Row] = [:]
    /// What the messages occupy.
    private(set) var bytes = 0
    private var sequences: [String: Int] = [:]
    private var ready: [Int: SortedKeys] = [:]
    private var delayed = SortedKeys()
    /// By failure.
    private var dead: [Int: SortedKeys] = [:]
    /// Live messages of each group, by sequence.
    private var groups: [GroupKey: SortedKeys] = [:]
    private var keys: [TakenKey: (id: String, until: Int)] = [:]
    private var results: [String: (queue: Int, result: [UInt8]?, until: Int)] = [:]
    private(set) var queues: [Int: (key: QueueKey, record: QueueRecord)] = [:]
    private(set) var bindings: [String: StoredBinding] = [:]

    // MARK: Moving

    private mutating func put(_ row: Row) {
        let sequence = row.stored.sequence
        rows[sequence] = row
        bytes += row.stored.message.cost
        sequences[row.stored.message.id] = sequence
        switch row.state {
        case .ready: ready[row.queue, default: SortedKeys()].insert(row.stored.rank, sequence)
        case .delayed: delayed.insert(row.due, sequence)
        case .dead: dead[row.queue, default: SortedKeys()].insert(row.failedAt, sequence)
        case .behind, .held: break
        }
        if row.state != .dead, let group = row.stored.message.group {
            groups[GroupKey(queue: row.queue, group: group), default: SortedKeys()].insert(0, sequence)
        }
    }

    private mutating func take(_ sequence: Int) -> Row? {
        guard let row = rows.removeValue(forKey: sequence) else { return nil }
        bytes -= row.stored.message.cost
        sequences[row.stored.message.id] = nil
        switch row.state {
        case .ready: ready[row.queue]?.remove(row.stored.rank, sequence)
        case .delayed: delayed.remove(row.due, sequence)
        case .dead: dead[row.queue]?.remove(row.failedAt, sequence)
        case .behind, .held: break
        }
        if row.state != .dead, let group = row.stored.message.group {
            let key = GroupKey(queue: row.queue, group: group)
            groups[key]?.remove(0, sequence)
            if groups[key]?.isEmpty == true { groups[key] = nil }
        }
        return row
    }

    private mutating func change(_ sequence: Int, _ body: (inout Row) -> Void) -> Bool {
        guard var row = take(sequence) else { return false }
        body(&row)
        put(row)
        return true
    }

    /// The first of the group moves up if it stood behind.
    private mutating func advance(_ queue: Int, _ group: String?, now: Int) -> (StoredMessage, MessageState)? {
        guard let group, let first = groups[GroupKey(queue: queue, group: group)]?.first?.sequence, let row = rows[first],
            row.state == .behind
        else { return nil }
        let state: MessageState = row.due > now ? .delayed : .ready
        _ = change(first) { $0.state = state }
        return (row.stored, state)
    }

    private func stateOfNew(_ queue: Int, _ group: String?, due: Int, now: Int) -> MessageState {
        if let group, groups[GroupKey(queue: queue, group: group)] != nil { return .behind }
        return due > now ? .delayed : .ready
    }

    // MARK: The steps

    mutating func apply(_ operation: StoreOperation) -> StoreOutcome {
        switch operation {
        case .insert(let insertions, let now): return .inserted(insertions.map { insert($0, now) })
        case .finish(let place, let id, let result, let until, let now):
            guard take(place.sequence) != nil else { return .left(wasThere: false, next: nil) }
            if until > now { results[id] = (place.queue, result, until) }
            return .left(wasThere: true, next: advance(place.queue, place.group, now: now))
        case .delay(let place, let due, let progress):
            let changed = change(place.sequence) { row in
                row.state = .delayed
                row.due = due
                row.stored.progress = progress
            }
            return .left(wasThere: changed, next: nil)
        case .bury(let place, let progress, let now):
            let changed = change(place.sequence) { row in
                row.state = .dead
                row.failedAt = now
                row.stored.progress = progress
            }
            return .left(wasThere: changed, next: changed ? advance(place.queue, place.group, now: now) : nil)
        case .hold(let places): return .changed(places.reduce(0) { $0 + (change($1.sequence) { $0.state = .held } ? 1 : 0) })
        case .load(let queue, let limit, let bytes, let excluding): return load(queue, limit, bytes, excluding)
        case .promote(let now, let limit): return promote(now, limit)
        case .wake(let queue, let function, let limit):
            let woken = rows.values.filter { $0.queue == queue && $0.state == .held && $0.stored.message.target == function }
                .map(\.stored.sequence).sorted().prefix(limit)
            for sequence in woken { _ = change(sequence) { $0.state = .ready } }
            return .changed(woken.count)
        case .redrive(let queue, let selection, let cutoff, let limit, let redrive):
            return self.redrive(queue, selection, cutoff, limit, redrive)
        case .discard(let queue, let selection, let cutoff, let limit):
            let chosen = chosen(queue, selection, cutoff, limit)
            for row in chosen { free(take(row.stored.sequence)) }
            return .changed(chosen.count)
        case .purge(let queue, let state, let excluding, let limit, let now): return purge(queue, state, excluding, limit, now)
        case .cancel(let id, let excluding, let now):
            guard let sequence = sequences[id], !excluding.contains(sequence), let row = rows[sequence], row.state != .dead else {
                return .nothing
            }
            free(take(sequence))
            return .cancelled(queue: row.queue, row.state, next: advance(row.queue, row.stored.message.group, now: now))
        case .keep(let binding): bindings[binding.id] = binding
        case .forget(let ids): for id in ids { bindings[id] = nil }
        case .configure(let queue, let key, let record): queues[queue] = (key, record)
        case .drop(let queue):
            if !rows.values.contains(where: { $0.queue == queue }) { queues[queue] = nil }
        case .sweep(let now):
            keys = keys.filter { $0.value.until > now }
            results = results.filter { $0.value.until > now }
        case .deadLetters(let queues, let offset, let limit, let bytes): return deadLetters(queues, offset, limit, bytes)
        case .find(let id):
            if let row = sequences[id].flatMap({ rows[$0] }) { return .found(queue: row.queue, .live(row.state, due: row.due), row.stored) }
            if let known = results[id] { return .found(queue: known.queue, .done(result: known.result), nil) }
        }
        return .nothing
    }

    private mutating func insert(
        _ insertion: StoreOperation.Insertion, _ now: Int
    ) -> (id: String, isDuplicate: Bool, state: MessageState) {
        let message = insertion.message
        if queues[insertion.queue] == nil { queues[insertion.queue] = (insertion.key, QueueRecord()) }
        if let text = message.deduplicationKey {
            let key = TakenKey(queue: insertion.queue, key: text)
            if let taken = keys[key], taken.until > now { return (taken.id, true, .dead) }
            keys[key] = (message.id, insertion.keyUntil)
        }
        let state = stateOfNew(insertion.queue, message.group, due: insertion.due, now: now)
        let stored = StoredMessage(sequence: insertion.sequence, rank: insertion.rank, message: message)
        put(Row(stored: stored, queue: insertion.queue, state: state, due: insertion.due))
        return (message.id, false, state)
    }

    private func load(_ queue: Int, _ limit: Int, _ bytes: Int, _ excluding: Set<Int>) -> StoreOutcome {
        var messages: [StoredMessage] = []
        var cost = 0
        for key in ready[queue]?.all ?? [] where !excluding.contains(key.sequence) {
            guard messages.count < limit, cost < bytes else { return .loaded(messages, isAll: false) }
            guard let row = rows[key.sequence] else { continue }
            messages.append(row.stored)
            cost += row.stored.message.cost
        }
        return .loaded(messages, isAll: true)
    }

    private mutating func promote(_ now: Int, _ limit: Int) -> StoreOutcome {
        var promoted: [Int: Int] = [:]
        for key in Array(delayed.all.prefix(limit)) where key.rank <= now {
            guard let row = rows[key.sequence] else { continue }
            promoted[row.queue, default: 0] += 1
            _ = change(key.sequence) { $0.state = .ready }
        }
        return .promoted(promoted, nextDue: delayed.first?.rank)
    }

    private func chosen(_ queue: Int, _ selection: DeadLetterSelection, _ cutoff: Int, _ limit: Int) -> [Row] {
        var chosen: [Row] = []
        for key in dead[queue]?.all ?? [] where chosen.count < limit && key.rank <= cutoff {
            if let row = rows[key.sequence], selection.matches(row.stored, failedAt: row.failedAt) { chosen.append(row) }
        }
        return chosen
    }

    private mutating func redrive(
        _ queue: Int, _ selection: DeadLetterSelection, _ cutoff: Int, _ limit: Int, _ redrive: StoreOperation.Redrive
    ) -> StoreOutcome {
        var counts: [MessageState: Int] = [:]
        var nextDue: Int?
        for (index, row) in chosen(queue, selection, cutoff, limit).enumerated() {
            _ = take(row.stored.sequence)
            let due = redrive.due(index)
            let state = stateOfNew(queue, row.stored.message.group, due: due, now: redrive.now)
            let stored = StoredMessage(sequence: redrive.sequence + index, rank: redrive.rank, message: row.stored.message)
            put(Row(stored: stored, queue: queue, state: state, due: due))
            counts[state, default: 0] += 1
            if state == .delayed { nextDue = nextDue ?? due }
        }
        return .moved(counts, nextDue: nextDue)
    }

    /// What is taken out for good gives its idempotency key back.
    private mutating func free(_ row: Row?) {
        guard let row, let text = row.stored.message.deduplicationKey else { return }
        let key = TakenKey(queue: row.queue, key: text)
        if keys[key]?.id == row.stored.message.id { keys[key] = nil }
    }

    private mutating func purge(_ queue: Int, _ state: MessageState, _ excluding: Set<Int>, _ limit: Int, _ now: Int) -> StoreOutcome {
        let chosen = rows.values.filter { $0.queue == queue && $0.state == state && !excluding.contains($0.stored.sequence) }
            .map(\.stored.sequence).sorted().prefix(limit)
        var groups: Set<String> = []
        for sequence in chosen {
            let row = take(sequence)
            free(row)
            if state != .dead, let group = row?.stored.message.group { groups.insert(group) }
        }
        return .purged(chosen.count, next: groups.sorted().compactMap { advance(queue, $0, now: now) })
    }

    private func deadLetters(_ queues: [Int], _ offset: Int, _ limit: Int, _ bytes: Int) -> StoreOutcome {
        let all = queues.flatMap { queue in (dead[queue]?.all ?? []).suffix(offset + limit).map { (queue, $0) } }
        var letters: [(queue: Int, StoredMessage, failedAt: Int)] = []
        var cost = 0
        for (queue, key) in all.sorted(by: { $0.1 > $1.1 }).dropFirst(offset).prefix(limit) {
            guard let row = rows[key.sequence], cost < bytes else { break }
            letters.append((queue, row.stored, row.failedAt))
            cost += row.stored.message.cost
        }
        return .dead(letters)
    }

    /// As a start finds it.
    var contents: StoreContents {
        var contents = StoreContents()
        contents.queues = queues.map { ($0.key, $0.value.key, $0.value.record) }
        contents.bindings = Array(bindings.values)
        var counts: [Int: [MessageState: Int]] = [:]
        var held: [Int: Set<TargetFunction>] = [:]
        for row in rows.values {
            counts[row.queue, default: [:]][row.state, default: 0] += 1
            if row.state == .held { held[row.queue, default: []].insert(row.stored.message.target) }
            contents.lastSequence = max(contents.lastSequence, row.stored.sequence)
            contents.lastRank = max(contents.lastRank, row.stored.rank)
        }
        contents.counts = counts.flatMap { queue, states in states.map { (queue, $0.key, $0.value) } }
        contents.held = held.flatMap { queue, functions in functions.map { (queue, $0) } }
        contents.nextDue = delayed.first?.rank
        return contents
    }
}
