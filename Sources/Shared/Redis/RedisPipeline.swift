import NIOCore

/// The commands of one client and their order: what waits, what is under way, whose reply comes next. A value without I/O; time
/// is an argument.
///
/// One rule above all: two commands that were given in an order never take effect in the other. So a command that the server has
/// rejected for its own state is given again only if none behind it has had an effect meanwhile.
struct RedisPipeline<Token> {
    enum Kind {
        /// May be sent again although it may have had its effect: reads, and writes that can be repeated.
        case repeatable
        case once
    }

    struct Outcome {
        let token: Token
        let result: Result<RedisValue, RedisError>
    }

    /// What to do about a reply.
    enum Step {
        case nothing
        case complete(Outcome)
        case completeMany([Outcome])
        /// Nobody has asked: the connection is of no use.
        case unexpected
    }

    private enum State {
        /// No connection is ready. Next: `ready`, `refused`, `stopped`.
        case away
        /// Next: `draining`, `away`, `stopped`.
        case ready
        /// The server has rejected a command; the rest of the replies is awaited, then the connection is given up. Next: `away`, `stopped`.
        case draining(reason: String)
        /// The server cannot be used. Next: `away`, `ready`, `stopped`.
        case refused(RedisError)
        case stopped
    }

    private struct Entry {
        /// nil: a WAIT of our own.
        let token: Token?
        let length: Int
        let deadline: NIODeadline
        let kind: Kind
        let awaitsReplicas: Bool
    }

    let maximumCommands: Int
    let maximumBytes: Int
    let waitReplicas: Int
    let waitMilliseconds: Int

    private var state = State.away
    /// First those that were sent, then those that wait.
    private var entries = CircularBuffer<Entry>()
    private(set) var sentCount = 0
    /// Bytes of the entries, in the same order: what was handed out, at its head the bytes of the first sent entry, …
    private var batches = CircularBuffer<ByteBuffer>()
    /// … then those that wait.
    private var outgoing = ByteBuffer()
    private var rejected: [(entry: Entry, bytes: ByteBuffer)] = []
    /// Done on the primary, not yet confirmed by replicas.
    private var unreplicated: [Outcome] = []
    private var hasUnconfirmedWrites = false
    private(set) var bytes = 0

    init(maximumCommands: Int, maximumBytes: Int, waitReplicas: Int = 0, waitMilliseconds: Int = 1000) {
        self.maximumCommands = maximumCommands
        self.maximumBytes = maximumBytes
        self.waitReplicas = waitReplicas
        self.waitMilliseconds = waitMilliseconds
    }

    /// Commands that have no outcome yet.
    var count: Int { entries.count + rejected.count + unreplicated.count }
    var isReady: Bool { if case .ready = state { true } else { false } }
    /// All replies of a connection that is to be given up have come.
    var wantsReconnect: Bool { if case .draining = state { sentCount == 0 } else { false } }
    var drainingReason: String? { if case .draining(let reason) = state { reason } else { nil } }

    // MARK: Giving commands

    /// Takes a command of `words` words; nil, or why not.
    mutating func submit(
        _ token: Token, words: Int, kind: Kind, isWrite: Bool, deadline: NIODeadline, _ encode: (inout RedisArguments) -> Void
    ) -> RedisError? {
        switch state {
        case .stopped: return RedisError(.notSent, "the Redis client is stopped")
        case .refused(let error): return error
        case .away, .ready, .draining: break
        }
        guard count < maximumCommands, bytes < maximumBytes else {
            return RedisError(.overloaded, "\(count) commands of \(bytes) bytes wait for Redis already; try again later")
        }
        let start = outgoing.writerIndex
        var arguments = RedisArguments(ByteBuffer())
        swap(&arguments.buffer, &outgoing)
        arguments.head(words)
        encode(&arguments)
        swap(&arguments.buffer, &outgoing)
        guard arguments.count == words else {
            outgoing.moveWriterIndex(to: start)
            return RedisError(.invalid, "a command of \(words) words was given \(arguments.count)")
        }
        append(token, length: outgoing.writerIndex - start, kind, isWrite && waitReplicas > 0, deadline)
        return nil
    }

    private mutating func append(_ token: Token?, length: Int, _ kind: Kind, _ awaitsReplicas: Bool, _ deadline: NIODeadline) {
        if awaitsReplicas { hasUnconfirmedWrites = true }
        bytes += length
        entries.append(Entry(token: token, length: length, deadline: deadline, kind: kind, awaitsReplicas: awaitsReplicas))
    }

    /// What is to be written now; nil when there is nothing, or nobody to write it to. `now + timeout` bounds the confirmation of replicas.
    mutating func takeOutgoing(deadline: NIODeadline) -> ByteBuffer? {
        guard isReady, outgoing.readableBytes > 0 else { return nil }
        if hasUnconfirmedWrites {
            hasUnconfirmedWrites = false
            let start = outgoing.writerIndex
            var arguments = RedisArguments(outgoing)
            arguments.head(3)
            arguments.add("WAIT")
            arguments.add(waitReplicas)
            arguments.add(waitMilliseconds)
            outgoing = arguments.buffer
            append(nil, length: outgoing.writerIndex - start, .once, false, deadline)
        }
        let batch = outgoing
        outgoing = ByteBuffer()
        // The next burst is likely to be as large.
        outgoing.reserveCapacity(min(batch.readableBytes, 1 << 20))
        batches.append(batch)
        sentCount = entries.count
        return batch
    }

    // MARK: Replies

    mutating func received(_ value: RedisValue) -> Step {
        guard sentCount > 0, let entry = entries.popFirst() else { return .unexpected }
        sentCount -= 1
        bytes -= entry.length
        guard let token = entry.token else {
            dropBytes(entry.length)
            return replicasAnswered(value)
        }
        guard case .error(let text) = value else {
            dropBytes(entry.length)
            let outcome = Outcome(token: token, result: .success(value))
            guard entry.awaitsReplicas else { return rejected.isEmpty ? .complete(outcome) : .completeMany(giveUpRejected() + [outcome]) }
            unreplicated.append(outcome)
            return rejected.isEmpty ? .nothing : .completeMany(giveUpRejected())
        }
        switch RedisReplyError(text) {
        case .serverState, .unknownScript:
            if case .ready = state { state = .draining(reason: text) }
            bytes += entry.length
            rejected.append((entry, takeBytes(entry.length)))
            return .nothing
        case .command(let error):
            dropBytes(entry.length)
            return .complete(Outcome(token: token, result: .failure(error)))
        }
    }

    private mutating func replicasAnswered(_ value: RedisValue) -> Step {
        let outcomes = unreplicated
        unreplicated = []
        let confirmed = value.int ?? 0
        guard confirmed < waitReplicas else { return .completeMany(outcomes) }
        let error = RedisError(
            .notReplicated,
            "\(confirmed) of \(waitReplicas) replicas have confirmed the write within \(waitMilliseconds) ms; the primary has it")
        return .completeMany(outcomes.map { Outcome(token: $0.token, result: .failure(error)) })
    }

    /// One behind them has had its effect: they would come too late.
    private mutating func giveUpRejected() -> [Outcome] {
        defer { rejected = [] }
        return rejected.compactMap { entry, _ in
            bytes -= entry.length
            return entry.token.map { Outcome(token: $0, result: .failure(RedisError(.rejected, "Redis: \(drainingReason ?? "not now")"))) }
        }
    }

    private mutating func takeBytes(_ length: Int) -> ByteBuffer {
        let taken = batches.first.flatMap { $0.getSlice(at: $0.readerIndex, length: length) } ?? ByteBuffer()
        dropBytes(length)
        return taken
    }

    private mutating func dropBytes(_ length: Int) {
        guard !batches.isEmpty else { return }
        batches[offset: 0].moveReaderIndex(forwardBy: length)
        if batches[offset: 0].readableBytes == 0 { batches.removeFirst() }
    }

    // MARK: The connection

    /// A connection is ready for commands.
    mutating func connected() {
        if case .stopped = state { return }
        state = .ready
    }

    /// The connection has ended, or is to end: what was under way is failed or prepared to be sent again.
    mutating func disconnected(_ reason: String) -> [Outcome] {
        if case .stopped = state { return [] }
        state = .away
        let unknown = RedisError(.outcomeUnknown, "the connection to Redis ended before the reply: \(reason)")
        var outcomes: [Outcome] = unreplicated.map { Outcome(token: $0.token, result: .failure(unknown)) }
        unreplicated = []
        var again: [(Entry, ByteBuffer)] = []
        for _ in 0..<sentCount {
            let entry = entries.removeFirst()
            let bytes = takeBytes(entry.length)
            if let token = entry.token, entry.kind == .once { outcomes.append(Outcome(token: token, result: .failure(unknown))) }
            if entry.token != nil, entry.kind == .repeatable { again.append((entry, bytes)) } else { self.bytes -= entry.length }
        }
        if outcomes.isEmpty {
            again = rejected + again
            rejected = []
        } else {
            outcomes = giveUpRejected() + outcomes
        }
        sentCount = 0
        batches = []
        var buffer = ByteBuffer()
        for (entry, _) in again.reversed() { entries.prepend(entry) }
        for (_, bytes) in again { buffer.writeImmutableBuffer(bytes) }
        buffer.writeImmutableBuffer(outgoing)
        outgoing = buffer
        hasUnconfirmedWrites = entries.contains { $0.awaitsReplicas }
        return outcomes
    }

    /// The server is of a kind that cannot be used: everything fails with `error` until another one is found.
    mutating func refused(_ error: RedisError) -> [Outcome] {
        if case .stopped = state { return [] }
        state = .refused(error)
        return failWaiting(error)
    }

    mutating func stop() -> [Outcome] {
        let outcomes = disconnected("the client was stopped")
        state = .stopped
        return outcomes + failWaiting(RedisError(.notSent, "the Redis client was stopped"))
    }

    private mutating func failWaiting(_ error: RedisError) -> [Outcome] {
        defer {
            entries = []
            outgoing = ByteBuffer()
            bytes = 0
            hasUnconfirmedWrites = false
        }
        return entries.compactMap { entry in entry.token.map { Outcome(token: $0, result: .failure(error)) } }
    }

    // MARK: Time

    /// When somebody's patience ends next. Commands are given with growing deadlines, so it is that of the first.
    var nextDeadline: NIODeadline? { rejected.first?.entry.deadline ?? entries.first?.deadline }

    /// The server owes a reply for too long: the connection is to be given up.
    func isStuck(at now: NIODeadline) -> Bool {
        if let first = rejected.first, first.entry.deadline <= now { return true }
        return sentCount > 0 && entries[offset: 0].deadline <= now
    }

    /// Fails what has waited for a connection for too long.
    mutating func expire(at now: NIODeadline, lastFailure: String) -> [Outcome] {
        var outcomes: [Outcome] = []
        while sentCount == 0, let first = entries.first, first.deadline <= now {
            entries.removeFirst()
            bytes -= first.length
            outgoing.moveReaderIndex(forwardBy: first.length)
            let error = RedisError(.notSent, "Redis could not be reached in time: \(lastFailure)")
            if let token = first.token { outcomes.append(Outcome(token: token, result: .failure(error))) }
        }
        return outcomes
    }
}
