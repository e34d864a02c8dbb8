import Glibc

/// Notices that the configuration file has another content, however it was saved: in place, by rename over it, by a swapped symlink
/// as Kubernetes does, or in a directory that was made anew.
///
/// Directories are watched, because a rename replaces the inode; but only names on the way to the file count, so a log file
/// beside the configuration triggers nothing. When a change is whole, says `SaveStability`.
package final class ConfigWatch {
    private let events = FileEvents()
    private let path: String
    private var names: [Int32: Set<String>] = [:]
    private var file: Int32?
    private var stability: SaveStability

    package init(path: String) {
        self.path = path
        stability = SaveStability(Self.fingerprint(path))
        watchAnew()
    }

    package var descriptor: Int32 { events.descriptor }
    /// Why changes of the file go unnoticed.
    package var problem: String? { events.problem }
    package var deadline: Duration? { stability.deadline }

    /// Reads what inotify has to say; call it when `descriptor` is readable.
    package func received(now: Duration) {
        var isElsewhere = false
        events.drain { event in
            if event.watch == file {
                if event.isWritten { stability.written(now: now) }
                if event.isClosed { stability.closed() }
                isElsewhere = isElsewhere || event.isEnd
            } else if event.isOverflow || event.name.isEmpty || names[event.watch]?.contains(event.name) == true {
                isElsewhere = true
            }
        }
        if isElsewhere { watchAnew() }
        stability.observed(Self.fingerprint(path), now: now)
    }

    /// True once per change, when its time has come.
    package func isDue(now: Duration) -> Bool {
        guard let deadline, now >= deadline else { return false }
        // Its last writes may not have been reported yet.
        received(now: now)
        return stability.isDue(now: now)
    }

    package func wasRead() { stability.wasRead() }

    package func hold(for duration: Duration, now: Duration) -> Bool { stability.hold(for: duration, now: now) }

    private func watchAnew() {
        var wanted: [Int32: Set<String>] = [:]
        for link in PathChain.links(of: path) {
            if let watch = events.watch(link.directory, .names) { wanted[watch, default: []].insert(link.name) }
        }
        for former in names.keys where wanted[former] == nil { events.end(former) }
        names = wanted
        let former = file
        file = events.watch(path, .file)
        if let former, former != file { events.end(former) }
    }

    private static func fingerprint(_ path: String) -> SaveStability.Fingerprint? {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        return SaveStability.Fingerprint(
            device: UInt64(status.st_dev), inode: UInt64(status.st_ino), size: Int64(status.st_size), mode: UInt32(status.st_mode),
            seconds: status.st_mtim.tv_sec, nanoseconds: status.st_mtim.tv_nsec)
    }
}
