import IIIProtocol
import IIIStorage
import IIIWorker
import Logging
import NIOCore

/// What a start of `iii-cron` opens.
struct CronState: Sendable {
    let store: Store?
    let claims: any FireClaim
    let journal: any RunJournal
    /// Names this instance; kept in its store.
    let instance: String

    private static let find: SQL = "SELECT value FROM facts WHERE name = 'instance'"
    private static let put: SQL = "INSERT INTO facts VALUES('instance', ?)"

    /// Runs away from the event loop: opening takes the disk's time. Throws what keeps the store or the lock store from working.
    static func open(
        _ configuration: CronConfiguration, name: String, eventLoop: any EventLoop, logger: Logger
    ) async throws -> CronState {
        let maker = try await FireClaims.registry.open(configuration.adapter)
        var store: Store?
        var instance = UUIDBits.random().text
        if let directory = configuration.storeDirectory {
            let settings = StoreSettings(
                directory: directory.isEmpty ? "./data/\(name)" : directory,
                durability: Durability(rawValue: configuration.durability) ?? .full)
            let opened = try Store.open(settings, migrations: CronStore.migrations, logger: logger)
            let fresh = instance
            instance = try await opened.write { transaction in
                if let known = try transaction.first(find, { _ in }, { $0.text(0) }) { return known }
                try transaction.run(put) { $0.text(fresh) }
                return fresh
            }
            store = opened
        } else {
            logger.warning(
                .storeVolatile, "claims and history are kept in memory: a restart forgets which ticks have fired")
        }
        let site = FireClaimSite(instance: instance, store: store, eventLoop: eventLoop, logger: logger)
        let journal: any RunJournal =
            if let store { StoredJournal(store: store, limits: configuration.history, logger: logger) } else {
                MemoryJournal(limits: configuration.history)
            }
        do {
            return CronState(store: store, claims: try await maker(site), journal: journal, instance: instance)
        } catch {
            store?.close()
            throw error
        }
    }

    static func close(_ store: Store?) async { store?.close() }
}
