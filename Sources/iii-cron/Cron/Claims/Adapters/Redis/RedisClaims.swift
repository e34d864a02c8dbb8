import IIIProtocol
import IIIRedis
import Logging
import NIOCore

/// The lock store of several instances, in Redis: what is exact here is decided by scripts and by the server's clock.
final class RedisClaims: FireClaim {
    private let client: RedisClient
    private let settings: RedisClaimSettings
    private let instance: String

    /// One after the other, thousands of runs could not be renewed within a third of a lease.
    private static let renewalsAtOnce = 128
    private static let scripts = [
        RedisClaimScripts.claim, RedisClaimScripts.renew, RedisClaimScripts.finish, RedisClaimScripts.leave,
    ]

    private init(client: RedisClient, settings: RedisClaimSettings, instance: String) {
        self.client = client
        self.settings = settings
        self.instance = instance
    }

    /// Connects; throws when that does not succeed within 5 s.
    static func open(_ settings: RedisClaimSettings, at site: FireClaimSite) async throws -> RedisClaims {
        let client = try await RedisClient.open(
            settings.client, scripts: scripts, on: site.eventLoop, logger: site.logger, consequence: "ticks are claimed when it is back")
        return RedisClaims(client: client, settings: settings, instance: site.instance)
    }

    // MARK: Keys

    private func key(_ parts: String...) -> String { settings.prefix + parts.joined(separator: ":") }
    private func tickKey(_ claim: HeldClaim) -> String { key("cron_tick", claim.identity, "\(claim.ordinal)", "\(claim.tick)") }
    private func jobRunKey(_ claim: HeldClaim) -> String { key("cron_run", claim.identity, "\(claim.ordinal)") }
    private func tickRunKey(_ claim: HeldClaim) -> String { key("cron_run", claim.identity, "\(claim.ordinal)", "\(claim.tick)") }
    private func runKey(_ claim: HeldClaim) -> String { claim.lease == .tick ? tickRunKey(claim) : jobRunKey(claim) }
    private var openKey: String { key("cron_open", instance) }

    /// A claim as a member of the set of open ones.
    private func member(_ claim: HeldClaim) -> [UInt8] {
        let value: JSONValue = [
            "identity": .string(claim.identity), "ordinal": JSONValue(claim.ordinal), "owner": .string(claim.owner),
            "tick": JSONValue(claim.tick),
        ]
        return value.bytes
    }

    private func claim(ofMember bytes: [UInt8]) -> HeldClaim? {
        guard let value = try? JSONValue(parsing: bytes), let identity = value["identity"]?.string, let owner = value["owner"]?.string,
            let ordinal = value["ordinal"]?.integer, let tick = value["tick"]?.integer
        else { return nil }
        return HeldClaim(identity: identity, ordinal: Int(ordinal), tick: Int(tick), owner: owner, lease: .tick)
    }

    // MARK: FireClaim

    var lease: Int? { settings.lease }

    func recover() async throws -> [HeldClaim] {
        let members = try await client.command("SMEMBERS", openKey, isRepeatable: true).array ?? []
        var left: [HeldClaim] = []
        for bytes in members.compactMap(\.bytes) {
            guard let claim = claim(ofMember: bytes) else { continue }
            _ = try await client.run(
                RedisClaimScripts.leave, keys: [openKey, jobRunKey(claim), tickRunKey(claim)],
                arguments: [Array(claim.owner.utf8), bytes], isRepeatable: true)
            left.append(claim)
        }
        return left.sorted { ($0.tick, $0.identity, $0.ordinal) < ($1.tick, $1.identity, $1.ordinal) }
    }

    func claim(_ request: ClaimRequest) async throws -> ClaimOutcome {
        let held = HeldClaim(
            identity: request.identity, ordinal: request.ordinal, tick: request.tick, owner: request.owner, lease: request.lease)
        let answer = try await client.run(
            RedisClaimScripts.claim,
            keys: [
                tickKey(held), runKey(held), openKey, key("cron_paused"), key("cron_runs", request.identity, "\(request.ordinal)"),
                key("cron_fence"), jobRunKey(held), tickRunKey(held),
            ],
            arguments: [
                request.owner, request.intent.rawValue, request.lease.rawValue, "\(request.timeToLive)", "\(settings.lease)",
                "\(request.maximumRuns ?? 0)", request.isInitiallyPaused ? "1" : "0", request.takesOverLost ? "1" : "0", request.identity,
            ].map { Array($0.utf8) } + [member(held)],
            // The same owner's claim is granted again, so nothing is lost by asking twice.
            isRepeatable: true)
        let values = answer.array ?? []
        switch values.first?.text {
        case "granted" where values.count == 3: return .granted(fence: values[1].int ?? 0, attempt: values[2].int ?? 1)
        case "taken" where values.count == 2: return .taken(isOpen: values[1].int == 1)
        case "overlaps": return .overlaps
        case "paused": return .paused
        case "exhausted": return .exhausted
        default: throw RedisError(.failed, "Redis has answered a claim with something else than a claim's outcome")
        }
    }

    func renew(_ claims: [HeldClaim]) async throws -> [String] {
        var lost: [String] = []
        for start in stride(from: 0, to: claims.count, by: Self.renewalsAtOnce) {
            try await withThrowingTaskGroup(of: String?.self) { group in
                for claim in claims[start..<min(start + Self.renewalsAtOnce, claims.count)] {
                    group.addTask { [self] in try await hasLease(claim) ? nil : claim.owner }
                }
                for try await owner in group { if let owner { lost.append(owner) } }
            }
        }
        return lost
    }

    private func hasLease(_ claim: HeldClaim) async throws -> Bool {
        let arguments = [claim.owner, "\(settings.lease)", claim.lease.rawValue].map { Array($0.utf8) }
        let answer = try await client.run(
            RedisClaimScripts.renew, keys: [runKey(claim), tickKey(claim)], arguments: arguments, isRepeatable: true)
        return answer.int == 1
    }

    func finish(_ claim: HeldClaim) async throws {
        _ = try await client.run(
            RedisClaimScripts.finish, keys: [tickKey(claim), openKey, jobRunKey(claim), tickRunKey(claim)],
            arguments: [Array(claim.owner.utf8), member(claim)], isRepeatable: true)
    }

    func setPaused(_ identity: String, _ isPaused: Bool?) async throws {
        if let isPaused {
            _ = try await client.command("HSET", key("cron_paused"), identity, isPaused ? "1" : "0", isRepeatable: true, isWrite: true)
        } else {
            _ = try await client.command("HDEL", key("cron_paused"), identity, isRepeatable: true, isWrite: true)
        }
    }

    func pauses() async throws -> [String: Bool] {
        let values = try await client.command("HGETALL", key("cron_paused"), isRepeatable: true).array ?? []
        return stride(from: 0, to: values.count - 1, by: 2).reduce(into: [:]) { found, index in
            if let identity = values[index].text { found[identity] = values[index + 1].text == "1" }
        }
    }

    func close() async {
        let client = client
        try? await client.eventLoop.submit { client.stop() }.get()
    }
}
