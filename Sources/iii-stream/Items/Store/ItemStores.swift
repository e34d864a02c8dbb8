import IIIProtocol
import IIISettings
import IIIStorage
import IIITelemetry
import IIIWorker
import Synchronization

/// The stores that `adapter` can name, by the name of each. Begins with `kv`, the embedded one, and `redis`.
///
/// ```swift
/// ItemStores.state.register(AdapterDeclaration("cassandra", "A cluster.", SettingGroup { contactPoints })) { values in
///     { context in try await CassandraStore(values[contactPoints], context) }
/// }
/// StateWorker.main()
/// ```
public final class ItemStores: Sendable {
    /// The stores of the state.
    public static let state = ItemStores("state store", .keyValueStore())

    /// The stores of streams.
    public static let streams = ItemStores(
        "stream store", .keyValueStore(SettingGroup { KeyValueStoreSettings.channelSize }))

    private let registry: Mutex<AdapterRegistry<OpenItemStore>>

    package init(_ purpose: String, _ embedded: AdapterDeclaration) {
        var registry = AdapterRegistry<OpenItemStore>(purpose)
        registry.register(embedded) { values in
            { context in try await Self.openEmbedded(values, context) }
        }
        registry.register(.redisItems) { values in
            let settings = try RedisItemStoreSettings(values)
            return { context in try await RedisItemStore.open(settings, context) }
        }
        self.registry = Mutex(registry)
    }

    /// Adds a store, or takes the place of one. Before the worker's `main`.
    public func register(_ declaration: AdapterDeclaration, open: @escaping AdapterRegistry<OpenItemStore>.Open) {
        registry.withLock { $0.register(declaration, open: open) }
    }

    /// As it is now.
    public var current: AdapterRegistry<OpenItemStore> { registry.withLock { $0 } }

    /// The store of an adapter `kv` with these settings.
    private static func openEmbedded(_ values: SettingValues, _ context: ItemStoreContext) async throws -> any ItemStore {
        typealias Key = KeyValueStoreSettings
        if values[Key.method] == "in_memory" {
            context.logger.warning(
                .storeVolatile, "everything is kept in memory and lost when this process ends; store_method: file_based keeps it",
                metadata: ["max_memory_bytes": "\(values[Key.maximumMemory])"])
            return MemoryItemStore(maximumBytes: values[Key.maximumMemory], now: context.now)
        }
        let directory = values[Key.path] ?? "./data/\(context.entry)"
        let settings = StoreSettings(directory: directory, durability: Durability(rawValue: values[Key.durability]) ?? .full)
        do {
            let store = try await BlockingWork.value { try EmbeddedItemStore(settings, context: context) }
            try await store.begin()
            return store
        } catch let error as StorageError where !error.isRetryable {
            // Only a person can help: it is not tried again and again.
            throw ConfigurationError(error.message)
        }
    }
}
