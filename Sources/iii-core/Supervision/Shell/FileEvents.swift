import CSupervision
import Glibc

/// One inotify instance: what happens to files and directories, as a stream of events.
final class FileEvents {
    struct Event {
        var watch: Int32
        /// Of the entry, `""` when the event is about the watched thing itself.
        var name: String
        var isDirectory: Bool
        /// Created or moved in.
        var isNew: Bool
        /// Something was lost: everything may have changed.
        var isOverflow: Bool
        /// The watch has ended: what it was on is gone.
        var isEnd: Bool
        var isWritten: Bool
        /// Somebody who could write has closed it.
        var isClosed: Bool
        var isAttribute: Bool
    }

    enum Subject { case names, entries, file }

    /// Readable when there are events; -1 when the kernel gives no more instances (`fs.inotify.max_user_instances`).
    let descriptor: Int32
    /// Why `descriptor` is -1.
    let problem: String?

    init() {
        descriptor = csup_inotify_create()
        problem = descriptor < 0 ? "\(ProcessSpawner.text(errno)) (fs.inotify.max_user_instances)" : nil
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// The number of the watch, the same for the same file under any path; nil with `errno`.
    func watch(_ path: String, _ subject: Subject) -> Int32? {
        let number =
            switch subject {
            case .names: csup_inotify_watch_names(descriptor, path)
            case .entries: csup_inotify_watch_entries(descriptor, path)
            case .file: csup_inotify_watch_file(descriptor, path)
            }
        return number < 0 ? nil : number
    }

    func end(_ watch: Int32) { csup_inotify_unwatch(descriptor, watch) }

    /// Reads what there is.
    func drain(_ body: (Event) -> Void) {
        var buffer = [CChar](repeating: 0, count: 65536)
        while true {
            let size = read(descriptor, &buffer, buffer.count)
            guard size > 0 else { return }
            var offset = 0
            var raw = csup_file_event()
            while let event = buffer.withUnsafeBufferPointer({ bytes -> Event? in
                csup_inotify_next(bytes.baseAddress, size, &offset, &raw) != 0 ? Event(raw) : nil
            }) { body(event) }
        }
    }
}

extension FileEvents.Event {
    fileprivate init(_ raw: csup_file_event) {
        self.init(
            watch: raw.watch, name: String(cString: raw.name), isDirectory: raw.is_directory != 0, isNew: raw.is_new != 0,
            isOverflow: raw.is_overflow != 0, isEnd: raw.is_ignored != 0, isWritten: raw.is_modified != 0, isClosed: raw.is_closed != 0,
            isAttribute: raw.is_attribute != 0)
    }
}
