/// The latest lines of one child: at most 10 000 of them and 4 MiB (docs/reference/supervisor.md#output-of-children). Pure.
package struct LogRing: Sendable {
    private let maximumLines: Int
    private let maximumBytes: Int
    private var lines: [LogLine] = []
    private var first = 0
    private var bytes = 0

    package init(maximumLines: Int = 10_000, maximumBytes: Int = 4_194_304) {
        self.maximumLines = maximumLines
        self.maximumBytes = maximumBytes
    }

    package var count: Int { lines.count - first }

    package mutating func append(_ line: LogLine) {
        lines.append(line)
        bytes += line.text.utf8.count
        while count > maximumLines || (bytes > maximumBytes && count > 1) {
            bytes -= lines[first].text.utf8.count
            lines[first].text = ""
            first += 1
        }
        // Compacting at half keeps the cost per line constant.
        if first > 1024, first * 2 > lines.count {
            lines.removeFirst(first)
            first = 0
        }
    }

    /// The last `maximum` lines that are not older than `since` (nanoseconds since the epoch), oldest first.
    package func tail(_ maximum: Int, since: Int64? = nil) -> [LogLine] {
        let recent = lines[first...].suffix(max(0, maximum))
        return since.map { limit in recent.filter { $0.time >= limit } } ?? Array(recent)
    }
}
