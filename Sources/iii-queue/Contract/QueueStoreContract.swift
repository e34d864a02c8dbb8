import IIIQueue
import IIIWorker

/// What every `QueueStore` has to do, as cases that a test runs one by one:
///
/// ```swift
/// @Test(arguments: QueueStoreContract.cases) func keeps(_ promise: QueueStoreContract.Case) async throws {
///     try await promise.run { MyStore(url: server.url) }
/// }
/// ```
///
/// A case that needs an ability which the store does not name is passed over; those without any are the event level. A case begins with
/// nothing stored and may open the store several times, one after the other or, with the ability `sharing`, at a time. What a process left
/// behind that was not closed has to come back within 20 s.
public enum QueueStoreContract {
    /// A promise that a store did not keep.
    public struct Broken: Error, CustomStringConvertible {
        public let description: String
    }

    public struct Case: Sendable, CustomStringConvertible {
        /// What is promised.
        public let description: String
        /// What a store must be able to do for this to be asked of it.
        public let abilities: Set<QueueAbility>
        let body: @Sendable (Stores) async throws -> Void

        init(_ description: String, _ abilities: QueueAbility..., body: @escaping @Sendable (Stores) async throws -> Void) {
            self.description = description
            self.abilities = Set(abilities)
            self.body = body
        }

        /// Throws `Broken` where the store does otherwise. Answers whether it was asked.
        @discardableResult
        public func run(_ open: @escaping OpenQueueStore) async throws -> Bool {
            let stores = Stores(open: open)
            guard abilities.isSubset(of: try await open().abilities) else { return false }
            do { try await body(stores) } catch {
                await stores.closeAll()
                throw error
            }
            await stores.closeAll()
            return true
        }
    }

    /// All of them, for the arguments of a test.
    public static let cases: [Case] = eventLevel + ordering + deadLetters + looking + sharing

    static let queue = QueueKey.named("q")
    static let topicName = "orders"
    static let subscription = QueueKey.Subscription(topic: topicName, function: "f")
    static let topic = QueueKey.subscription(subscription)

    static func message(_ id: String, group: String? = nil, priority: Int = 0, function: String = "f") -> QueueMessage {
        QueueMessage(
            id: id, target: TargetFunction(function), payload: Array(#"{"id":"\#(id)"}"#.utf8), group: group, priority: priority,
            createdAt: 1)
    }

    static func binding(_ id: String, _ function: String = "f") -> StoredBinding {
        StoredBinding(
            id: id, subscription: .init(topic: topicName, function: function), config: Array(#"{"topic":"orders"}"#.utf8), metadata: nil,
            seenAt: 3)
    }

    static func failure(_ text: String, attempts: Int = 1) -> MessageProgress {
        var progress = MessageProgress()
        progress.attempts = attempts
        progress.add(DeliveryFailure(at: 5, code: "boom", message: text, stacktrace: "here"))
        return progress
    }

    static func demand(_ holds: Bool, _ what: String) throws {
        guard holds else { throw Broken(description: what) }
    }

    static func equal<Value: Equatable>(_ found: Value, _ wanted: Value, _ what: String) throws {
        guard found == wanted else { throw Broken(description: "\(what): \(found) instead of \(wanted)") }
    }

    /// Stores of one case.
    final class Stores: @unchecked Sendable {
        private let open: OpenQueueStore
        private var opened: [StoreUnderTest] = []

        init(open: @escaping OpenQueueStore) { self.open = open }

        /// One more, as one more process would.
        func start() async throws -> StoreUnderTest { try await startWithState().0 }

        func startWithState() async throws -> (StoreUnderTest, StoredState) {
            let (store, state) = try await StoreUnderTest.start(open, as: opened.isEmpty ? "contract" : "contract#\(opened.count + 1)")
            opened.append(store)
            return (store, state)
        }

        /// Ends one in good order.
        func close(_ store: StoreUnderTest) async {
            opened.removeAll { $0 === store }
            await store.close()
        }

        func closeAll() async {
            for store in opened { await store.close() }
            opened = []
        }
    }
}
