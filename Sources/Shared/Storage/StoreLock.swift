import Glibc

/// The lock file of a store: one process at a time, and what that process knows to be stored.
///
/// The lock is the kernel's (`flock`) and dies with its process, however that ends. The file stays, for two reasons: a store that has
/// vanished is told from one that never was, and the record of what has been acknowledged outlives a `kill -9`.
final class StoreLock {
    /// What is known of the store beside the store itself.
    struct Record: Equatable {
        static let mark: UInt64 = 0x3130_7473_6969_6969

        var magic = Record.mark
        /// A database has been made here.
        var isInitialised: UInt64 = 0
        /// The last process that had the store closed it in order.
        var isClean: UInt64 = 0
        /// The start of the machine during which the rest was written.
        var boot: UInt64 = 0
        /// Every counted frame was on the disk before it was counted (`Durability.full`).
        var isSynced: UInt64 = 0
        /// The run of the log that `frames` counts.
        var logSalts: UInt64 = 0
        /// Frames of the log that hold acknowledged writes which the database may not have yet; 0 = nothing is owed by the log.
        var frames: UInt64 = 0
    }

    private static let recordOffset = 512
    private static let fileSize = 1024

    let path: String
    private let descriptor: Int32
    /// What the process before has left.
    let found: Record?

    /// Takes the lock, or says which process has it.
    init(path: String) throws(StorageError) {
        self.path = path
        descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o640)
        guard descriptor >= 0 else { throw .system(path, "written") }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let number = errno
            let holder = Self.holder(descriptor)
            close(descriptor)
            guard number == EWOULDBLOCK else { throw .system(path, "locked", number: number) }
            throw StorageError(
                .inUse,
                "the store '\(path)' is in use by process \(holder ?? "unknown"); stop that process, or give each its own directory")
        }
        found = Self.read(descriptor)
        // All of it now, so that a disk that fills up later cannot keep the record from being written.
        if found == nil { try Self.write([UInt8](repeating: 0x20, count: Self.fileSize), to: descriptor, at: 0, path) }
        let text = "process \(getpid())\n"
        try Self.write(Array(text.utf8) + [UInt8](repeating: 0x20, count: 64 - text.utf8.count), to: descriptor, at: 0, path)
    }

    deinit {
        release()
        close(descriptor)
    }

    /// Lets others have the store; nothing may be written afterwards.
    ///
    /// Closing alone is not enough: a process that this one is just starting has a copy of the descriptor until its `exec`, and
    /// with it the lock.
    func release() { flock(descriptor, LOCK_UN) }

    /// Writes the record; it survives the death of this process, and that of the machine once `sync` has returned.
    func write(_ record: Record) throws(StorageError) {
        let bytes = withUnsafeBytes(of: record) { Array($0) }
        try Self.write(bytes, to: descriptor, at: Self.recordOffset, path)
    }

    func sync() throws(StorageError) {
        guard fdatasync(descriptor) == 0 else { throw .system(path, "synced") }
    }

    /// The process that holds the lock of a store; nil when nobody does.
    static func holder(path: String) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        guard flock(descriptor, LOCK_SH | LOCK_NB) != 0 else {
            flock(descriptor, LOCK_UN)
            return nil
        }
        return holder(descriptor) ?? "unknown"
    }

    private static func holder(_ descriptor: Int32) -> String? {
        var bytes = [UInt8](repeating: 0, count: 64)
        guard pread(descriptor, &bytes, bytes.count, 0) == bytes.count else { return nil }
        let line = bytes.prefix { $0 != 0x0a }
        return String(decoding: line, as: UTF8.self).split(separator: " ").last.map(String.init)
    }

    private static func read(_ descriptor: Int32) -> Record? {
        var record = Record()
        let count = MemoryLayout<Record>.size
        let got = withUnsafeMutableBytes(of: &record) { pread(descriptor, $0.baseAddress, count, recordOffset) }
        return got == count && record.magic == Record.mark ? record : nil
    }

    private static func write(_ bytes: [UInt8], to descriptor: Int32, at offset: Int, _ path: String) throws(StorageError) {
        guard pwrite(descriptor, bytes, bytes.count, off_t(offset)) == bytes.count else { throw .system(path, "written") }
    }

    /// A number of the machine's current start, so that what lived in memory only is not expected after the next.
    static let currentBoot: UInt64 = {
        let text = (try? StoreFiles.head(of: "/proc/sys/kernel/random/boot_id", count: 36)) ?? []
        return text.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
    }()
}
