import IIIRedis
import IIISettings
import IIIWorker
import NIOCore

/// What `adapter.config` of the `redis` lock store says.
struct RedisClaimSettings: Sendable {
    let url: RedisURL
    /// Leads every key, so that several systems can share a server.
    let prefix: String
    /// Milliseconds until the run of a process that died or hangs is taken for lost.
    let lease: Int

    init(_ values: SettingValues) throws(ConfigurationError) {
        do throws(RedisError) { url = try RedisURL(values[CronSettings.redisURL]) } catch {
            throw ConfigurationError("adapter.config.redis_url: \(error.message)")
        }
        prefix = values[CronSettings.keyPrefix] ?? ""
        lease =
            Int(values[CronSettings.lease].components.seconds) * 1_000
            + Int(values[CronSettings.lease].components.attoseconds / 1_000_000_000_000_000)
    }

    var client: RedisSettings {
        var settings = RedisSettings(url: url)
        settings.clientName = "iii-cron"
        // Shorter than the time for which a claim is tried, so that it is tried more than once.
        settings.commandTimeout = .seconds(2)
        return settings
    }
}
