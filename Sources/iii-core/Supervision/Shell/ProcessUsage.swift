import Glibc

/// CPU and memory of a process, from /proc.
package struct ProcessUsage: Sendable, Equatable {
    /// Percent of one processor over the life of the process.
    package var cpuPercent: Double
    package var residentBytes: Int64

    /// Nil when the process is gone.
    package static func read(pid: Int32, aliveFor age: Duration) -> ProcessUsage? {
        guard let stat = contents("/proc/\(pid)/stat"), let memory = contents("/proc/\(pid)/statm") else { return nil }
        // The command may hold blanks and parentheses; the fields after its last parenthesis do not.
        guard let end = stat.lastIndex(of: ")") else { return nil }
        let fields = stat[stat.index(after: end)...].split(separator: " ")
        let pages = memory.split(separator: " ")
        guard fields.count > 12, pages.count > 1, let user = Double(fields[11]), let system = Double(fields[12]) else { return nil }
        let seconds = Double(age.components.seconds) + Double(age.components.attoseconds) / 1e18
        let ticks = Double(sysconf(Int32(_SC_CLK_TCK)))
        let percent = seconds > 0 ? (user + system) / ticks / seconds * 100 : 0
        return ProcessUsage(cpuPercent: percent, residentBytes: (Int64(pages[1]) ?? 0) * Int64(sysconf(Int32(_SC_PAGESIZE))))
    }

    private static func contents(_ path: String) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var buffer = [UInt8](repeating: 0, count: 2048)
        let count = Glibc.read(descriptor, &buffer, buffer.count)
        return count > 0 ? String(decoding: buffer.prefix(count), as: UTF8.self) : nil
    }
}
