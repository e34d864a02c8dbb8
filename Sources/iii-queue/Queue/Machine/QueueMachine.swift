/// What ended an attempt, as far as the queue is concerned.
public enum DeliveryOutcome: Sendable, Equatable {
    /// The function returned this (JSON text), or nothing.
    case succeeded(result: [UInt8]?)
    /// The condition answered `false`: as good as done.
    case skipped
    /// A real attempt that failed. `retryAfter`: the pause that the handler asked for; `isFinal`: it asked for no further attempt.
    case failed(code: String, message: String, stacktrace: String? = nil, retryAfter: Int? = nil, isFinal: Bool = false)
    /// Nobody serves the function: not an attempt.
    case functionMissing
    /// The worker that had it ended: `isClean` with a farewell, which costs nothing; else as a crash.
    case workerEnded(isClean: Bool)
    /// It could not be sent, or its outcome got lost with the engine: not an attempt.
    case undelivered
}

/// What the store is to do with a message that was claimed.
public enum Settlement: Sendable, Equatable {
    /// Gone. `result` is remembered where the queue remembers results.
    case done(result: [UInt8]?)
    /// Ready again at `due`.
    case retry(due: Int, MessageProgress)
    /// To the dead letters; its group is free in the same step.
    case dead(MessageProgress)
    /// Ready again as it was.
    case release
    /// Set aside until its function exists.
    case hold

    /// Whether the message is done or dead.
    var isFinal: Bool {
        switch self {
        case .done, .dead: true
        case .retry, .release, .hold: false
        }
    }
}

/// One message being delivered, or whose outcome is being stored. Its number is never used again, so a late answer finds nothing.
public struct Lease: Sendable, Equatable {
    public typealias ID = Int
    public let id: ID
    /// Its payload has been handed on.
    public var message: StoredMessage
    public let startedAt: Int
}

/// What is in the way of a queue with messages that wait.
public enum Obstacle: Sendable, Equatable {
    case paused
    case noConsumer
    case functionMissing(String)
    case rateLimited(until: Int)
    /// Every slot is taken; the oldest since then.
    case busy(since: Int)
    case engineAway
    case storeFails(String)
}

/// Decides what one queue does: how many messages to claim, which to start, and what becomes of each. Pure: no clock, no randomness, no
/// I/O; whoever owns it carries out the effects in order and reports back.
///
/// The store gives out every message at most once at a time, in order, one of a group; this machine never forgets one it was given: every
/// claimed message is settled, however often the store refuses. A crash forgets all leases, and nothing else.
struct QueueMachine {
    enum Effect: Equatable {
        /// Ask the store for messages, leaving out these functions. Ends with `claimed`.
        case claim(limit: Int, skipping: Set<TargetFunction>)
        case deliver(Lease)
        /// Ends with `settled`.
        case settle(Lease.ID, StoredMessage, Settlement)
        /// Tell the store again after a pause, with `settle` of the same settlement.
        case settleLater(Lease.ID, StoredMessage, Settlement)
        /// Call `proceed` at this time.
        case wake(at: Int)
    }

    private(set) var options: QueueOptions
    /// The one function of all messages, where there is but one: what waits for it need not be set aside.
    let soleTarget: TargetFunction?
    private var rate: RateLimit?
    /// Being delivered.
    private(set) var running: [Lease.ID: Lease] = [:]
    /// Outcomes that are not stored yet, by lease.
    private(set) var settling: [Lease.ID: Settlement] = [:]
    private var nextLease = 1
    private var isClaiming = false
    /// The store may have something.
    private var isFed = true
    /// More has come since the claim that is under way.
    private var isFedAgain = false
    private(set) var missing: Set<TargetFunction> = []
    private(set) var storeTrouble: String?

    var isPaused = false
    /// Somebody is there to be delivered to.
    var hasConsumer: Bool
    /// Nothing starts any more in this process.
    var isClosing = false
    var isEngineAway = false

    /// Outcomes that may wait for the store before nothing more is started.
    static let maximumSettling = 4096
    /// Functions that are known to be missing; beyond, the oldest knowledge is given up, which costs a call.
    static let maximumMissing = 1000

    init(options: QueueOptions, soleTarget: TargetFunction? = nil, hasConsumer: Bool = true) {
        self.options = options
        self.soleTarget = soleTarget
        self.hasConsumer = hasConsumer
        rate = options.rate.map(RateLimit.init)
    }

    var isIdle: Bool { running.isEmpty && settling.isEmpty && !isClaiming }
    private var isTargetMissing: Bool { soleTarget.map(missing.contains) ?? false }
    /// Messages are asked for, or will be as soon as there is room.
    var isConsuming: Bool { !isPaused && hasConsumer && !isClosing && !isEngineAway && !isTargetMissing && options.concurrency > 0 }
    private var mayStart: Bool { isConsuming && settling.count < Self.maximumSettling }

    mutating func change(_ new: QueueOptions) {
        options = new
        switch (rate != nil, new.rate) {
        case (_, nil): rate = nil
        case (true, let new?): rate?.change(to: new)
        case (false, let new?): rate = RateLimit(new)
        }
    }

    // MARK: Claiming

    /// The store has, or may have, something for this queue.
    mutating func fed(now: Int) -> [Effect] {
        if isClaiming { isFedAgain = true }
        isFed = true
        return proceed(now: now)
    }

    /// Starts whatever may start.
    mutating func proceed(now: Int) -> [Effect] {
        guard mayStart, isFed, !isClaiming else { return [] }
        var limit = options.concurrency - running.count
        guard limit > 0 else { return [] }
        if let rate {
            limit = rate.allowance(now: now, wanted: limit)
            if limit == 0 { return rate.nextAllowance(now: now).map { [.wake(at: $0)] } ?? [] }
        }
        isClaiming = true
        isFedAgain = false
        return [.claim(limit: limit, skipping: missing)]
    }

    /// What the store gave out, at most as much as was asked for. Less than that means that it has nothing more for now.
    mutating func claimed(_ messages: [StoredMessage], limit: Int, now: Int) -> [Effect] {
        isClaiming = false
        isFed = messages.count >= limit || isFedAgain
        var effects: [Effect] = []
        for message in messages {
            var lease = Lease(id: nextLease, message: message, startedAt: now)
            nextLease += 1
            if let expiry = message.message.expiresAt, expiry <= now {
                var progress = message.progress
                progress.add(DeliveryFailure(at: now, code: "expired", message: "it waited longer than it may"))
                effects.append(settle(&lease, .dead(progress)))
            } else if !mayStart {
                effects.append(settle(&lease, .release))
            } else if missing.contains(message.message.target) {
                // Noticed while the claim was under way.
                effects.append(settle(&lease, .hold))
            } else {
                rate?.started(now: now)
                effects.append(.deliver(lease))
                lease.message.message.payload = []
                running[lease.id] = lease
            }
        }
        return effects + proceed(now: now)
    }

    // MARK: Outcomes

    /// An attempt is over. An answer to a lease that is over changes nothing.
    mutating func answered(_ id: Lease.ID, _ outcome: DeliveryOutcome, now: Int, random: Double) -> [Effect] {
        guard var lease = running.removeValue(forKey: id) else { return [] }
        var progress = lease.message.progress
        let settlement: Settlement
        switch outcome {
        case .succeeded(let result): settlement = .done(result: result)
        case .skipped: settlement = .done(result: nil)
        case .failed(let code, let message, let stacktrace, let retryAfter, let isFinal):
            progress.attempts += 1
            progress.add(DeliveryFailure(at: now, code: code, message: message, stacktrace: stacktrace))
            let ordinary = options.pause(
                after: progress.attempts, base: lease.message.message.backoffMilliseconds, random: random)
            let pause = min(retryAfter ?? ordinary, QueueOptions.maximumDelay)
            let isDead = isFinal || progress.attempts >= max(1, lease.message.message.maxAttempts)
            settlement = isDead ? .dead(progress) : .retry(due: now + pause, progress)
        case .functionMissing:
            if missing.count >= Self.maximumMissing, let forgotten = missing.first { missing.remove(forgotten) }
            missing.insert(lease.message.message.target)
            settlement = isTargetMissing ? .release : .hold
        case .workerEnded(let isClean):
            if isClean {
                settlement = .release
            } else {
                progress.crashes += 1
                progress.add(DeliveryFailure(at: now, code: "invocation_stopped", message: "the worker ended while it had the message"))
                let pause = min(30_000, 100 << min(progress.crashes, 10))
                settlement = progress.crashes >= options.maxCrashes ? .dead(progress) : .retry(due: now + pause, progress)
            }
        case .undelivered: settlement = .retry(due: now + 200 + Int(random * 200), progress)
        }
        return [settle(&lease, settlement)] + proceed(now: now)
    }

    private mutating func settle(_ lease: inout Lease, _ settlement: Settlement) -> Effect {
        lease.message.message.payload = settlement == .release ? lease.message.message.payload : []
        settling[lease.id] = settlement
        return .settle(lease.id, lease.message, settlement)
    }

    /// The store has taken the outcome, or (`error`) has not and is asked again: until it has, the message stays ours.
    mutating func settled(_ id: Lease.ID, _ message: StoredMessage, error: String?, now: Int) -> [Effect] {
        guard let settlement = settling[id] else { return [] }
        storeTrouble = error
        if error != nil { return [.settleLater(id, message, settlement)] }
        settling[id] = nil
        if settlement == .release { isFed = true }
        return proceed(now: now)
    }

    /// The engine is gone, and with it every outcome: all that runs is ready again, and nothing of it counts.
    mutating func engineLost() -> [Effect] {
        isEngineAway = true
        return running.keys.sorted().compactMap { id in
            guard var lease = running.removeValue(forKey: id) else { return nil }
            return settle(&lease, .release)
        }
    }

    /// Functions appeared; whichever of them this queue waited for are asked again. Answers those.
    mutating func appeared(_ ids: Set<String>) -> Set<TargetFunction> {
        let found = missing.filter { ids.contains($0.id) }
        missing.subtract(found)
        return found
    }

    /// Everything may have changed meanwhile.
    mutating func forgetMissing() -> Set<TargetFunction> {
        defer { missing = [] }
        return missing
    }

    // MARK: Looking at it

    /// Why nothing starts although something waits; nil when nothing is in the way.
    func obstacle(now: Int) -> Obstacle? {
        if let storeTrouble { return .storeFails(storeTrouble) }
        if isPaused { return .paused }
        if isEngineAway { return .engineAway }
        if !hasConsumer || options.concurrency == 0 { return .noConsumer }
        if running.count >= options.concurrency, let since = running.values.map(\.startedAt).min() { return .busy(since: since) }
        if let until = rate?.nextAllowance(now: now) { return .rateLimited(until: until) }
        if let function = missing.first { return .functionMissing(function.id) }
        return nil
    }
}
