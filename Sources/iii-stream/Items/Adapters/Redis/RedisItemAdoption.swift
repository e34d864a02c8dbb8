import IIIProtocol
import IIIRedis
import Logging
import NIOCore

/// Finds groups that stand in Redis and not in the index: what the reference has written. Values without facts get theirs where they are met.
enum RedisItemAdoption {
    /// At the first start on a Redis before anything is served, later beside it.
    static func run(_ store: RedisItemStore) async throws {
        let mark = "\(store.keys.prefix)iii:adopted:\(store.keys.kind == .state ? "state" : "stream")"
        guard try await store.client.command("EXISTS", mark, isRepeatable: true).int == 0 else {
            Task { try? await scan(store) }
            return
        }
        try await scan(store)
        _ = try await store.client.command("SET", mark, "1", isRepeatable: true, isWrite: true)
    }

    private static func scan(_ store: RedisItemStore) async throws {
        var cursor = "0"
        var groups = 0
        repeat {
            let reply =
                try await store.client.command(
                    "SCAN", cursor, "MATCH", store.keys.pattern, "COUNT", "500", isRepeatable: true
                ).array ?? []
            guard reply.count == 2, let next = reply[0].text else { throw RedisItemReplies.unreadable }
            cursor = next
            for key in reply[1].array ?? [] {
                guard let bytes = key.bytes, let group = store.keys.group(ofKey: bytes) else { continue }
                // A stream whose name has a colon has its groups elsewhere; that key is another one's.
                guard String(decoding: bytes, as: UTF8.self) == store.keys.values(of: group) else { continue }
                if try await store.adopt(group) { groups += 1 }
            }
        } while cursor != "0"
        if groups > 0 { store.logger.notice("groups that another program has written were taken over", metadata: ["groups": "\(groups)"]) }
    }
}

extension RedisItemStore {
    /// Whether it was not known before.
    fileprivate func adopt(_ group: ItemGroup) async throws -> Bool {
        let member = RedisItemKeys.member(group)
        guard try await client.command("ZSCORE", keys.groups, member, isRepeatable: true).isNull else { return false }
        let count = try await client.run(
            RedisItemScripts.adopt, keys: keys.all(of: group),
            arguments: [[], Array(member.utf8)], isRepeatable: true)
        return (count.int ?? 0) > 0
    }
}

/// Says at the start what of the server's settings breaks a promise; docs/guarantees.md.
enum RedisServerCheck {
    static func run(_ client: RedisClient, logger: Logger) async throws {
        let facts = try await client.eventLoop.submit { client.facts }.get()
        if let version = facts?.version, let major = Int(version.prefix { $0 != "." }), major < 5 {
            throw RedisError(.unusable, "Redis \(version) is too old: the store's scripts need 5.0 or later")
        }
        guard facts?.isAppendOnly == true, let reply = try? await client.command("CONFIG", "GET", "appendfsync", isRepeatable: true),
            let policy = reply.array?.dropFirst().first?.text, policy != "always"
        else { return }
        logger.warning(
            .redisUnsafe,
            "Redis may lose \(policy == "no" ? "what the system has not written" : "its last second") when its machine fails: appendfsync is '\(policy)'; with 'always' nothing that was answered",
            metadata: ["redis": "\(client.settings.url.displayText)"])
    }
}
