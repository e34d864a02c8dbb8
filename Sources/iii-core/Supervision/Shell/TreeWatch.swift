import Glibc

/// Watches the files that a pattern means and says which have changed (docs/configuration.md, `iii-exec`).
///
/// Created, deleted, renamed and written files count. Symlinks are followed, files and directories alike. What a pattern names need
/// not exist yet, and may vanish and come back, with the directories above it: every name on the way is watched too. Limit:
/// 8192 directories per entry; more are reported and not watched.
package final class TreeWatch {
    package static let maximumDirectories = 8192

    private struct FileID: Hashable {
        var device: UInt64
        var inode: UInt64
    }

    /// What inotify's numbers stand for. One number may stand for several paths, because symlinks lead to one directory by many.
    private struct Table {
        /// Directories whose entries count, as the pattern sees them.
        var directories: [Int32: Set<String>] = [:]
        var numbers: [String: Int32] = [:]
        /// Those in which a matching file has been seen.
        var matching: Set<String> = []
        /// Roots that are one file.
        var files: Set<String> = []
        /// Files behind matching symlinks.
        var targets: [Int32: Set<String>] = [:]
        /// Names on the way to a root.
        var guards: [Int32: Set<String>] = [:]

        var watches: Set<Int32> { Set(directories.keys).union(targets.keys).union(guards.keys) }
    }

    private let events = FileEvents()
    private let pattern: WatchPattern
    private let base: String?
    private var table = Table()
    private var changed: [String] = []
    private var complaints: [String] = []
    private var said: Set<String> = []

    /// - Parameter base: the directory relative patterns start from; nil for the current one.
    package init(pattern: WatchPattern, base: String?) {
        self.pattern = pattern
        self.base = base
        pattern.contradictions.forEach(complain)
        if let problem = events.problem {
            complain("watch: changed files go unnoticed: \(problem)")
            return
        }
        for root in pattern.roots where access(absolute(root), F_OK) != 0 {
            complain("watch: '\(root)' does not exist; it is watched from when it does")
        }
        look()
        changed = []
    }

    package var descriptor: Int32 { events.descriptor }

    /// What could not be watched, once each, for the log.
    package func takeComplaints() -> [String] {
        defer { complaints = [] }
        return complaints
    }

    /// The paths of matching files that have changed since the last time; call it when `descriptor` is readable.
    package func received() -> [String] {
        var isStale = false
        events.drain { event in
            if process(event) { isStale = true }
        }
        if isStale { look() }
        defer { changed = [] }
        var seen: Set<String> = []
        return changed.filter { seen.insert($0).inserted }
    }

    /// True when the tree has to be looked at anew.
    private func process(_ event: FileEvents.Event) -> Bool {
        if event.isOverflow {
            // Something changed and nobody knows what; running again is the safe answer.
            changed.append("more than the kernel keeps events of")
            return true
        }
        var isStale = false
        if let names = table.guards[event.watch] { isStale = event.name.isEmpty || names.contains(event.name) }
        if let paths = table.targets[event.watch], event.isClosed || event.isEnd {
            changed += paths
            isStale = isStale || event.isEnd
        }
        if let paths = table.directories[event.watch] {
            if event.isEnd { forget(event.watch) }
            if !event.name.isEmpty, !pattern.ignores(name: event.name) {
                for path in paths where entryChanged(PathChain.join(path, event.name), event) { isStale = true }
            }
        }
        return isStale
    }

    private func entryChanged(_ path: String, _ event: FileEvents.Event) -> Bool {
        if event.isDirectory {
            guard event.isNew else { return table.numbers[path] != nil }
            // What was written before the new directory could be watched is found in it.
            let former = table
            if pattern.mayMatch(below: path) { walk(path, into: &table, former: former, countsAll: true, above: []) }
            return false
        }
        // A symlink that leads to a directory, or has led there.
        if table.numbers[path] != nil { return true }
        guard event.isNew || pattern.matches(path) else { return false }
        let kind = kind(of: path)
        if kind.isDirectory { return pattern.mayMatch(below: path) }
        guard pattern.matches(path) else { return false }
        changed.append(path)
        if !table.files.contains(path) { table.matching.insert(Self.parent(of: path)) }
        return event.isNew && kind.isSymlink
    }

    private func forget(_ watch: Int32) {
        for path in table.directories.removeValue(forKey: watch) ?? [] where table.numbers[path] == watch { table.numbers[path] = nil }
    }

    // MARK: Looking

    /// Makes the table anew. What is found under another number than before, or no more, has changed.
    private func look() {
        let former = table
        var new = Table()
        for root in pattern.roots {
            for link in PathChain.links(of: absolute(root)) {
                if let watch = events.watch(link.directory, .names) { new.guards[watch, default: []].insert(link.name) }
            }
            if kind(of: root).isDirectory {
                walk(root, into: &new, former: former, countsAll: false, above: [])
            } else if access(absolute(root), F_OK) == 0 {
                watchFile(root, into: &new, former: former)
            }
        }
        for watch in former.watches.subtracting(new.watches) { events.end(watch) }
        changed += former.matching.filter { new.numbers[$0] == nil }
        changed += former.files.subtracting(new.files)
        table = new
    }

    /// A root that is one file: its directory, without what else is there.
    private func watchFile(_ path: String, into table: inout Table, former: Table) {
        let parent = Self.parent(of: path)
        guard let watch = events.watch(absolute(parent), .entries) else { return complainOf(parent) }
        table.directories[watch, default: []].insert(parent)
        table.files.insert(path)
        if former.numbers[parent] != watch { changed.append(path) }
        table.numbers[parent] = watch
        if kind(of: path).isSymlink { watchTarget(of: path, into: &table) }
    }

    private func watchTarget(of path: String, into table: inout Table) {
        if let watch = events.watch(absolute(path), .file) { table.targets[watch, default: []].insert(path) }
    }

    /// `above`: the directories it is inside of, so that a symlink to one of them does not lead round for ever.
    private func walk(_ path: String, into table: inout Table, former: Table, countsAll: Bool, above: Set<FileID>) {
        var status = stat()
        guard stat(absolute(path), &status) == 0 else { return }
        let id = FileID(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
        guard !above.contains(id) else { return }
        guard table.numbers.count < Self.maximumDirectories else {
            return complain("watch: more than \(Self.maximumDirectories) directories; add some to `ignore`")
        }
        guard let watch = events.watch(absolute(path), .entries) else { return complainOf(path) }
        table.directories[watch, default: []].insert(path)
        table.numbers[path] = watch
        let isNew = countsAll || former.numbers[path] != watch
        guard let stream = opendir(absolute(path)) else { return complainOf(path) }
        defer { closedir(stream) }
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name == "." || name == ".." || pattern.ignores(name: name) { continue }
            let child = PathChain.join(path, name)
            let type = Int32(entry.pointee.d_type)
            let kind = type == Int32(DT_REG) ? (isDirectory: false, isSymlink: false) : kind(of: child)
            if kind.isDirectory {
                if pattern.mayMatch(below: child) {
                    walk(child, into: &table, former: former, countsAll: countsAll, above: above.union([id]))
                }
            } else if pattern.matches(child) {
                table.matching.insert(path)
                if isNew { changed.append(child) }
                if kind.isSymlink { watchTarget(of: child, into: &table) }
            }
        }
    }

    private func kind(of path: String) -> (isDirectory: Bool, isSymlink: Bool) {
        var own = stat()
        var target = stat()
        let isSymlink = lstat(absolute(path), &own) == 0 && own.st_mode & S_IFMT == S_IFLNK
        let isDirectory = stat(absolute(path), &target) == 0 && target.st_mode & S_IFMT == S_IFDIR
        return (isDirectory, isSymlink)
    }

    private func absolute(_ path: String) -> String { path.hasPrefix("/") ? path : base.map { $0 + "/" + path } ?? path }

    private static func parent(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    // MARK: Complaints

    private func complainOf(_ path: String) {
        // Gone between two looks: its absence is an event of its own.
        guard errno != ENOENT else { return }
        let cause = errno == ENOSPC ? "the kernel watches no more (fs.inotify.max_user_watches)" : ProcessSpawner.text(errno)
        complain("watch: changes in '\(path)' go unnoticed: \(cause)")
    }

    private func complain(_ text: String) {
        guard said.count < 32, said.insert(text).inserted else { return }
        complaints.append(text)
    }
}
