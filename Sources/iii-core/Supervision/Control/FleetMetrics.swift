import IIIProtocol
import IIITelemetry

/// How `iii-core metrics` prints.
package enum MetricsFormat: String, Sendable, CaseIterable {
    case prometheus, openmetrics, json

    /// The document in lines for the control socket, of about 64 KiB each.
    package func lines(_ scrape: MetricScrape) -> [JSONValue] {
        let pieces =
            switch self {
            case .prometheus: scrape.pieces(.prometheus)
            case .openmetrics: scrape.pieces(.openMetrics)
            case .json: scrape.jsonPieces()
            }
        var lines: [JSONValue] = []
        var text = ""
        for piece in pieces {
            text += piece
            guard text.utf8.count >= 65_536 else { continue }
            lines.append(["text": .string(text)])
            text = ""
        }
        if !text.isEmpty { lines.append(["text": .string(text)]) }
        return lines
    }
}

/// The supervisor's own metrics (docs/reference/metrics.md#fleet): what `iii-core ps` shows, as numbers.
enum FleetMetrics {
    struct Process {
        var entry: String
        var isReady: Bool
        var restarts: Int
        var uptime: Duration?
        var usage: ProcessTable.Usage?
    }

    static func families(_ processes: [Process], droppedLogLines: Int) -> [MetricFamily] {
        func family(
            _ name: String, _ kind: MetricFamily.Kind, _ unit: String, _ description: String, _ value: (Process) -> MetricFamily.Value?
        ) -> MetricFamily {
            MetricFamily(
                name: name, description: description, unit: unit, kind: kind,
                points: processes.compactMap { process in value(process).map { .init(labels: [.init("entry", process.entry)], value: $0) } }
            )
        }
        return [
            family("iii.fleet.ready", .gauge, "", "Whether the entry is ready") { .integer($0.isReady ? 1 : 0) },
            family("iii.fleet.restarts.total", .counter, "", "Starts after the first") { .integer(Int64($0.restarts)) },
            family("iii.fleet.uptime", .gauge, "s", "Age of the entry's process") { process in
                process.uptime.map { .double(Double($0.wholeMilliseconds) / 1_000) }
            },
            family("iii.fleet.cpu", .gauge, "%", "Of one processor, over the life of the process") { process in
                process.usage.map { .double($0.cpuPercent) }
            },
            family("iii.fleet.memory.rss", .gauge, "By", "Resident memory of the process and its descendants") { process in
                process.usage.map { .integer($0.residentBytes) }
            },
            MetricFamily(
                name: "iii.fleet.log_lines.dropped.total", description: "Lines that the console did not take", kind: .counter,
                points: [.init(value: .integer(Int64(droppedLogLines)))]),
        ]
    }
}
