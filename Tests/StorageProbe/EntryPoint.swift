import Glibc
import IIIStorage
import Logging
import Synchronization

/// A process with a store in it, for the tests of `StorageTests` that need one to kill, to fill up, or to lock out.
@main
struct StoreProbe {
    static func main() async {
        let words = Array(CommandLine.arguments.dropFirst())
        guard words.count >= 2 else {
            say("usage: store-probe write|churn|verify|hold|full|open|bench DIRECTORY …")
            exit(2)
        }
        do {
            switch words[0] {
            case "write": try await write(words[1], seed: UInt64(words[2]) ?? 0, durability: Durability(rawValue: words[3]) ?? .full)
            case "churn": try await churn(words[1], seed: UInt64(words[2]) ?? 0)
            case "verify": try await verify(words[1], seed: UInt64(words[2]) ?? 0, acknowledged: Int(words[3]) ?? 0)
            case "hold": try hold(words[1])
            case "full": try await full(words[1])
            case "open": try open(words[1], user: words.count > 2 ? uid_t(words[2]) : nil)
            case "bench":
                try await bench(
                    words[1], durability: Durability(rawValue: words[2]) ?? .full, rows: Int(words[3]) ?? 0, batch: Int(words[4]) ?? 0)
            default: exit(2)
            }
        } catch let error as StorageError {
            say("refused \(error.code.rawValue): \(error.message)")
            exit(1)
        } catch {
            say("failed: \(error)")
            exit(1)
        }
    }

    /// One `write(2)` per line: what is said is said, whatever kills us next.
    static func say(_ line: String) {
        let bytes = Array((line + "\n").utf8)
        _ = Glibc.write(1, bytes, bytes.count)
    }

    static func open(_ directory: String, durability: Durability = .full) throws -> Store {
        try Store.open(
            StoreSettings(directory: directory, durability: durability), migrations: Operations.migrations, logger: Logger(label: "probe"))
    }

    /// Writes without end, up to 64 at a time, and says the number of each that is acknowledged.
    static func write(_ directory: String, seed: UInt64, durability: Durability) async throws {
        let store = try open(directory, durability: durability)
        let operations = Operations(seed: seed)
        let start = try await store.read { try Operations.stored($0) } ?? 0
        say("start \(start)")
        let window = Window()
        let executor = StoreExecutor { $0() }
        for number in start... {
            await window.enter()
            store.write(cost: 600, on: executor) {
                try operations.apply(number, to: $0)
            } completion: { result in
                if case .failure(let error) = result { say("failed \(number): \(error)") } else { say("ack \(number + 1)") }
                window.leave()
            }
        }
    }

    /// Opens, writes once, closes, and says how many writes are stored; without end.
    static func churn(_ directory: String, seed: UInt64) async throws {
        let operations = Operations(seed: seed)
        while true {
            let store = try open(directory)
            let number = try await store.read { try Operations.stored($0) } ?? 0
            try await store.write(cost: 600) { try operations.apply(number, to: $0) }
            store.close()
            say("ack \(number + 1)")
        }
    }

    /// Says `ok N`, `detected …` or `WRONG …`.
    static func verify(_ directory: String, seed: UInt64, acknowledged: Int) async throws {
        let store = try open(directory)
        defer { store.close() }
        let operations = Operations(seed: seed)
        guard let count = try await store.read({ try Operations.stored($0) }) else { return say("detected: progress") }
        let (detected, wrong) = try await store.read { try operations.compare($0, count: count) }
        while store.status().integrity == .running { try await Task.sleep(for: .milliseconds(1)) }
        if case .damaged(let findings) = store.status().integrity { return say("detected: \(findings)") }
        if detected > 0 { return say("detected: \(detected) rows") }
        if count < acknowledged { return say("WRONG: \(count) writes stored, \(acknowledged) acknowledged") }
        say(wrong.isEmpty ? "ok \(count)" : "WRONG: \(wrong.joined(separator: ", "))")
    }

    /// Keeps the store open until its standard input ends.
    static func hold(_ directory: String) throws {
        let store = try open(directory)
        say("open")
        var byte: UInt8 = 0
        while Glibc.read(0, &byte, 1) > 0 {}
        store.close()
    }

    /// Opens and closes, perhaps as somebody without rights.
    static func open(_ directory: String, user: uid_t?) throws {
        if let user, setuid(user) != 0 { return say("skipped: not root") }
        let store = try open(directory, durability: .full)
        store.close()
        say("open")
    }

    /// Fills the file system of `directory`, where a file `ballast` takes up some of it, and goes on once that is gone.
    static func full(_ directory: String) async throws {
        let store = try open(directory + "/store")
        let insert = SQL("INSERT INTO items VALUES(?, 0, ?, 0)")
        @Sendable func put(_ id: Int, size: Int) async throws {
            try await store.write(cost: size) { transaction in
                try transaction.run(insert) {
                    $0.int(id)
                    $0.bytes([UInt8](repeating: 7, count: size))
                }
            }
        }
        var stored = 0
        var failure: StorageError?
        while failure == nil, stored < 10_000 {
            do {
                try await put(stored, size: 32_768)
                stored += 1
            } catch let error as StorageError {
                failure = error
            }
        }
        guard let failure, failure.code == .diskFull, failure.isRetryable else { return say("WRONG: \(String(describing: failure))") }
        guard store.status().numbers.isInTrouble else { return say("WRONG: nobody is told") }
        // What needs no more room than there is goes through beside one that does not.
        async let large: Void = put(1_000_000, size: 3 << 20)
        async let count = store.read { try $0.first(SQL("SELECT count(*) FROM items")) { $0.int(0) } ?? 0 }
        guard try await count == stored else { return say("WRONG: reads do not go on") }
        if (try? await large) != nil { return say("WRONG: more stored than there is room") }
        unlink(directory + "/ballast")
        try await put(stored, size: 32_768)
        stored += 1
        guard !store.status().numbers.isInTrouble else { return say("WRONG: still in trouble") }
        store.close()
        let again = try open(directory + "/store")
        let found = try await again.read { try $0.first(SQL("SELECT count(*) FROM items")) { $0.int(0) } ?? 0 }
        again.close()
        say(found == stored ? "ok \(stored)" : "WRONG: \(found) of \(stored)")
    }

    /// Rows of 256 bytes, `batch` in flight at a time; says rows per second. benchmarks/store.c does the same without us.
    static func bench(_ directory: String, durability: Durability, rows: Int, batch: Int) async throws {
        let store = try Store.open(
            StoreSettings(directory: directory, durability: durability),
            migrations: [Migration(sql: "CREATE TABLE messages(id INTEGER PRIMARY KEY, queue TEXT NOT NULL, payload BLOB NOT NULL)")],
            logger: Logger(label: "bench"))
        let insert = SQL("INSERT INTO messages(queue, payload) VALUES(?, ?)")
        let payload = [UInt8](repeating: 120, count: 256)
        let executor = StoreExecutor { $0() }
        let clock = ContinuousClock()
        let start = clock.now
        var left = rows
        while left > 0 {
            let count = min(batch, left)
            left -= count
            let done = Countdown(count)
            for _ in 0..<count {
                store.write(cost: 256, on: executor) { transaction in
                    try transaction.run(insert) {
                        $0.text("default")
                        $0.bytes(payload)
                    }
                } completion: { _ in
                    done.arrive()
                }
            }
            done.wait()
        }
        let elapsed = start.duration(to: clock.now)
        store.close()
        let seconds = Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) * 1e-18
        say("\(Int(Double(rows) / seconds))")
    }
}

/// At most 64 writes under way.
final class Window: Sendable {
    private let state = Mutex((count: 0, waiter: CheckedContinuation<Void, Never>?.none))

    func enter() async {
        await withCheckedContinuation { continuation in
            let free = state.withLock { state in
                guard state.count < 64 else {
                    state.waiter = continuation
                    return false
                }
                state.count += 1
                return true
            }
            if free { continuation.resume() }
        }
    }

    func leave() {
        let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
            guard let waiter = state.waiter else {
                state.count -= 1
                return nil
            }
            state.waiter = nil
            return waiter
        }
        waiter?.resume()
    }
}

/// Blocks its one waiter until `count` have arrived.
final class Countdown: @unchecked Sendable {
    private let left: Mutex<Int>
    private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)

    init(_ count: Int) {
        left = Mutex(count)
        sem_init(semaphore, 0, 0)
    }

    deinit {
        sem_destroy(semaphore)
        semaphore.deallocate()
    }

    func arrive() {
        if left.withLock({ left in
            left -= 1
            return left == 0
        }) {
            sem_post(semaphore)
        }
    }

    func wait() { sem_wait(semaphore) }
}
