import IIIItems
import Logging
import NIOCore
import NIOPosix
import Synchronization

/// A time of day that only a test moves.
final class StoreClock: Sendable {
    private let time = Atomic(1_700_000_000_000)

    var now: Int { time.load(ordering: .relaxed) }
    func advance(_ milliseconds: Int) { time.wrappingAdd(milliseconds, ordering: .relaxed) }
}

/// A store with its event loop, asked from asynchronous code.
struct StoreUnderTest: Sendable {
    let store: any ItemStore
    let clock: StoreClock
    private let loop: any EventLoop

    init(_ open: OpenItemStore) async throws {
        let (clock, loop) = (StoreClock(), MultiThreadedEventLoopGroup.singleton.next())
        var logger = Logger(label: "store-under-test")
        logger.logLevel = .critical
        self.clock = clock
        self.loop = loop
        store = try await open(
            ItemStoreContext(entry: "under-test", logger: logger, now: { clock.now }, eventLoop: loop) { work in loop.execute(work) })
    }

    /// Calls `begin` on the event loop and waits for its completion.
    private func asked<Value: Sendable>(
        _ begin: @escaping @Sendable (any ItemStore, @escaping @Sendable (Result<Value, any Error>) -> Void) -> Void
    ) async throws -> Value {
        try await withCheckedThrowingContinuation { waiting in
            loop.execute { begin(store) { waiting.resume(with: $0) } }
        }
    }

    func change(
        _ group: ItemName, _ key: ItemName, _ decide: @escaping @Sendable (StoredItem?) throws -> ItemEdit
    ) async throws -> ItemChange {
        try await asked { $0.change(Self.address(group, key), cost: 64, decide, completion: $1) }
    }

    func set(_ group: ItemName, _ key: ItemName, _ text: String, expiry: ItemEdit.Expiry = .never) async throws -> ItemChange {
        try await change(group, key) { _ in ItemEdit(.store(Array(text.utf8)), expiry: expiry) }
    }

    func get(_ group: ItemName, _ key: ItemName) async throws -> String? {
        let reading: ItemReading = try await asked { $0.read(Self.address(group, key), completion: $1) }
        return reading.item.map { String(decoding: $0.text, as: UTF8.self) }
    }

    func list(_ group: ItemName, _ page: ItemPage) async throws -> ItemListing {
        try await asked { $0.list(ItemGroup(name: group), page, completion: $1) }
    }

    func keys(_ group: ItemName) async throws -> [ItemName] { try await list(group, ItemPage()).entries.map(\.key) }
    func groups() async throws -> [ItemName] { try await asked { $0.groups(of: "", completion: $1) } }
    func count(_ group: ItemName) async throws -> Int { try await asked { $0.count(ItemGroup(name: group), completion: $1) } }

    /// Stores one text under several keys in one step; one of them may fail.
    func setAll(_ group: ItemName, _ keys: [ItemName], _ text: String, failingAt bad: ItemName? = nil) async throws -> [ItemChange] {
        let steps = keys.map { key in
            ItemStep(key: key, cost: text.utf8.count) { _ in
                if key == bad { throw ItemStoreContract.Broken(description: "on purpose") }
                return ItemEdit(.store(Array(text.utf8)))
            }
        }
        return try await asked { $0.changeAll(in: ItemGroup(name: group), steps, completion: $1) }
    }

    func removeExpired() async throws -> [ExpiredItem] { try await asked { $0.removeExpired(limit: 100, completion: $1) } }

    /// Changes one item many times without waiting in between; answers the revisions in the order of the completions.
    func burst(_ count: Int) async throws -> [Int] {
        try await withCheckedThrowingContinuation { waiting in
            let seen = SeenRevisions()
            loop.execute {
                for number in 0..<count {
                    store.change(Self.address("s", "k"), cost: 64) { _ in
                        ItemEdit(.store(Array("\(number)".utf8)))
                    } completion: { result in
                        seen.add(result.map(\.revision), of: count, waiting)
                    }
                }
            }
        }
    }

    private static func address(_ group: ItemName, _ key: ItemName) -> ItemAddress {
        ItemAddress(group: ItemGroup(name: group), key: key)
    }
}

/// Revisions in the order in which they were told.
private final class SeenRevisions: Sendable {
    private let all = Mutex<[Int]>([])

    func add(_ result: Result<Int, any Error>, of count: Int, _ waiting: CheckedContinuation<[Int], any Error>) {
        switch result {
        case .success(let revision):
            let seen = all.withLock {
                $0.append(revision)
                return $0
            }
            if seen.count == count { waiting.resume(returning: seen) }
        case .failure(let error): waiting.resume(throwing: error)
        }
    }
}
