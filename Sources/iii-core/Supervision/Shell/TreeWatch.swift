import CSupervision
import Glibc

/// Watches the directory trees of one `iii-exec` entry and says when a matching file has changed
/// (docs/reference/supervisor.md#starting).
///
/// Created, deleted, renamed and written files count, new directories are watched as they appear. A change is due 150 ms
/// after its last event. Limit: 8192 directories per entry; more are reported once and not watched.
package final class TreeWatch {
    package static let debounce: Duration = .milliseconds(150)
    package static let maximumDirectories = 8192

    package let descriptor: Int32
    private let pattern: WatchPattern
    private let base: String?
    private var directories: [Int32: String] = [:]
    package private(set) var deadline: Duration?
    /// What could not be watched, for the log.
    package private(set) var complaints: [String] = []

    /// - Parameter base: the directory relative patterns start from; nil for the current one.
    package init(pattern: WatchPattern, base: String?) {
        self.pattern = pattern
        self.base = base
        descriptor = csup_inotify_create()
        for root in pattern.roots { add(root, isRoot: true) }
    }

    deinit { close(descriptor) }

    package func received(now: Duration) {
        var buffer = [CChar](repeating: 0, count: 65536)
        while true {
            let size = read(descriptor, &buffer, buffer.count)
            guard size > 0 else { return }
            var offset = 0
            var event = csup_file_event()
            while buffer.withUnsafeBufferPointer({ csup_inotify_next($0.baseAddress, size, &offset, &event) }) != 0 { process(event, now) }
        }
    }

    package func isDue(now: Duration) -> Bool {
        guard let deadline, now >= deadline else { return false }
        self.deadline = nil
        return true
    }

    private func process(_ event: csup_file_event, _ now: Duration) {
        if event.is_overflow != 0 {
            // Something changed and nobody knows what; running again is the safe answer.
            deadline = now + Self.debounce
            return
        }
        guard let directory = directories[event.watch] else { return }
        if event.is_ignored != 0 {
            directories[event.watch] = nil
            return
        }
        let name = String(cString: event.name)
        guard !name.isEmpty, event.is_attribute == 0 else { return }
        let path = directory == "." ? name : directory + "/" + name
        if event.is_directory != 0 {
            if event.is_new != 0 { add(path, isRoot: false, countsFiles: true, now) }
        } else if pattern.matches(path) {
            deadline = now + Self.debounce
        }
    }

    private func add(_ path: String, isRoot: Bool, countsFiles: Bool = false, _ now: Duration = .zero) {
        guard directories.count < Self.maximumDirectories else {
            if complaints.isEmpty { complaints.append("more than \(Self.maximumDirectories) directories to watch; add some to `ignore`") }
            return
        }
        let absolute = path.hasPrefix("/") ? path : (base.map { $0 + "/" } ?? "") + path
        let watch = csup_inotify_watch_entries(descriptor, absolute)
        guard watch >= 0 else {
            if isRoot { complaints.append("cannot watch '\(path)': \(ProcessSpawner.text(errno))") }
            return
        }
        directories[watch] = path
        guard let stream = opendir(absolute) else { return }
        defer { closedir(stream) }
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name == "." || name == ".." || pattern.ignores(directory: name) { continue }
            let child = path == "." ? name : path + "/" + name
            if Int32(entry.pointee.d_type) == Int32(DT_DIR) {
                add(child, isRoot: false, countsFiles: countsFiles, now)
            } else if countsFiles, pattern.matches(child) {
                // Written before the new directory could be watched.
                deadline = now + Self.debounce
            }
        }
    }
}
