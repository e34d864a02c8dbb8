import IIIWorker

/// One step of the embedded store: it happens as a whole or not at all, and may be done again as long as nobody was told that it happened.
///
/// Two interpreters carry them out by the same rules: `MessageTable`, a value in memory, and `MessageSQL`, within a transaction of SQLite.
enum StoreOperation: Sendable {
    struct Insertion: Sendable {
        let queue: Int
        let key: QueueKey
        let sequence: Int
        let rank: Int
        /// 0 for at once.
        let due: Int
        let message: QueueMessage
        /// Until when its idempotency key is taken.
        let keyUntil: Int
    }

    /// How dead messages come back.
    struct Redrive: Sendable {
        /// Of the first of them.
        let sequence: Int
        let rank: Int
        let now: Int
        /// How many were chosen before, and how many of all are ready each second; nil for all at once.
        let chosen: Int
        let perSecond: Int?

        /// Of the `index`-th of this step; 0 for at once.
        func due(_ index: Int) -> Int {
            guard let perSecond else { return 0 }
            let wait = (chosen + index) * 1000 / Swift.max(1, perSecond)
            return wait == 0 ? 0 : now + wait
        }
    }

    /// One message of a queue.
    struct Place: Sendable {
        let queue: Int
        let sequence: Int
        let group: String?
    }

    case insert([Insertion], now: Int)
    /// Gone, with the result that is to be remembered until a time.
    case finish(Place, id: String, result: [UInt8]?, until: Int, now: Int)
    case delay(Place, due: Int, MessageProgress)
    case bury(Place, MessageProgress, now: Int)
    case hold([Place])
    /// The first of what is ready, without those of `excluding`, up to `limit` messages or `bytes`.
    case load(queue: Int, limit: Int, bytes: Int, excluding: Set<Int>)
    /// Delayed messages whose time has come are ready.
    case promote(now: Int, limit: Int)
    case wake(queue: Int, TargetFunction, limit: Int)
    /// Dead messages that failed until `cutoff`; they are numbered from `sequence` on.
    case redrive(queue: Int, DeadLetterSelection, cutoff: Int, limit: Int, Redrive)
    case discard(queue: Int, DeadLetterSelection, cutoff: Int, limit: Int)
    case purge(queue: Int, MessageState, excluding: Set<Int>, limit: Int, now: Int)
    case cancel(id: String, excluding: Set<Int>, now: Int)
    case keep(StoredBinding)
    case forget([String])
    case configure(queue: Int, QueueKey, QueueRecord)
    /// Forgotten if it is empty.
    case drop(queue: Int)
    /// Idempotency keys and results whose time is over are forgotten.
    case sweep(now: Int)
    case deadLetters(queues: [Int], offset: Int, limit: Int, bytes: Int)
    case find(id: String)

    /// Bytes it brings along.
    var cost: Int {
        switch self {
        case .insert(let insertions, _): insertions.reduce(0) { $0 + $1.message.cost }
        case .finish(_, _, let result, _, _): 128 + (result?.count ?? 0)
        default: 256
        }
    }
}

/// What a step has done.
enum StoreOutcome: Sendable {
    case inserted([(id: String, isDuplicate: Bool, state: MessageState)])
    /// Whether the message was (still) there, and the one of its group that has moved up, with where it is now.
    case left(wasThere: Bool, next: (StoredMessage, MessageState)?)
    case changed(Int)
    case loaded([StoredMessage], isAll: Bool)
    /// How many of each queue, and when the next one is due.
    case promoted([Int: Int], nextDue: Int?)
    /// How many, and where they are now.
    case moved([MessageState: Int], nextDue: Int?)
    /// How many left each state, and how many moved up out of `behind`.
    case purged(Int, next: [(StoredMessage, MessageState)])
    case cancelled(queue: Int, MessageState, next: (StoredMessage, MessageState)?)
    case dead([(queue: Int, StoredMessage, failedAt: Int)])
    case found(queue: Int, FoundMessage.State, StoredMessage?)
    case nothing
}

/// What a store holds when it is opened.
struct StoreContents: Sendable {
    var queues: [(id: Int, key: QueueKey, record: QueueRecord)] = []
    var bindings: [StoredBinding] = []
    var counts: [(queue: Int, state: MessageState, count: Int)] = []
    var held: [(queue: Int, function: TargetFunction)] = []
    var lastSequence = 0
    var lastRank = 0
    var nextDue: Int?
}

/// Carries steps out, in the order in which they are given, and completes them in that order.
protocol StoreBackend: AnyObject {
    func submit(_ operation: StoreOperation, completion: @escaping (Result<StoreOutcome, QueueStoreError>) -> Void)
    /// For `iii-core ps -v`.
    var status: String { get }
    func close(on loop: isolated WorkerLoop) async
}
