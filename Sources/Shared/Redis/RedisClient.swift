import NIOCore

/// A client of one Redis server: one connection, commands pipelined in the order they are given, on one event loop.
///
/// Every command has exactly one outcome within `commandTimeout`, whatever becomes of the server. While it is away commands wait, bounded in
/// number and bytes. What was under way when a connection broke fails with `outcomeUnknown` unless it was said to be repeatable; what
/// Redis has rejected for its own state (LOADING, READONLY after a failover, a script it no longer knows) is given again as long as nothing
/// given after it has had an effect. Errors tell a command that had no effect from one that may have had one: `RedisError.Code`.
///
/// Confined to `eventLoop` except where it says otherwise.
public final class RedisClient: @unchecked Sendable {
    /// The one outcome of a command, on the client's event loop.
    public typealias Completion = (Result<RedisValue, RedisError>) -> Void

    /// Where everything of it is called, completions too.
    public let eventLoop: any EventLoop
    /// As it was made with.
    public let settings: RedisSettings
    /// After every connection and every loss of one: what the server says of itself, or why it was lost.
    public var onStateChange: ((Result<RedisServerFacts, RedisError>) -> Void)?
    /// Of the server of the present connection, or of the last one; nil before the first.
    public private(set) var facts: RedisServerFacts?
    /// Connections that were ready, counted.
    public private(set) var connections = 0

    private let dialer: RedisDialer
    private var pipeline: RedisPipeline<Completion>
    private var lastFailure = "not connected yet"
    private var isFlushScheduled = false
    private var isReading = false
    private var timer: Scheduled<Void>?

    /// Connects to nothing yet: `start` does.
    public init(_ settings: RedisSettings, on eventLoop: any EventLoop) {
        self.settings = settings
        self.eventLoop = eventLoop
        dialer = RedisDialer(settings, on: eventLoop)
        pipeline = RedisPipeline(
            maximumCommands: settings.maximumCommands, maximumBytes: settings.maximumBytes, waitReplicas: settings.waitReplicas,
            waitMilliseconds: Int(settings.waitTimeout.nanoseconds / 1_000_000))
    }

    /// Connects, and again for ever until `stop`. `scripts` are loaded at every new connection.
    public func start(scripts: [RedisScript] = []) {
        eventLoop.preconditionInEventLoop()
        dialer.scripts = scripts
        dialer.start(
            .init(
                ready: { [unowned self] in ready($0) }, received: { [unowned self] in received($0) },
                readCompleted: { [unowned self] in
                    isReading = false
                    flush()
                }, lost: { [self] in lost($0, $1) }))
    }

    /// Ends the connection; what has no outcome fails.
    public func stop() {
        eventLoop.preconditionInEventLoop()
        timer?.cancel()
        complete(pipeline.stop())
        dialer.stop()
    }

    /// Whether commands go out at once; else they wait.
    public var isConnected: Bool { pipeline.isReady }
    /// Commands without an outcome, and the bytes of those that wait for a reply.
    public var pending: (commands: Int, bytes: Int) { (pipeline.count, pipeline.bytes) }

    // MARK: Commands

    /// Gives a command of `words` words, the name included.
    ///
    /// - `isRepeatable`: it does no harm twice (a read, a write of a fixed value): it survives the loss of a connection.
    /// - `isWrite`: with `waitReplicas` it has succeeded only once that many replicas have it.
    public func send(
        words: Int, isRepeatable: Bool = false, isWrite: Bool = false, _ encode: (inout RedisArguments) -> Void,
        completion: @escaping Completion
    ) {
        let refusal = pipeline.submit(
            completion, words: words, kind: isRepeatable ? .repeatable : .once, isWrite: isWrite,
            deadline: .now() + settings.commandTimeout, encode)
        if let refusal { return completion(.failure(refusal)) }
        if timer == nil { armTimer() }
        scheduleFlush()
    }

    /// Calls a script of `start`: its keys, then its other arguments.
    public func run(
        _ script: RedisScript, keys: [String], arguments: [[UInt8]] = [], isRepeatable: Bool = false, completion: @escaping Completion
    ) {
        send(words: 3 + keys.count + arguments.count, isRepeatable: isRepeatable, isWrite: true) {
            $0.add("EVALSHA")
            $0.add(script.digest)
            $0.add(keys.count)
            for key in keys { $0.add(key) }
            for argument in arguments { $0.add(argument) }
        } completion: {
            completion($0)
        }
    }

    /// From any task: a command of texts.
    public func command(_ words: String..., isRepeatable: Bool = false, isWrite: Bool = false) async throws -> RedisValue {
        try await withCheckedThrowingContinuation { continuation in
            eventLoop.execute { [self] in
                send(words: words.count, isRepeatable: isRepeatable, isWrite: isWrite) { arguments in
                    for word in words { arguments.add(word) }
                } completion: {
                    continuation.resume(with: $0)
                }
            }
        }
    }

    /// From any task: calls a script.
    public func run(_ script: RedisScript, keys: [String], arguments: [[UInt8]] = [], isRepeatable: Bool = false) async throws -> RedisValue
    {
        try await withCheckedThrowingContinuation { continuation in
            eventLoop.execute { [self] in
                run(script, keys: keys, arguments: arguments, isRepeatable: isRepeatable) { continuation.resume(with: $0) }
            }
        }
    }

    // MARK: Writing

    private func scheduleFlush() {
        // Within a read burst everything goes out at its end; else at the end of the loop's turn.
        guard !isReading, !isFlushScheduled, pipeline.isReady else { return }
        isFlushScheduled = true
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        eventLoop.execute {
            bound.value.isFlushScheduled = false
            bound.value.flush()
        }
    }

    private func flush() {
        guard let batch = pipeline.takeOutgoing(deadline: .now() + settings.commandTimeout) else { return }
        dialer.connection?.write(batch)
    }

    // MARK: The connection

    private func ready(_ facts: RedisServerFacts) {
        self.facts = facts
        connections += 1
        pipeline.connected()
        onStateChange?(.success(facts))
        flush()
    }

    private func received(_ value: RedisValue) {
        isReading = true
        switch pipeline.received(value) {
        case .nothing: break
        case .complete(let outcome): outcome.token(outcome.result)
        case .completeMany(let outcomes): complete(outcomes)
        case .unexpected: dialer.connection?.close(RedisError(.failed, "Redis has answered what nobody asked"))
        }
        if pipeline.wantsReconnect { giveUpConnection() }
    }

    private func giveUpConnection() {
        let reason = pipeline.drainingReason ?? "rejected"
        dialer.dialsAtOnce = reason.hasPrefix("NOSCRIPT")
        dialer.connection?.close(RedisError(.rejected, "Redis: \(reason)"))
    }

    private func lost(_ error: RedisError, _ isLasting: Bool) {
        isReading = false
        lastFailure = error.message
        facts = nil
        complete(pipeline.disconnected(error.message))
        if isLasting { complete(pipeline.refused(error)) }
        onStateChange?(.failure(error))
    }

    private func complete(_ outcomes: [RedisPipeline<Completion>.Outcome]) {
        for outcome in outcomes { outcome.token(outcome.result) }
    }

    // MARK: Time

    private func armTimer() {
        guard let deadline = pipeline.nextDeadline else {
            timer = nil
            return
        }
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        timer = eventLoop.scheduleTask(deadline: deadline) { bound.value.timeIsUp() }
    }

    private func timeIsUp() {
        let now = NIODeadline.now()
        if pipeline.isStuck(at: now) {
            dialer.connection?.close(RedisError(.notSent, "no reply within \(settings.commandTimeout.nanoseconds / 1_000_000) ms"))
        }
        complete(pipeline.expire(at: now, lastFailure: lastFailure))
        // A command whose time was up with its connection has its outcome by the end of this turn.
        guard let next = pipeline.nextDeadline else {
            timer = nil
            return
        }
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        timer = eventLoop.scheduleTask(deadline: max(next, now + .milliseconds(1))) { bound.value.timeIsUp() }
    }
}
