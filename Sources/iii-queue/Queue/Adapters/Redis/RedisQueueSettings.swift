import Glibc
import IIIRedis
import IIISettings
import IIIWorker
import NIOCore

/// What `adapter.config` of the `redis` store says.
struct RedisQueueSettings: Sendable {
    let url: RedisURL
    /// Leads every key, the version of their layout included.
    let prefix: String
    /// Milliseconds until what a process has that died or hangs is anybody's.
    let lease: Int
    /// Who takes back at its start what an earlier process had; the same for every process of an entry.
    var instance: String
    let waitReplicas: Int

    init(_ values: SettingValues) throws(ConfigurationError) {
        do throws(RedisError) { url = try RedisURL(values[QueueSettings.redisURL]) } catch {
            throw ConfigurationError("adapter.config.redis_url: \(error.message)")
        }
        prefix = (values[QueueSettings.keyPrefix] ?? "") + "iii:1:"
        lease = values[QueueSettings.lease].milliseconds
        instance = values[QueueSettings.instance] ?? Self.place
        waitReplicas = values[QueueSettings.waitReplicas]
    }

    /// Host and working directory.
    private static var place: String {
        var host = [CChar](repeating: 0, count: 256)
        gethostname(&host, host.count - 1)
        var path = [CChar](repeating: 0, count: Int(PATH_MAX))
        let directory = getcwd(&path, path.count) == nil ? "" : text(path)
        return text(host) + ":" + directory
    }

    private static func text(_ characters: [CChar]) -> String {
        String(decoding: characters.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    var client: RedisSettings {
        var settings = RedisSettings(url: url)
        settings.clientName = "iii-queue"
        // Callers hear within 5 s that Redis is away.
        settings.commandTimeout = .seconds(4)
        settings.waitReplicas = waitReplicas
        settings.waitTimeout = .seconds(2)
        settings.maximumReconnectDelay = .seconds(1)
        return settings
    }
}
