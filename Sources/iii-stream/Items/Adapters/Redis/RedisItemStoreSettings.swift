import IIIRedis
import IIISettings
import IIIWorker
import NIOCore

/// What `adapter.config` of the adapter `redis` says.
package struct RedisItemStoreSettings: Sendable {
    package var client: RedisSettings
    /// Leads every key and channel.
    package var prefix: String
    /// Items expire by the clock of the server, which all engines share; off only where a test moves the time.
    package var usesServerClock = true

    /// Throws what is wrong with the URL; `RedisItemKeys` looks at the prefix.
    package init(_ values: SettingValues) throws(ConfigurationError) {
        typealias Key = RedisItemSettings
        do throws(RedisError) { client = RedisSettings(url: try RedisURL(values[Key.url])) } catch {
            throw ConfigurationError("adapter.config.redis_url: \(error.message)")
        }
        prefix = values[Key.prefix] ?? ""
        client.waitReplicas = values[Key.waitReplicas]
        client.waitTimeout = TimeAmount(values[Key.waitTimeout])
        client.commandTimeout = TimeAmount(values[Key.commandTimeout])
        // Whoever waits for replicas has that time on top.
        if client.waitReplicas > 0 { client.commandTimeout = client.commandTimeout + client.waitTimeout }
    }

    package init(url: RedisURL, prefix: String = "") {
        client = RedisSettings(url: url)
        self.prefix = prefix
    }
}
