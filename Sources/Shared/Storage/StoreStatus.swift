/// What a store has counted since it was opened.
public struct StoreNumbers: Sendable, Equatable {
    /// Transactions; each has one write or many.
    public internal(set) var commits = 0
    /// Writes that have succeeded.
    public internal(set) var writes = 0
    /// Writes that were answered with an error.
    public internal(set) var failedWrites = 0
    /// Writes that were not taken because too much waited.
    public internal(set) var refusedWrites = 0
    /// Writes that were answered and could not be committed afterwards; only with `Durability.relaxed`.
    public internal(set) var lostWrites = 0
    /// Rows in quarantine, of all time.
    public internal(set) var quarantinedRows = 0
    /// Pages of 4 KiB in the log.
    public internal(set) var logFrames = 0
    /// The last writes failed for want of space or a working disk.
    public internal(set) var isInTrouble = false
}

/// How a store is doing.
public struct StoreStatus: Sendable, Equatable {
    /// What the check of the file's structure has found, or whether there is one.
    public enum Integrity: Sendable, Equatable {
        /// It was closed in order the last time, and is too large to be checked at every start; or it is new.
        case notNeeded
        case running
        case intact
        /// The first findings of SQLite's check.
        case damaged([String])
    }

    /// What was counted since the store was opened.
    public var numbers: StoreNumbers
    /// Writes that wait for their commit.
    public var pendingWrites: Int
    /// Their cost in bytes, as whoever gave them has told it.
    public var pendingBytes: Int
    /// Size of `store.db`.
    public var databaseBytes: Int
    /// Size of `store.db-wal`.
    public var logBytes: Int
    /// Of the structure; values are checked by their checksums when they are read.
    public var integrity: Integrity
}
