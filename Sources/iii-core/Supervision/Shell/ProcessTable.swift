import CSupervision
import Glibc

/// Every process of the machine at one moment, from /proc: who descends from a child of ours, and what that uses.
///
/// A descendant is found by its parents, by the group or session of the child, and, once it has left both and its parents have
/// died, by `III_SPAWN_ID` in the environment it was started with: the core is a subreaper, so such an orphan is its own child.
/// A process that has left everything and wiped its environment is nobody's in particular: it ends with the core (`adopted`).
package struct ProcessTable {
    package struct Entry: Sendable, Equatable {
        package var pid: pid_t
        package var parent: pid_t
        package var group: pid_t
        package var session: pid_t
        /// Since boot, in ticks; with the pid it identifies the process.
        package var startTime: UInt64
        package var ticks: UInt64
        package var residentPages: Int64
        package var isZombie: Bool
    }

    private let entries: [pid_t: Entry]
    private let children: [pid_t: [pid_t]]
    private let core: pid_t

    package init(core: pid_t = getpid()) {
        self.core = core
        var entries: [pid_t: Entry] = [:]
        var children: [pid_t: [pid_t]] = [:]
        if let stream = opendir("/proc") {
            defer { closedir(stream) }
            while let item = readdir(stream) {
                let name = withUnsafePointer(to: &item.pointee.d_name) { pointer in
                    pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
                }
                guard let pid = pid_t(name), let entry = Self.read(pid) else { continue }
                entries[pid] = entry
                children[entry.parent, default: []].append(pid)
            }
        }
        self.entries = entries
        self.children = children
    }

    /// CPU and memory of some processes together.
    package struct Usage: Sendable, Equatable {
        /// Percent of one processor over the life of the child.
        package var cpuPercent: Double
        /// Resident memory; pages that several processes share count in each.
        package var residentBytes: Int64
    }

    /// Of this process alone.
    package func own(aliveFor age: Duration) -> Usage? { entries[core].map { Self.usage(of: [$0], aliveFor: age) } }

    /// Nil when the child is gone.
    package func usage(of leader: pid_t, spawnID: String, aliveFor age: Duration) -> Usage? {
        guard entries[leader] != nil else { return nil }
        return Self.usage(of: members(of: leader, marked: { $0 == spawnID }), aliveFor: age)
    }

    private static func usage(of members: [Entry], aliveFor age: Duration) -> Usage {
        let seconds = Double(age.components.seconds) + Double(age.components.attoseconds) / 1e18
        let ticks = Double(members.reduce(0) { $0 + $1.ticks }) / Double(sysconf(Int32(_SC_CLK_TCK)))
        let pages = members.reduce(Int64(0)) { $0 + $1.residentPages }
        return Usage(cpuPercent: seconds > 0 ? ticks / seconds * 100 : 0, residentBytes: pages * Int64(sysconf(Int32(_SC_PAGESIZE))))
    }

    /// The living children of the core, with all their descendants: what it has adopted, once its own children have ended.
    package var adopted: [Entry] { members(from: children[core] ?? []) }

    /// The living processes that descend from `leader` (nil: none of its own lives any more) or carry a mark.
    package func members(of leader: pid_t?, marked isMarked: (String) -> Bool) -> [Entry] {
        var next: [pid_t] = []
        if let leader {
            next = [leader] + entries.values.filter { $0.group == leader || $0.session == leader }.map(\.pid)
        }
        for orphan in children[core] ?? [] where orphan != leader {
            if let mark = Self.spawnID(of: orphan), isMarked(mark) { next.append(orphan) }
        }
        return members(from: next)
    }

    private func members(from start: [pid_t]) -> [Entry] {
        var found: Set<pid_t> = []
        var next = start
        while let pid = next.popLast() {
            guard pid != core, found.insert(pid).inserted else { continue }
            next += children[pid] ?? []
        }
        return found.compactMap { entries[$0] }.filter { !$0.isZombie }
    }

    /// Signals exactly this process, or nobody if its number is another's by now.
    package static func signal(_ entry: Entry, _ number: Int32) {
        let descriptor = csup_pidfd_open(entry.pid)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        if read(entry.pid)?.startTime == entry.startTime { _ = csup_pidfd_signal(descriptor, number) }
    }

    // MARK: /proc

    private static func read(_ pid: pid_t) -> Entry? {
        // The command may hold blanks and parentheses; the fields after its last parenthesis do not.
        guard let stat = contents("/proc/\(pid)/stat", limit: 2048), let end = stat.lastIndex(of: ")") else { return nil }
        let fields = stat[stat.index(after: end)...].split(separator: " ")
        guard fields.count > 21, let parent = pid_t(fields[1]), let group = pid_t(fields[2]), let session = pid_t(fields[3]),
            let user = UInt64(fields[11]), let system = UInt64(fields[12]), let startTime = UInt64(fields[19])
        else { return nil }
        return Entry(
            pid: pid, parent: parent, group: group, session: session, startTime: startTime, ticks: user + system,
            residentPages: Int64(fields[21]) ?? 0, isZombie: fields[0] == "Z")
    }

    private static func spawnID(of pid: pid_t) -> String? {
        let key = "III_SPAWN_ID="
        return contents("/proc/\(pid)/environ", limit: 262_144)?.split(separator: "\0").first { $0.hasPrefix(key) }
            .map { String($0.dropFirst(key.count)) }
    }

    private static func contents(_ path: String, limit: Int) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var text: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while text.count < limit {
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            guard count > 0 else { break }
            text += buffer.prefix(count)
        }
        return text.isEmpty ? nil : String(decoding: text, as: UTF8.self)
    }
}
