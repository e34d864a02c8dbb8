import IIIProtocol
import IIIStorage

/// The rules of the embedded store in SQL: what `MessageTable` does, within one transaction.
enum MessageSQL {
    static let migrations = [
        Migration(
            sql: """
                CREATE TABLE queues(
                    id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, name TEXT NOT NULL, function TEXT, namespace TEXT,
                    paused INTEGER NOT NULL DEFAULT 0, definition TEXT) STRICT;
                CREATE TABLE messages(
                    queue INTEGER NOT NULL, id TEXT NOT NULL, function TEXT NOT NULL, namespace TEXT, payload BLOB NOT NULL, metadata BLOB,
                    traceparent TEXT, baggage TEXT, grp TEXT, priority INTEGER NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER,
                    max_attempts INTEGER NOT NULL, backoff_ms INTEGER NOT NULL, dedupe TEXT, checksum INTEGER NOT NULL,
                    seq INTEGER PRIMARY KEY, rank INTEGER NOT NULL, state INTEGER NOT NULL, due_at INTEGER NOT NULL,
                    attempts INTEGER NOT NULL DEFAULT 0, crashes INTEGER NOT NULL DEFAULT 0, failed_at INTEGER NOT NULL DEFAULT 0,
                    failures TEXT) STRICT;
                CREATE INDEX messages_order ON messages(queue, state, rank, seq);
                CREATE INDEX messages_id ON messages(id);
                CREATE INDEX messages_due ON messages(due_at) WHERE state = 1;
                CREATE INDEX messages_group ON messages(queue, grp, seq) WHERE grp IS NOT NULL AND state <> 4;
                CREATE INDEX messages_held ON messages(queue, function, seq) WHERE state = 3;
                CREATE INDEX messages_dead ON messages(queue, failed_at, seq) WHERE state = 4;
                CREATE TABLE dedupe(
                    queue INTEGER NOT NULL, key TEXT NOT NULL, id TEXT NOT NULL, expires_at INTEGER NOT NULL,
                    PRIMARY KEY(queue, key)) STRICT, WITHOUT ROWID;
                CREATE INDEX dedupe_expiry ON dedupe(expires_at);
                CREATE TABLE results(
                    id TEXT PRIMARY KEY, queue INTEGER NOT NULL, result BLOB, expires_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
                CREATE INDEX results_expiry ON results(expires_at);
                CREATE TABLE bindings(
                    id TEXT PRIMARY KEY, topic TEXT NOT NULL, function TEXT NOT NULL, namespace TEXT, config BLOB NOT NULL, metadata BLOB,
                    seen_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
                """)
    ]

    static func apply(_ operation: StoreOperation, in transaction: borrowing Transaction) throws -> StoreOutcome {
        switch operation {
        case .insert(let insertions, let now):
            var answers: [(id: String, isDuplicate: Bool, state: MessageState)] = []
            for insertion in insertions { answers.append(try insert(insertion, now, transaction)) }
            return .inserted(answers)
        case .finish(let place, let id, let result, let until, let now):
            try transaction.run(Statement.deleteMessage) { $0.int(place.sequence) }
            guard transaction.changes > 0 else { return .left(wasThere: false, next: nil) }
            if until > now {
                try transaction.run(Statement.putResult) {
                    $0.text(id)
                    $0.int(place.queue)
                    $0.bytes(result)
                    $0.int(until)
                }
            }
            return .left(wasThere: true, next: try advance(place.queue, place.group, now, transaction))
        case .delay(let place, let due, let progress):
            try transaction.run(Statement.delay) {
                $0.int(due)
                bind(progress, to: &$0)
                $0.int(place.sequence)
            }
            return .left(wasThere: transaction.changes > 0, next: nil)
        case .bury(let place, let progress, let now):
            try transaction.run(Statement.bury) {
                $0.int(now)
                bind(progress, to: &$0)
                $0.int(place.sequence)
            }
            guard transaction.changes > 0 else { return .left(wasThere: false, next: nil) }
            return .left(wasThere: true, next: try advance(place.queue, place.group, now, transaction))
        case .hold(let places):
            var changed = 0
            for place in places {
                try transaction.run(Statement.hold) { $0.int(place.sequence) }
                changed += transaction.changes
            }
            return .changed(changed)
        case .load(let queue, let limit, let bytes, let excluding):
            return try load(queue, limit, bytes, excluding, transaction)
        case .promote(let now, let limit):
            var promoted: [Int: Int] = [:]
            try transaction.query(Self.promote) {
                $0.int(now)
                $0.int(limit)
            } _: {
                promoted[$0.int(0), default: 0] += 1
            }
            let next = try transaction.first(Statement.nextDue) { $0.optionalInt(0) }
            return .promoted(promoted, nextDue: next ?? nil)
        case .wake(let queue, let function, let limit):
            try transaction.run(Self.wake) {
                $0.int(queue)
                $0.text(function.id)
                $0.text(function.namespace)
                $0.int(limit)
            }
            return .changed(transaction.changes)
        case .redrive(let queue, let selection, let cutoff, let limit, let redrive):
            return try self.redrive(queue, selection, cutoff, limit, redrive, transaction)
        case .discard(let queue, let selection, let cutoff, let limit):
            let chosen = try chosen(queue, selection, cutoff, limit, transaction)
            for row in chosen { try remove(row, transaction) }
            return .changed(chosen.count)
        case .purge(let queue, let state, let excluding, let limit, let now):
            return try purge(queue, state, excluding, limit, now, transaction)
        case .cancel(let id, let excluding, let now): return try cancel(id, excluding, now, transaction)
        case .keep(let binding): try keep(binding, transaction)
        case .forget(let ids):
            for id in ids { try transaction.run(Statement.dropBinding) { $0.text(id) } }
        case .configure(let queue, let key, let record): try configure(queue, key, record, transaction)
        case .drop(let queue):
            try transaction.run(Statement.dropQueue) {
                $0.int(queue)
                $0.int(queue)
            }
        case .sweep(let now):
            try transaction.run(Statement.expireKeys) { $0.int(now) }
            try transaction.run(Statement.expireResults) { $0.int(now) }
        case .deadLetters(let queues, let offset, let limit, let bytes):
            return try deadLetters(queues, offset, limit, bytes, transaction)
        case .find(let id): return try find(id, transaction)
        }
        return .nothing
    }

    /// Each prepared once.
    private enum Statement {
        static let dropQueue = SQL("DELETE FROM queues WHERE id = ? AND NOT EXISTS (SELECT 1 FROM messages WHERE queue = ?)")
        static let redrive = SQL(
            """
            UPDATE messages SET seq = ?, rank = ?, state = ?, due_at = ?, attempts = 0, crashes = 0, failures = NULL,
            failed_at = 0 WHERE seq = ?
            """)
        static let deleteMessage = SQL("DELETE FROM messages WHERE seq = ?")
        static let putResult = SQL("INSERT OR REPLACE INTO results(id, queue, result, expires_at) VALUES(?, ?, ?, ?)")
        static let delay = SQL("UPDATE messages SET state = 1, due_at = ?, attempts = ?, crashes = ?, failures = ? WHERE seq = ?")
        static let bury = SQL("UPDATE messages SET state = 4, failed_at = ?, attempts = ?, crashes = ?, failures = ? WHERE seq = ?")
        static let hold = SQL("UPDATE messages SET state = 3 WHERE seq = ?")
        static let nextDue = SQL("SELECT min(due_at) FROM messages WHERE state = 1")
        static let dropBinding = SQL("DELETE FROM bindings WHERE id = ?")
        static let expireKeys = SQL("DELETE FROM dedupe WHERE expires_at <= ?")
        static let expireResults = SQL("DELETE FROM results WHERE expires_at <= ?")
        static let takenKey = SQL("SELECT id FROM dedupe WHERE queue = ? AND key = ? AND expires_at > ?")
        static let putKey = SQL("INSERT OR REPLACE INTO dedupe(queue, key, id, expires_at) VALUES(?, ?, ?, ?)")
        static let addQueue = SQL("INSERT OR IGNORE INTO queues(id, kind, name, function, namespace) VALUES(?, ?, ?, ?, ?)")
        static let groupIsLive = SQL("SELECT 1 FROM messages WHERE queue = ? AND grp = ? AND state <> 4 LIMIT 1")
        static let setState = SQL("UPDATE messages SET state = ? WHERE seq = ?")
        static let groupOf = SQL("SELECT grp FROM messages WHERE seq = ?")
        static let freeKey = SQL("DELETE FROM dedupe WHERE key = ? AND id = ?")
        static let result = SQL("SELECT queue, result FROM results WHERE id = ?")
        static let putBinding = SQL(
            """
            INSERT OR REPLACE INTO bindings(id, topic, function, namespace, config, metadata, seen_at) VALUES(?, ?, ?, ?,
            ?, ?, ?)
            """)
        static let configureQueue = SQL("UPDATE queues SET paused = ?, definition = ? WHERE id = ?")
        static let queues = SQL("SELECT id, kind, name, function, namespace, paused, definition FROM queues")
        static let bindings = SQL("SELECT id, topic, function, namespace, config, metadata, seen_at FROM bindings")
        static let counts = SQL("SELECT queue, state, count(*) FROM messages GROUP BY queue, state")
        static let heldFunctions = SQL("SELECT DISTINCT queue, function, namespace FROM messages WHERE state = 3")
        static let lastSequence = SQL("SELECT max(seq) FROM messages")
        static let lastRank = SQL("SELECT rank FROM messages ORDER BY seq DESC LIMIT 1")
    }

    // MARK: Rows

    /// What never changes, which the checksum behind it covers; then what does.
    private static let columns = """
        queue, id, function, namespace, payload, metadata, traceparent, baggage, grp, priority, created_at, expires_at, max_attempts, \
        backoff_ms, dedupe, checksum, seq, rank, state, due_at, attempts, crashes, failures, failed_at
        """
    private static let checksumColumn = 15

    struct DamagedRow: Error {
        let sequence: Int
    }

    /// Throws `DamagedRow` for one that is not what was written.
    private static func message(_ row: borrowing Row) throws -> StoredMessage {
        guard row.isIntact(columns: 0..<checksumColumn) else { throw DamagedRow(sequence: row.int(16)) }
        var message = QueueMessage(
            id: row.text(1), target: TargetFunction(row.text(2), namespace: row.optionalText(3)), payload: row.bytes(4),
            group: row.optionalText(8), priority: row.int(9), createdAt: row.int(10), maxAttempts: row.int(12),
            backoffMilliseconds: row.int(13))
        message.metadata = row.optionalBytes(5)
        message.traceparent = row.optionalText(6)
        message.baggage = row.optionalText(7)
        message.expiresAt = row.optionalInt(11)
        message.deduplicationKey = row.optionalText(14)
        var progress = MessageProgress()
        progress.attempts = row.int(20)
        progress.crashes = row.int(21)
        progress.failures = row.optionalText(22).map(FailureText.decode) ?? []
        return StoredMessage(sequence: row.int(16), rank: row.int(17), message: message, progress: progress)
    }

    private static func bind(_ progress: MessageProgress, to bindings: inout Bindings) {
        bindings.int(progress.attempts)
        bindings.int(progress.crashes)
        bindings.text(progress.failures.isEmpty ? nil : FailureText.encode(progress.failures))
    }

    private static let insertion = SQL(
        "INSERT INTO messages(\(columns)) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, NULL, 0)")

    private static func insert(
        _ insertion: StoreOperation.Insertion, _ now: Int, _ transaction: borrowing Transaction
    ) throws -> (id: String, isDuplicate: Bool, state: MessageState) {
        let message = insertion.message
        if let key = message.deduplicationKey {
            let taken = try transaction.first(Statement.takenKey) {
                $0.int(insertion.queue)
                $0.text(key)
                $0.int(now)
            } _: {
                $0.text(0)
            }
            if let taken { return (taken, true, .dead) }
            try transaction.run(Statement.putKey) {
                $0.int(insertion.queue)
                $0.text(key)
                $0.text(message.id)
                $0.int(insertion.keyUntil)
            }
        }
        try addQueue(insertion.queue, insertion.key, transaction)
        let state = try stateOfNew(insertion.queue, message.group, due: insertion.due, now, transaction)
        try transaction.run(Self.insertion) { row in
            row.int(insertion.queue)
            row.text(message.id)
            row.text(message.target.id)
            row.text(message.target.namespace)
            row.bytes(message.payload)
            row.bytes(message.metadata)
            row.text(message.traceparent)
            row.text(message.baggage)
            row.text(message.group)
            row.int(message.priority)
            row.int(message.createdAt)
            row.int(message.expiresAt)
            row.int(message.maxAttempts)
            row.int(message.backoffMilliseconds)
            row.text(message.deduplicationKey)
            row.checksum()
            row.int(insertion.sequence)
            row.int(insertion.rank)
            row.int(state.rawValue)
            row.int(insertion.due)
        }
        return (message.id, false, state)
    }

    private static func addQueue(_ number: Int, _ key: QueueKey, _ transaction: borrowing Transaction) throws {
        try transaction.run(Statement.addQueue) {
            $0.int(number)
            switch key {
            case .named(let name):
                $0.int(0)
                $0.text(name)
                $0.null()
                $0.null()
            case .subscription(let subscription):
                $0.int(1)
                $0.text(subscription.topic)
                $0.text(subscription.function)
                $0.text(subscription.namespace)
            }
        }
    }

    private static func stateOfNew(
        _ queue: Int, _ group: String?, due: Int, _ now: Int, _ transaction: borrowing Transaction
    ) throws -> MessageState {
        if let group {
            let blocked = try transaction.first(Statement.groupIsLive) {
                $0.int(queue)
                $0.text(group)
            } _: { _ in
                true
            }
            if blocked != nil { return .behind }
        }
        return due > now ? .delayed : .ready
    }

    private static let firstOfGroup = SQL(
        "SELECT \(columns) FROM messages WHERE queue = ? AND grp = ? AND state <> 4 ORDER BY seq LIMIT 1")

    /// The first of the group moves up if it stood behind. A damaged one is taken out, and the one after it is looked at.
    private static func advance(
        _ queue: Int, _ group: String?, _ now: Int, _ transaction: borrowing Transaction
    ) throws -> (StoredMessage, MessageState)? {
        guard let group else { return nil }
        while true {
            do {
                let found = try transaction.first(firstOfGroup) {
                    $0.int(queue)
                    $0.text(group)
                } _: { row -> (StoredMessage, Int, Int) in
                    (try message(row), row.int(18), row.int(19))
                }
                guard let (stored, state, due) = found, state == MessageState.behind.rawValue else { return nil }
                let next: MessageState = due > now ? .delayed : .ready
                try transaction.run(Statement.setState) {
                    $0.int(next.rawValue)
                    $0.int(stored.sequence)
                }
                return (stored, next)
            } catch let damaged as DamagedRow {
                try transaction.quarantine(table: "messages", row: damaged.sequence, reason: "its checksum is wrong")
            }
        }
    }

    private static let ready = SQL("SELECT \(columns) FROM messages WHERE queue = ? AND state = 0 ORDER BY rank, seq LIMIT ?")

    private static func load(
        _ queue: Int, _ limit: Int, _ bytes: Int, _ excluding: Set<Int>, _ transaction: borrowing Transaction
    ) throws -> StoreOutcome {
        var messages: [StoredMessage] = []
        var cost = 0
        var isAll = true
        var seen = 0
        var damaged: [Int] = []
        let window = limit + excluding.count + 1
        try transaction.query(ready) {
            $0.int(queue)
            $0.int(window)
        } _: { row in
            seen += 1
            guard isAll, !excluding.contains(row.int(16)) else { return }
            guard messages.count < limit, cost < bytes else { return isAll = false }
            do {
                let stored = try message(row)
                messages.append(stored)
                cost += stored.message.cost
            } catch let row as DamagedRow {
                damaged.append(row.sequence)
            }
        }
        for sequence in damaged {
            let group = try transaction.first(Statement.groupOf) {
                $0.int(sequence)
            } _: {
                $0.optionalText(0)
            }
            try transaction.quarantine(table: "messages", row: sequence, reason: "its checksum is wrong")
            _ = try advance(queue, group ?? nil, 0, transaction)
        }
        return .loaded(messages, isAll: isAll && seen < window && damaged.isEmpty)
    }

    private static let promote = SQL(
        """
        UPDATE messages SET state = 0
        WHERE seq IN (SELECT seq FROM messages WHERE state = 1 AND due_at <= ? ORDER BY due_at LIMIT ?) RETURNING queue
        """)

    private static let wake = SQL(
        """
        UPDATE messages SET state = 0 WHERE seq IN (
            SELECT seq FROM messages WHERE state = 3 AND queue = ? AND function = ? AND namespace IS ? ORDER BY seq LIMIT ?)
        """)

    // MARK: Dead letters

    private static let oldestDead = SQL(
        "SELECT \(columns) FROM messages WHERE queue = ? AND state = 4 AND failed_at <= ? ORDER BY failed_at, seq")
    private static let newestDead = SQL(
        "SELECT \(columns) FROM messages WHERE queue = ? AND state = 4 ORDER BY failed_at DESC, seq DESC LIMIT ?")
    private static let byID = SQL("SELECT \(columns) FROM messages WHERE id = ? LIMIT 1")

    private struct Enough: Error {}

    private static func chosen(
        _ queue: Int, _ selection: DeadLetterSelection, _ cutoff: Int, _ limit: Int, _ transaction: borrowing Transaction
    ) throws -> [StoredMessage] {
        if let id = selection.id {
            let found = try transaction.first(byID) {
                $0.text(id)
            } _: { row -> StoredMessage? in
                guard row.int(0) == queue, row.int(18) == MessageState.dead.rawValue else { return nil }
                let stored = try message(row)
                return selection.matches(stored, failedAt: row.int(23)) ? stored : nil
            }
            return (found ?? nil).map { [$0] } ?? []
        }
        var chosen: [StoredMessage] = []
        do {
            try transaction.query(oldestDead) {
                $0.int(queue)
                $0.int(cutoff)
            } _: { row in
                guard let stored = try? message(row), selection.matches(stored, failedAt: row.int(23)) else { return }
                chosen.append(stored)
                if chosen.count == limit { throw Enough() }
            }
        } catch is Enough {}
        return chosen
    }

    private static func redrive(
        _ queue: Int, _ selection: DeadLetterSelection, _ cutoff: Int, _ limit: Int, _ redrive: StoreOperation.Redrive,
        _ transaction: borrowing Transaction
    ) throws -> StoreOutcome {
        var counts: [MessageState: Int] = [:]
        var nextDue: Int?
        for (index, stored) in try chosen(queue, selection, cutoff, limit, transaction).enumerated() {
            let due = redrive.due(index)
            let state = try stateOfNew(queue, stored.message.group, due: due, redrive.now, transaction)
            try transaction.run(Statement.redrive) {
                $0.int(redrive.sequence + index)
                $0.int(redrive.rank)
                $0.int(state.rawValue)
                $0.int(due)
                $0.int(stored.sequence)
            }
            counts[state, default: 0] += 1
            if state == .delayed { nextDue = nextDue ?? due }
        }
        return .moved(counts, nextDue: nextDue)
    }

    private static func deadLetters(
        _ queues: [Int], _ offset: Int, _ limit: Int, _ bytes: Int, _ transaction: borrowing Transaction
    ) throws -> StoreOutcome {
        var letters: [(queue: Int, stored: StoredMessage, failedAt: Int)] = []
        for queue in queues {
            var cost = 0
            try transaction.query(newestDead) {
                $0.int(queue)
                $0.int(offset + limit)
            } _: { row in
                guard cost < bytes, let stored = try? message(row) else { return }
                letters.append((queue, stored, row.int(23)))
                cost += stored.message.cost
            }
        }
        letters.sort { ($0.failedAt, $0.stored.sequence) > ($1.failedAt, $1.stored.sequence) }
        return .dead(letters.dropFirst(offset).prefix(limit).map { ($0.queue, $0.stored, $0.failedAt) })
    }

    // MARK: Removing

    /// What is taken out for good gives its idempotency key back.
    private static func remove(_ stored: StoredMessage, _ transaction: borrowing Transaction) throws {
        try transaction.run(Statement.deleteMessage) { $0.int(stored.sequence) }
        guard let key = stored.message.deduplicationKey else { return }
        try transaction.run(Statement.freeKey) {
            $0.text(key)
            $0.text(stored.message.id)
        }
    }

    private static let inState = SQL("SELECT \(columns) FROM messages WHERE queue = ? AND state = ? ORDER BY rank, seq LIMIT ?")

    private static func purge(
        _ queue: Int, _ state: MessageState, _ excluding: Set<Int>, _ limit: Int, _ now: Int, _ transaction: borrowing Transaction
    ) throws -> StoreOutcome {
        var chosen: [StoredMessage] = []
        try transaction.query(inState) {
            $0.int(queue)
            $0.int(state.rawValue)
            $0.int(limit + excluding.count)
        } _: { row in
            guard chosen.count < limit, !excluding.contains(row.int(16)), let stored = try? message(row) else { return }
            chosen.append(stored)
        }
        var groups: Set<String> = []
        for stored in chosen {
            try remove(stored, transaction)
            if state != .dead, let group = stored.message.group { groups.insert(group) }
        }
        var next: [(StoredMessage, MessageState)] = []
        for group in groups.sorted() {
            if let moved = try advance(queue, group, now, transaction) { next.append(moved) }
        }
        return .purged(chosen.count, next: next)
    }

    private static func cancel(
        _ id: String, _ excluding: Set<Int>, _ now: Int, _ transaction: borrowing Transaction
    ) throws -> StoreOutcome {
        let found = try transaction.first(byID) {
            $0.text(id)
        } _: {
            (try message($0), $0.int(0), MessageState(rawValue: $0.int(18)) ?? .dead)
        }
        guard let (stored, queue, state) = found, state != .dead, !excluding.contains(stored.sequence) else { return .nothing }
        try remove(stored, transaction)
        return .cancelled(queue: queue, state, next: try advance(queue, stored.message.group, now, transaction))
    }

    private static func find(_ id: String, _ transaction: borrowing Transaction) throws -> StoreOutcome {
        let live = try transaction.first(byID) {
            $0.text(id)
        } _: {
            (try message($0), $0.int(0), MessageState(rawValue: $0.int(18)) ?? .dead, $0.int(19))
        }
        if let (stored, queue, state, due) = live { return .found(queue: queue, .live(state, due: due), stored) }
        let done = try transaction.first(Statement.result) {
            $0.text(id)
        } _: {
            ($0.int(0), $0.optionalBytes(1))
        }
        return done.map { .found(queue: $0.0, .done(result: $0.1), nil) } ?? .nothing
    }

    // MARK: What is known beside messages

    private static func keep(_ binding: StoredBinding, _ transaction: borrowing Transaction) throws {
        try transaction.run(Statement.putBinding) {
            $0.text(binding.id)
            $0.text(binding.subscription.topic)
            $0.text(binding.subscription.function)
            $0.text(binding.subscription.namespace)
            $0.bytes(binding.config)
            $0.bytes(binding.metadata)
            $0.int(binding.seenAt)
        }
    }

    private static func configure(
        _ number: Int, _ key: QueueKey, _ record: QueueRecord, _ transaction: borrowing Transaction
    ) throws {
        try addQueue(number, key, transaction)
        try transaction.run(Statement.configureQueue) {
            $0.bool(record.isPaused)
            $0.text(record.definition.map { String(decoding: $0, as: UTF8.self) })
            $0.int(number)
        }
    }

    /// What a start has to know. Its cost is that of counting an index; no message is read.
    static func contents(_ snapshot: borrowing Snapshot) throws -> StoreContents {
        var contents = StoreContents()
        try snapshot.query(Statement.queues) { row in
            var record = QueueRecord()
            record.isPaused = row.bool(5)
            record.definition = row.optionalText(6).map { Array($0.utf8) }
            let key: QueueKey =
                row.int(1) == 0
                ? .named(row.text(2))
                : .subscription(.init(topic: row.text(2), function: row.text(3), namespace: row.optionalText(4)))
            contents.queues.append((row.int(0), key, record))
        }
        try snapshot.query(Statement.bindings) { row in
            contents.bindings.append(
                StoredBinding(
                    id: row.text(0), subscription: .init(topic: row.text(1), function: row.text(2), namespace: row.optionalText(3)),
                    config: row.bytes(4), metadata: row.optionalBytes(5), seenAt: row.int(6)))
        }
        try snapshot.query(Statement.counts) { row in
            guard let state = MessageState(rawValue: row.int(1)) else { return }
            contents.counts.append((row.int(0), state, row.int(2)))
        }
        try snapshot.query(Statement.heldFunctions) { row in
            contents.held.append((row.int(0), TargetFunction(row.text(1), namespace: row.optionalText(2))))
        }
        contents.lastSequence = try snapshot.first(Statement.lastSequence) { $0.int(0) } ?? 0
        contents.lastRank = try snapshot.first(Statement.lastRank) { $0.int(0) } ?? 0
        contents.nextDue = try snapshot.first(Statement.nextDue) { $0.optionalInt(0) } ?? nil
        return contents
    }
}

/// Failures of a message as one JSON text.
enum FailureText {
    static func encode(_ failures: [DeliveryFailure]) -> String {
        JSONValue.array(
            failures.map { failure in
                var members: [String: JSONValue] = [
                    "at": JSONValue(failure.at), "code": .string(failure.code), "message": .string(failure.message),
                ]
                if let stacktrace = failure.stacktrace { members["stacktrace"] = .string(stacktrace) }
                return .object(members)
            }
        ).text
    }

    static func decode(_ text: String) -> [DeliveryFailure] {
        ((try? JSONValue(parsing: text))?.array ?? []).map { failure in
            DeliveryFailure(
                at: Int(failure["at"]?.integer ?? 0), code: failure["code"]?.string ?? "", message: failure["message"]?.string ?? "",
                stacktrace: failure["stacktrace"]?.string)
        }
    }
}
