import CSQLite

/// Remembers in the lock file how far the log holds acknowledged writes.
///
/// SQLite reads a damaged log up to the damage and takes the rest for a write that was never finished: silence where
/// acknowledged data is missing. With this number beside it the next start knows, and refuses.
struct CommitWatermark {
    private let files: StoreFiles
    private let lock: StoreLock
    private(set) var record: StoreLock.Record
    private var areSaltsKnown = false

    init(files: StoreFiles, lock: StoreLock, durability: Durability) {
        self.files = files
        self.lock = lock
        record = StoreLock.Record()
        record.isInitialised = 1
        record.boot = StoreLock.currentBoot
        record.isSynced = durability == .full ? 1 : 0
    }

    /// The store is open: from here on its end counts as unclean until `closed`.
    mutating func opened() throws(StorageError) {
        try lock.write(record)
        try lock.sync()
    }

    /// A transaction is committed; the log has `frames` now. Called before anybody is answered.
    mutating func committed(frames: Int) {
        guard frames != Int(record.frames) || !areSaltsKnown else { return }
        if !areSaltsKnown {
            guard let salts = files.logSalts() else { return }
            record.logSalts = salts
            areSaltsKnown = true
        }
        record.frames = UInt64(frames)
        // The number is a lower bound: an old one that stays costs nothing but the check.
        try? lock.write(record)
    }

    /// Everything in the log is in the database as well, so that the log may begin anew.
    mutating func checkpointed() {
        areSaltsKnown = false
        guard record.frames != 0 else { return }
        record.frames = 0
        try? lock.write(record)
        // Before the log's next run: after a loss of power the old number would accuse it.
        try? lock.sync()
    }

    mutating func closed() {
        record.frames = 0
        record.isClean = 1
        try? lock.write(record)
        try? lock.sync()
    }

    /// Frames that the log must hold, going by what the last process has left; 0 = none.
    static func owedFrames(_ record: StoreLock.Record?) -> Int {
        guard let record, record.frames > 0 else { return 0 }
        // What was not synced before it was counted may be missing after a loss of power; that is what `normal` means.
        guard record.isSynced == 1 || record.boot == StoreLock.currentBoot else { return 0 }
        return Int(clamping: record.frames)
    }
}
