/// When a write counts as done (`durability` of a built-in's configuration).
public enum Durability: String, Sendable, CaseIterable {
    /// Synced to the disk: survives the death of the process and of the machine. The default.
    case full
    /// Handed to the system: survives the death of the process; the last moments may be lost with the power.
    case normal
    /// Answered at once and committed within 50 ms: the last moments may be lost with the process.
    case relaxed
}

/// How a store is to be run.
public struct StoreSettings: Sendable {
    /// The directory of the store, made if need be. Holds `store.db`, its log and `store.lock`.
    public var directory: String
    /// What an answered write has survived. Default `full`.
    public var durability: Durability
    /// Largest size of the database in bytes; nil = as large as the disk. The log beside it has 64 MiB at the most as a rule.
    public var quota: Int?
    /// Threads that read, each with its own connection.
    public var readers = 2
    /// Writes that may wait; more are refused as `overloaded`.
    public var maximumPendingWrites = 65_536
    /// Their bytes (`cost`).
    public var maximumPendingBytes = 64 << 20
    /// Reads that may wait; more are refused as `overloaded`.
    public var maximumPendingReads = 4096
    /// How long one read may take; a read that never ends would keep the log from being reused.
    public var readTimeout: Duration = .seconds(30)

    /// The rest has the defaults that stand at each property.
    public init(directory: String, durability: Durability = .full, quota: Int? = nil) {
        self.directory = directory
        self.durability = durability
        self.quota = quota
    }
}
