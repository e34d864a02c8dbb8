import Glibc
import IIIStorage
import IIIWorker
import Logging
import NIOCore

/// Steps in memory: gone with the process.
final class MemoryBackend: StoreBackend {
    private var table = MessageTable()
    private let eventLoop: any EventLoop
    private let maximumBytes: Int

    init(eventLoop: any EventLoop, maximumBytes: Int) {
        self.eventLoop = eventLoop
        self.maximumBytes = maximumBytes
    }

    func submit(_ operation: StoreOperation, completion: @escaping (Result<StoreOutcome, QueueStoreError>) -> Void) {
        let result: Result<StoreOutcome, QueueStoreError>
        if case .insert = operation, table.bytes + operation.cost > maximumBytes {
            result = .failure(
                QueueStoreError("the queues hold \(table.bytes) bytes in memory already (max_bytes is \(maximumBytes))", isRetryable: true))
        } else {
            result = .success(table.apply(operation))
        }
        // Never at once: what asked for it has not finished asking.
        let completion = NIOLoopBound(completion, eventLoop: eventLoop)
        eventLoop.execute { completion.value(result) }
    }

    var status: String { "in memory" }
    func close(on loop: isolated WorkerLoop) async {}
}

/// Steps in one SQLite file; many that come together are one transaction and one sync.
final class SQLiteBackend: StoreBackend {
    private let store: Store
    private let eventLoop: any EventLoop
    private let executor: StoreExecutor

    init(store: Store, eventLoop: any EventLoop) {
        self.store = store
        self.eventLoop = eventLoop
        executor = StoreExecutor { eventLoop.execute($0) }
    }

    func submit(_ operation: StoreOperation, completion: @escaping (Result<StoreOutcome, QueueStoreError>) -> Void) {
        let completion = NIOLoopBound(completion, eventLoop: eventLoop)
        store.write(cost: operation.cost, on: executor) { transaction in
            try MessageSQL.apply(operation, in: transaction)
        } completion: { result in
            completion.value(result.mapError(QueueStoreError.init(storage:)))
        }
    }

    var status: String {
        let status = store.status()
        var text = "\(status.databaseBytes >> 20) MiB"
        if status.numbers.isInTrouble { text += ", writes fail" }
        if status.numbers.quarantinedRows > 0 { text += ", \(status.numbers.quarantinedRows) damaged messages in quarantine" }
        if case .damaged = status.integrity { text += ", damaged" }
        return text
    }

    func close(on loop: isolated WorkerLoop) async { await Self.close(store) }

    /// Away from the event loop, which the completions of what is still written need.
    private nonisolated static func close(_ store: Store) async { store.close() }

    /// Opens the store away from the event loop: recovery and migrations may take a while.
    nonisolated static func open(_ settings: StoreSettings, logger: Logger) async throws -> (Store, StoreContents) {
        try refuseForeign(settings.directory)
        let store: Store
        do throws(StorageError) {
            store = try Store.open(settings, migrations: MessageSQL.migrations, logger: logger)
        } catch {
            switch error.code {
            case .notWritable, .foreignFile, .newerSchema, .corrupt, .readOnly:
                throw ConfigurationError("adapter.config.file_path: \(error.message)")
            default: throw error
            }
        }
        return (store, try await store.read { try MessageSQL.contents($0) })
    }

    /// The reference keeps its queues in a directory too, in files that nobody but it can read.
    private static func refuseForeign(_ directory: String) throws {
        for name in ["_queue_lists.bin", "_queue_sorted_sets.bin"] where access("\(directory)/\(name)", F_OK) == 0 {
            throw ConfigurationError(
                "adapter.config.file_path: '\(directory)' holds queues of another engine (\(name)), which this one cannot read; let that engine "
                    + "work them off, or name another directory")
        }
    }
}

extension QueueStoreError {
    init(storage error: any Error) {
        guard let storage = error as? StorageError else {
            self.init("\(error)", isRetryable: false)
            return
        }
        self.init(storage.message, isRetryable: storage.isRetryable)
    }
}
