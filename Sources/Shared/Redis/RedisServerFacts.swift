/// What a server says of itself (`INFO`), as far as it lets this user ask.
public struct RedisServerFacts: Sendable, Equatable {
    /// `redis_version`.
    public var version: String?
    /// `master` or `slave`.
    public var role: String?
    /// Part of a Redis Cluster, which cannot be used.
    public var isCluster = false
    /// `maxmemory` in bytes; 0 = no limit.
    public var maximumMemory: Int?
    /// `maxmemory-policy`; only `noeviction` loses nothing.
    public var evictionPolicy: String?
    /// The append-only file is on.
    public var isAppendOnly: Bool?
    /// Still reading its file: it takes no commands yet.
    public var isLoading = false

    /// Nothing known.
    public init() {}

    init(info text: String) {
        for line in text.split(whereSeparator: \.isNewline) {
            let pair = line.split(separator: ":", maxSplits: 1)
            guard pair.count == 2 else { continue }
            let value = String(pair[1])
            switch pair[0] {
            case "redis_version": version = value
            case "role": role = value
            case "cluster_enabled": isCluster = value == "1"
            case "maxmemory": maximumMemory = Int(value)
            case "maxmemory_policy": evictionPolicy = value
            case "aof_enabled": isAppendOnly = value == "1"
            case "loading": isLoading = value == "1"
            default: break
            }
        }
    }

    /// Why this server may lose what it has answered; a WARN line each. Empty = nothing known against it.
    public var warnings: [String] {
        var found: [String] = []
        if let evictionPolicy, evictionPolicy != "noeviction", maximumMemory != 0 {
            found.append("Redis may evict data: maxmemory-policy is '\(evictionPolicy)'; set it to noeviction")
        }
        if isAppendOnly == false {
            found.append("Redis may lose its last writes when it ends: the append-only file is off; set 'appendonly yes'")
        }
        return found
    }

    static let clusterError = RedisError(
        .unusable,
        "this server is part of a Redis Cluster, which is not supported; name a single primary, or one behind Sentinel or a proxy")
}
