import CSupervision
import Glibc

/// Notices that the configuration file has another content, however it was saved: in place, by rename over it, or by a
/// swapped symlink as Kubernetes does (docs/reference/supervisor.md#reload).
///
/// Directories are watched, because a rename replaces the inode; but only a change of what the path resolves to counts,
/// so a log file beside the configuration triggers nothing. A change is due 500 ms after the last event.
package final class ConfigWatch {
    package static let debounce: Duration = .milliseconds(500)

    private struct Fingerprint: Equatable {
        var device: UInt64
        var inode: UInt64
        var size: Int64
        var seconds: Int
        var nanoseconds: Int
    }

    package let descriptor: Int32
    private let path: String
    private var last: Fingerprint?
    private var watches: [Int32] = []
    /// When `isDue` will be true; nil when nothing has changed.
    package private(set) var deadline: Duration?

    package init(path: String) {
        self.path = path
        descriptor = csup_inotify_create()
        last = Self.fingerprint(path)
        watchDirectories()
    }

    deinit { close(descriptor) }

    /// Reads what inotify has to say; call it when `descriptor` is readable.
    package func received(now: Duration) {
        var buffer = [UInt8](repeating: 0, count: 16384)
        while read(descriptor, &buffer, buffer.count) > 0 {}
        let current = Self.fingerprint(path)
        // While a save is under way the file may be gone; its return is the change.
        guard let current, current != last else { return }
        last = current
        deadline = now + Self.debounce
        watchDirectories()
    }

    /// True once per change, when its time has come.
    package func isDue(now: Duration) -> Bool {
        guard let deadline, now >= deadline else { return false }
        self.deadline = nil
        return true
    }

    /// The directory of the path and of every symlink's target on the way.
    private func watchDirectories() {
        var current = path
        for _ in 0..<16 {
            let directory = current.lastIndex(of: "/").map { $0 == current.startIndex ? "/" : String(current[..<$0]) } ?? "."
            // Watching a directory again returns the same watch, so this does not add up.
            _ = csup_inotify_add_directory(descriptor, directory)
            var buffer = [UInt8](repeating: 0, count: 4096)
            let count = readlink(current, &buffer, buffer.count)
            guard count > 0 else { break }
            let target = String(decoding: buffer.prefix(count), as: UTF8.self)
            current = target.hasPrefix("/") ? target : directory + "/" + target
        }
        if let resolved = realpath(path, nil) {
            let target = String(cString: resolved)
            free(resolved)
            if let slash = target.lastIndex(of: "/") { _ = csup_inotify_add_directory(descriptor, String(target[..<slash])) }
        }
    }

    private static func fingerprint(_ path: String) -> Fingerprint? {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        return Fingerprint(
            device: UInt64(status.st_dev), inode: UInt64(status.st_ino), size: Int64(status.st_size), seconds: status.st_mtim.tv_sec,
            nanoseconds: status.st_mtim.tv_nsec)
    }
}
