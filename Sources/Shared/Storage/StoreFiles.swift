import Glibc

/// The files of a store in its directory.
package struct StoreFiles: Sendable {
    package let directory: String

    package init(directory: String) { self.directory = directory }

    package var database: String { directory + "/store.db" }
    /// SQLite's write-ahead log: what is committed and not in the database yet.
    package var log: String { database + "-wal" }
    package var sharedMemory: String { database + "-shm" }
    package var lock: String { directory + "/store.lock" }

    /// Makes the directory and those above it.
    func makeDirectory() throws(StorageError) {
        var path = directory.hasPrefix("/") ? "/" : ""
        for part in directory.split(separator: "/") {
            path += part + "/"
            guard mkdir(path, 0o750) != 0, errno != EEXIST else { continue }
            // A file system that is read-only says so even of what exists.
            let number = errno
            if access(path, X_OK) != 0 { throw .system(directory, "made", number: number) }
        }
    }

    /// Has the names in the directory reach the disk.
    func syncDirectory() throws(StorageError) {
        let descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .system(directory, "opened") }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw .system(directory, "synced") }
    }

    /// Size in bytes; nil when it is not there.
    static func size(of path: String) -> Int? {
        var status = stat()
        return stat(path, &status) == 0 ? Int(status.st_size) : nil
    }

    /// The first `count` bytes, or as many as there are.
    static func head(of path: String, count: Int) throws(StorageError) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .system(path, "read") }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: count)
        let got = pread(descriptor, &bytes, count, 0)
        guard got >= 0 else { throw .system(path, "read") }
        return Array(bytes.prefix(got))
    }

    /// What tells one run of the log from the next: two random numbers in its head. nil when there is none.
    func logSalts() -> UInt64? {
        guard let head = try? Self.head(of: log, count: 32), head.count == 32 else { return nil }
        return head[16..<24].reduce(0) { $0 << 8 | UInt64($1) }
    }
}
