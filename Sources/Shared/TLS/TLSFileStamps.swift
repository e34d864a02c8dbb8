import Glibc

/// Tells whether files have changed, at the price of one `stat` each. Links are followed, so a link that is turned counts too.
package struct TLSFileStamps: Equatable, Sendable {
    private struct Stamp: Equatable {
        var device: UInt64
        var inode: UInt64
        var size: Int64
        var seconds: Int
        var nanoseconds: Int
    }

    /// nil for a file that is not there.
    private let stamps: [Stamp?]

    package init(_ settings: TLSServerSettings) {
        stamps = settings.files.map { file in
            var status = stat()
            guard stat(file.path, &status) == 0 else { return nil }
            return Stamp(
                device: UInt64(status.st_dev), inode: UInt64(status.st_ino), size: Int64(status.st_size),
                seconds: status.st_mtim.tv_sec, nanoseconds: status.st_mtim.tv_nsec)
        }
    }
}
