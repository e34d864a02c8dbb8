import IIIConfiguration
import IIIProtocol
import IIITelemetry

/// Renders children and engine for people.
package enum FleetTable {
    /// NAME PID STATE READY RESTARTS UPTIME CPU RSS LAST-EXIT; a second process of an entry has a row of its own below it.
    package static func ps(_ children: [ChildStatus]) -> String {
        let header = ["NAME", "PID", "STATE", "READY", "RESTARTS", "UPTIME", "CPU", "RSS", "LAST-EXIT"]
        return table([header] + children.flatMap(rows(of:)))
    }

    private static func rows(of child: ChildStatus) -> [[String]] {
        let first: [String] = [
            child.name, child.pid.map(String.init) ?? "-", child.state.rawValue, child.isReady ? "yes" : "no", String(child.restarts),
            child.uptime.map(duration) ?? "-", child.cpuPercent.map { "\(oneDecimal($0))%" } ?? "-",
            child.residentBytes.map { "\(oneDecimal(Double($0) / 1_048_576)) MiB" } ?? "-", child.lastExit ?? "-",
        ]
        return [first]
            + child.others.map { other -> [String] in
                ["└", String(other.pid), other.activity, "-", "-", duration(other.uptime), "-", "-", "-"]
            }
    }

    package static func status(_ child: ChildStatus) -> String {
        var lines = ["\(child.name): \(child.state.rawValue)" + (child.isCritical ? " (critical)" : "")]
        if let pid = child.pid { lines.append("  pid:        \(pid), up \(child.uptime.map(duration) ?? "-")") }
        for other in child.others { lines.append("  also:       pid \(other.pid), \(other.activity), up \(duration(other.uptime))") }
        if let listen = child.listen { lines.append("  listens on: \(listen)") }
        if let doing = child.doing { lines.append("  doing:      \(text(of: doing))") }
        lines.append("  restarts:   \(child.restarts)")
        if let exit = child.lastExit { lines.append("  last exit:  \(exit)") }
        if let error = child.lastError { lines.append("  last error: \(error)") }
        if let next = child.nextStart { lines.append("  next start: in \(duration(next))") }
        return lines.joined(separator: "\n")
    }

    private static func text(of doing: JSONValue) -> String {
        let counts = [("running_calls", "served"), ("own_calls", "made"), ("waiting_calls", "held back")].map { key, word in
            "\(doing[key]?.integer ?? 0) \(word)"
        }
        let own = doing["text"]?.string.map { LogText.singleLine($0) } ?? ""
        return "\(own.isEmpty ? "" : "\(own); ")calls: \(counts.joined(separator: ", "))"
    }

    package static func table(_ rows: [[String]]) -> String {
        let columns = rows.first?.count ?? 0
        let widths = (0..<columns).map { column in rows.map { $0[column].count }.max() ?? 0 }
        return rows.map { row in
            let cells = row.enumerated().map { index, cell in
                index == columns - 1 ? cell : cell + String(repeating: " ", count: widths[index] - cell.count)
            }
            return cells.joined(separator: "  ")
        }.joined(separator: "\n")
    }

    package static func duration(_ duration: Duration) -> String {
        let seconds = duration.components.seconds
        if seconds < 10 { return "\(oneDecimal(Double(duration.wholeMilliseconds) / 1000))s" }
        if seconds < 60 { return "\(seconds)s" }
        if seconds < 3600 { return "\(seconds / 60)m\(seconds % 60)s" }
        if seconds < 86400 { return "\(seconds / 3600)h\(seconds / 60 % 60)m" }
        return "\(seconds / 86400)d\(seconds / 3600 % 24)h"
    }

    private static func oneDecimal(_ value: Double) -> String {
        let tenths = Int64((value * 10).rounded())
        return "\(tenths / 10).\(abs(tenths % 10))"
    }
}
