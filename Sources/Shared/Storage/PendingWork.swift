/// A write on its way through the writer's thread. Everything but the mailbox touches it from that thread only, then from the
/// executor of its completion.
class PendingWrite: @unchecked Sendable {
    let cost: Int
    let executor: StoreExecutor?
    var failure: (any Error)?

    init(cost: Int, executor: StoreExecutor?) {
        self.cost = cost
        self.executor = executor
    }

    /// May be called again when the transaction it ran in had to be given up.
    func run(_ transaction: borrowing Transaction) throws {}
    func complete() {}
}

final class Write<Value: Sendable>: PendingWrite, @unchecked Sendable {
    private let work: @Sendable (borrowing Transaction) throws -> Value
    private let completion: @Sendable (Result<Value, any Error>) -> Void
    private var value: Value?

    init(
        cost: Int, executor: StoreExecutor?, work: @escaping @Sendable (borrowing Transaction) throws -> Value,
        completion: @escaping @Sendable (Result<Value, any Error>) -> Void
    ) {
        self.work = work
        self.completion = completion
        super.init(cost: cost, executor: executor)
    }

    override func run(_ transaction: borrowing Transaction) throws { value = try work(transaction) }

    override func complete() {
        if let failure { return completion(.failure(failure)) }
        guard let value else { return completion(.failure(StorageError(.closed, "the store ended before the write"))) }
        completion(.success(value))
    }
}

/// A read on its way through one of the reading threads.
class PendingRead: @unchecked Sendable {
    let executor: StoreExecutor?
    var failure: (any Error)?

    init(executor: StoreExecutor?) { self.executor = executor }

    func run(_ snapshot: borrowing Snapshot) throws {}
    func complete() {}
}

final class Read<Value: Sendable>: PendingRead, @unchecked Sendable {
    private let work: @Sendable (borrowing Snapshot) throws -> Value
    private let completion: @Sendable (Result<Value, any Error>) -> Void
    private var value: Value?

    init(
        executor: StoreExecutor?, work: @escaping @Sendable (borrowing Snapshot) throws -> Value,
        completion: @escaping @Sendable (Result<Value, any Error>) -> Void
    ) {
        self.work = work
        self.completion = completion
        super.init(executor: executor)
    }

    override func run(_ snapshot: borrowing Snapshot) throws { value = try work(snapshot) }

    override func complete() {
        if let failure { return completion(.failure(failure)) }
        guard let value else { return completion(.failure(StorageError(.closed, "the store ended before the read"))) }
        completion(.success(value))
    }
}
