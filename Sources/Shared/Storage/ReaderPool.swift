import CSQLite
import Glibc

/// The threads that read, each with its own read-only connection.
final class ReaderPool: @unchecked Sendable {
    private struct Queue {
        var waiting: [PendingRead] = []
        var next = 0
        var isClosing = false
    }

    private let queue = Monitor(Queue())
    private let settings: StoreSettings
    private let path: String
    private var threads: [StoreThread] = []

    init(path: String, settings: StoreSettings) throws(StorageError) {
        self.path = path
        self.settings = settings
        for _ in 0..<max(1, settings.readers) {
            let connection = try SQLiteConnection(path: path, access: .readOnly, busyTimeout: .seconds(1))
            try connection.execute("PRAGMA cache_size = -4096; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF")
            let reader = Reader(connection: connection, timeout: settings.readTimeout)
            threads.append(try StoreThread(name: "iii-store-read") { [queue] in Self.run(queue, reader) })
        }
    }

    /// nil, or why the read was not taken. `isPromised`: it has been taken before.
    func submit(_ read: PendingRead, isPromised: Bool = false) -> StorageError? {
        let refusal = queue.withLock { queue -> StorageError? in
            if queue.isClosing { return StorageError(.closed, "the store '\(path)' is closed") }
            guard isPromised || queue.waiting.count - queue.next < settings.maximumPendingReads else {
                return StorageError(.overloaded, "\(settings.maximumPendingReads) reads wait for the store already; try again later")
            }
            queue.waiting.append(read)
            return nil
        }
        if refusal == nil { queue.wakeAll() }
        return refusal
    }

    /// Returns once every read that was taken is answered.
    func close() {
        queue.withLock { $0.isClosing = true }
        queue.wakeAll()
        for thread in threads { thread.waitForEnd() }
    }

    private static func run(_ queue: Monitor<Queue>, _ reader: Reader) {
        while let read = next(queue) {
            reader.run(read)
            guard let executor = read.executor else {
                read.complete()
                continue
            }
            executor.submit { read.complete() }
        }
        reader.connection.close()
    }

    private static func next(_ queue: Monitor<Queue>) -> PendingRead? {
        let found: PendingRead?? = queue.wait { queue -> PendingRead?? in
            guard queue.next < queue.waiting.count else { return queue.isClosing ? .some(nil) : nil }
            defer {
                queue.next += 1
                if queue.next == queue.waiting.count || queue.next > 1024 {
                    queue.waiting.removeFirst(queue.next)
                    queue.next = 0
                }
            }
            return .some(queue.waiting[queue.next])
        }
        return found ?? nil
    }
}

/// One reading thread's connection, with the time at which its read must end.
final class Reader: @unchecked Sendable {
    let connection: SQLiteConnection
    private let timeout: Duration
    private let deadline: UnsafeMutablePointer<Int>

    init(connection: SQLiteConnection, timeout: Duration) {
        self.connection = connection
        self.timeout = timeout
        deadline = .allocate(capacity: 1)
        deadline.initialize(to: .max)
        sqlite3_progress_handler(
            connection.pointer, 10_000,
            { context in
                guard let context else { return 0 }
                return Reader.now() > context.assumingMemoryBound(to: Int.self).pointee ? 1 : 0
            }, deadline)
    }

    deinit {
        sqlite3_progress_handler(connection.pointer, 0, nil, nil)
        deadline.deallocate()
    }

    func run(_ read: PendingRead) {
        let limit = Int(timeout.components.seconds) * 1_000_000_000 + Int(timeout.components.attoseconds / 1_000_000_000)
        deadline.pointee = Self.now() + limit
        do {
            try connection.beginReading()
            try read.run(Snapshot(connection: connection))
        } catch {
            read.failure = error
        }
        deadline.pointee = .max
        connection.rollBack()
    }

    private static func now() -> Int {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return time.tv_sec * 1_000_000_000 + time.tv_nsec
    }
}
