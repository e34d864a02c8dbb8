import IIISettings
import IIIWorker
import Synchronization

/// The lock stores that `adapter.name` of an `iii-cron` entry may name.
///
/// A store of your own: register it before `CoreWorkerProcess.main(CronWorker.self)` in an executable of yours, and name that with
/// `exec:` in the entry (docs/extending.md).
public enum FireClaims {
    private static let shared = Mutex(builtIns)

    /// What is registered by now.
    public static var registry: AdapterRegistry<FireClaimMaker> { shared.withLock { $0 } }

    public static func register(_ declaration: AdapterDeclaration, open: @escaping AdapterRegistry<FireClaimMaker>.Open) {
        shared.withLock { $0.register(declaration, open: open) }
    }

    private static var builtIns: AdapterRegistry<FireClaimMaker> {
        var registry = AdapterRegistry<FireClaimMaker>("cron lock store")
        registry.register(CronSettings.keyValueStore) { _ in
            { site in
                if let store = site.store { return StoredClaims(store: store) }
                return MemoryClaims()
            }
        }
        registry.register(CronSettings.redis) { values in
            let settings = try RedisClaimSettings(values)
            return { try await RedisClaims.open(settings, at: $0) }
        }
        return registry
    }
}
