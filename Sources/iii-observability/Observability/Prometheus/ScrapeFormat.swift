import IIITelemetry

/// Which of the two text formats a scraper gets (docs/reference/observability.md#prometheus).
enum ScrapeFormat {
    /// OpenMetrics where the scraper prefers it to plain text, as Prometheus does; nobody else gets it.
    static func negotiated(accept: [String]) -> PrometheusText.Format {
        var (openMetrics, plain) = (0.0, 0.0)
        for range in accept.joined(separator: ",").split(separator: ",") {
            let parts = range.split(separator: ";").map { $0.filter { $0 != " " && $0 != "\t" }.lowercased() }
            let quality = parts.dropFirst().first { $0.hasPrefix("q=") }.map { Double($0.dropFirst(2)) ?? 0 } ?? 1
            switch parts.first {
            case "application/openmetrics-text":
                let version = parts.dropFirst().first { $0.hasPrefix("version=") }?.dropFirst(8) ?? "1.0.0"
                if version == "1.0.0" || version == "0.0.1" { openMetrics = max(openMetrics, quality) }
            case "text/plain": plain = max(plain, quality)
            default: break
            }
        }
        return openMetrics > 0 && openMetrics >= plain ? .openMetrics : .prometheus
    }
}
